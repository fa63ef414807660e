"""One system of real processes, put together for a test: broker, graph server, ledger, workers, publishers."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from memory.ledger import Ledger, migrate
from memory.settings import Settings
from producers import Publisher
from tests.faults.numbered import Sent
from tests.faults.programs import ARMED, LANES, Broker, Graph, Program, Worker
from tests.faults.publisher import publish, send_spooled
from tests.faults.watch import Watch

#: Short times, so that a test need not wait for the defaults: what a dead worker held is free after a second.
QUICK = {
    "MEMLANE_LEASE_SECONDS": "1",
    "MEMLANE_REST_SECONDS": "0.3",
    "MEMLANE_SWEEP_SECONDS": "0.2",
}
#: The times that Memlane has by default.
DEFAULTS = {
    f"MEMLANE_{name.upper()}": str(Settings.model_fields[name].default)
    for name in ("lease_seconds", "rest_seconds", "sweep_seconds")
}


class Rig:
    """Addresses and processes of one system. Whatever it started ends with it."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        broker: Broker,
        graph: Graph,
        database_url: str,
        environ: Mapping[str, str],
    ) -> None:
        self.folder, self.broker, self.graph = folder, broker, graph
        self.database_url = database_url
        self.ledger = Ledger(database_url)
        self._stack = stack
        self._workers: dict[str, Worker] = {}
        stack.callback(self.ledger.close)
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        #: Variables of every process; a test that puts something in between changes the addresses.
        self.environ = {
            "MEMLANE_HOME": str(self.home),
            "MEMLANE_VALKEY_URL": broker.url,
            "MEMLANE_DATABASE_URL": database_url,
            "MEMLANE_DATADOG": "false",
            "MEMLANE_GRAPH_URL": graph.url,
            "MEMLANE_PUBLISH_DEADLINE_MS": "50",
            "FAULTS_ORDERS": str(folder),
            **environ,
        }

    def worker(self, name: str, **options: Any) -> Worker:
        """Start a worker; see `Worker`."""
        launched = self.launched(name, **options)
        launched.wait_for_start()
        return launched

    def launched(self, name: str, **options: Any) -> Worker:
        """Start a worker, and don't wait until it is ready."""
        made = Worker(name, self.environ, self.folder / f"{name}.log", **options)
        self._workers[name] = made
        self._stack.callback(made.end)
        made.launch()
        return made

    def workers(self) -> tuple[Worker, Worker]:
        """Start armed workers as `memlane up` has them: two processes for the lanes, and one for the graph, which may
        hang without the lanes having to wait."""
        lanes = self.launched("lanes", queues=LANES, processes=2, app=ARMED)
        graph = self.launched("graph", queues="episodes", app=ARMED)
        lanes.wait_for_start()
        graph.wait_for_start()
        return lanes, graph

    def worker_named(self, name: str) -> Worker:
        return self._workers[name]

    def log(self, name: str) -> str:
        """What a worker has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def publisher(self, sent: Sent, name: str = "p0", batch: int = 50, seconds: float = 0.0) -> Program:
        """Start a process that publishes all that this publisher is to publish; see publisher.py."""
        command = [sys.executable, "-m", "tests.faults.publisher", "--name", name, "--groups", ",".join(sent.groups)]
        command += ["--count", str(sent.count), "--batch", str(batch), "--seconds", str(seconds)]
        started = Program(name, command, self.folder / f"publisher-{name}.log", self.environ)
        self._stack.callback(started.end)
        started.launch()
        return started

    def watch(self, sent: Sent) -> Watch:
        """Look for how long lanes sleep, past anything that is between the workers and their servers."""
        lease_seconds = float(self.environ["MEMLANE_LEASE_SECONDS"])
        return Watch(self.broker.url, self.database_url, sent.groups, lease_seconds)

    def publish(self, sent: Sent, numbers: range | None = None, batch: int = 50) -> None:
        """Publish from here: all, or these numbers."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEMLANE_HOME", str(self.home))
            with Publisher(self.broker.url, source="faults", group=sent.groups[0]) as publisher:
                for name in sent.publishers:
                    publish(publisher, name, sent.groups, numbers or range(sent.count), batch)
                send_spooled(publisher, sent.groups)


@contextmanager
def rig(
    folder: Path,
    graph: Graph,
    database_url: str | None = None,
    *,
    fsync: str = "always",
    **environ: str,
) -> Iterator[Rig]:
    """Start a broker, and a ledger with its schema; SQLite unless told otherwise.

    Args:
        environ: variables of all programs, besides those of `QUICK`.
    """
    with ExitStack() as stack:
        broker = Broker(folder / "broker", fsync=fsync)
        stack.callback(broker.end)
        broker.start()
        database_url = database_url or f"sqlite:///{folder / 'ledger.sqlite3'}"
        made = Rig(stack, folder, broker, graph, database_url, QUICK | environ)
        migrate(made.ledger)
        yield made


def groups(number: int = 1) -> tuple[str, ...]:
    """Names that no other test has."""
    word = secrets.token_hex(4)
    return tuple(f"g{n}-{word}" for n in range(number))
