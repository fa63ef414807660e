"""Servers that tests share, and what a test may use of them: one queue, one ledger, one graph, one group."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from memory.ledger import Ledger, migrate
from memory.settings import settings
from tests import servers
from tests.graph_server import graph_server

# A shell starts what it puts into the background with Ctrl-C ignored, and so would be all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def graph_url() -> Iterator[str]:
    with graph_server() as url:
        yield url


@pytest.fixture(scope="session")
def shared_queue_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.queue_server(tmp_path_factory.mktemp("queue")) as url:
        yield url


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a home of its own, and settings that no test before it has read; and on a busy machine nothing goes
    into its spool that need not."""
    settings.cache_clear()
    monkeypatch.setenv("MEMLANE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEMLANE_PUBLISH_DEADLINE_MS", "10000")
    return tmp_path / "home"


@pytest.fixture
def queue_url(shared_queue_url: str) -> str:
    """An empty queue server."""
    with redis.Redis.from_url(shared_queue_url) as client:
        client.flushall()
    return shared_queue_url


@pytest.fixture
def queue(queue_url: str) -> Iterator[redis.Redis]:
    """A client of the empty queue server."""
    with redis.Redis.from_url(queue_url) as client:
        yield client


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return servers.new_database(request.getfixturevalue("postgres_server"))


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """An empty ledger with its schema."""
    ledger = Ledger(database_url)
    migrate(ledger)
    yield ledger
    ledger.close()


@dataclass(frozen=True)
class System:
    """Addresses of a whole system without its workers."""

    queue_url: str
    database_url: str
    graph_url: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """Variables by which workers and the command line find it."""
        return {
            "MEMLANE_HOME": str(self.folder / "home"),
            "MEMLANE_VALKEY_URL": self.queue_url,
            "MEMLANE_DATABASE_URL": self.database_url,
            "MEMLANE_GRAPH_URL": self.graph_url,
            "MEMLANE_DATADOG": "false",
            "MEMLANE_PUBLISH_DEADLINE_MS": "10000",
        }


@pytest.fixture
def system(queue_url: str, database_url: str, graph_url: str, tmp_path: Path) -> System:
    return System(queue_url, database_url, graph_url, tmp_path)


@pytest.fixture
def group() -> str:
    """A group of the test's own: graphs of earlier tests live on in the shared graph server."""
    return f"g-{secrets.token_hex(4)}"
