"""What each user of the queue server may do, on every server that `memlane up` may find: as its configuration has it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from memory import lua
from memory.ledger import Ledger, cursors, migrate
from memory.settings import settings
from ops import clients
from ops.stack import home as homes
from ops.stack import queue_server, users
from producers import Publisher
from producers.publisher import QueueUnavailable
from producers.recall import Recall
from tests import servers
from workers.app import QUEUES

GROUP = "shop"
#: The bundled redis-server always is one of them; valkey-server where it is installed, as in CI.
PROGRAMS = [name for name in ("valkey-server", "redis-server") if name == "redis-server" or shutil.which(name)]
#: What kombu appends to the name of a list for each priority above the lowest.
PRIORITY = "\x06\x163"


@dataclass
class Server:
    """A queue server of a home."""

    home: Path
    port: int
    command: list[str]

    def url(self, user: str) -> str:
        return queue_server.url(self.home, self.port, user)

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user), decode_responses=True)


@pytest.fixture(params=PROGRAMS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp(request.param) / "home"
    homes.prepare(home)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "redis-server":
            patch.setenv("PATH", str(home))
        program = queue_server.program(home, port := servers.free_port())
    assert Path(program.command[0]).name == request.param
    found = Server(home, port, program.command)
    with servers.process(found.command, home / "valkey.log"):
        servers.wait_until(program.ready, request.param)
        yield found


@pytest.fixture
def producer(server: Server) -> Iterator[redis.Redis]:
    with server.client(users.PRODUCER) as client:
        yield client


# Producers


@pytest.mark.parametrize("list_of", [*QUEUES, *(f"{queue}{PRIORITY}" for queue in QUEUES), "unacked", "celery"])
def test_a_producer_can_not_write_to_celery(producer: redis.Redis, list_of: str) -> None:
    """If a producer pushes to a list of Celery's, itself or by a script of its own, I expect it to be refused."""
    key = lua.PREFIX + list_of
    with pytest.raises(NoPermissionError):
        producer.lpush(key, "x")
    with pytest.raises(NoPermissionError):
        producer.eval("return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, key, "x")
    with pytest.raises(ResponseError, match=r"(?i)permission"):
        producer.eval("return redis.call('LPUSH', ARGV[1], 'x')", 0, key)
    with pytest.raises(NoPermissionError):
        producer.lmove(lua.BELL, key)


@pytest.mark.parametrize(
    "key", ["other", "memlane:lease:record:shop", "memlane:trial:record:shop", lua.SWEEP, lua.DISCARDED, "memlane:"]
)
def test_a_producer_can_not_touch_other_keys(producer: redis.Redis, key: str) -> None:
    for command in ("GET", "DEL", "EXISTS", "TYPE", "HGETALL", "TTL"):
        with pytest.raises(NoPermissionError):
            producer.execute_command(command, key)
    with pytest.raises(NoPermissionError):
        producer.set(key, "x")
    with pytest.raises(NoPermissionError):
        producer.xadd(key, {"e": "{}"})


def test_a_producer_only_reads_briefs(producer: redis.Redis) -> None:
    assert producer.get("memlane:brief:s1") is None
    with pytest.raises(NoPermissionError):
        producer.set("memlane:brief:s1", "x")


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "CONFIG GET maxmemory", "CONFIG SET maxmemory 1",
        "CONFIG REWRITE", "SHUTDOWN NOSAVE", "SAVE", "BGSAVE", "BGREWRITEAOF", "MONITOR", "ACL LIST",
        "ACL SETUSER producer +@all", "ACL WHOAMI", "CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 10",
        "CLIENT TRACKING on BCAST", "REPLICAOF NO ONE", "SWAPDB 0 1", "SELECT 1", "SLOWLOG GET", "MEMORY USAGE memlane:bell",
        "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION FLUSH", "FUNCTION LIST", "FCALL f 0", "MODULE LIST", "COMMAND",
        "PUBLISH memlane:/0.celery.pidbox x", "SUBSCRIBE memlane:/0.celery.pidbox", "PSUBSCRIBE *", "PUBSUB CHANNELS",
        "SORT memlane:bell", "RENAME memlane:bell memlane:pending", "COPY memlane:bell memlane:lane:x",
        "MIGRATE 127.0.0.1 1 memlane:bell 0 1", "RESTORE memlane:lane:x 0 x", "DUMP memlane:bell", "WAIT 1 1", "LOLWUT",
    ],
)  # fmt: skip
def test_a_producer_can_not_run_other_commands(producer: redis.Redis, command: str) -> None:
    with pytest.raises(NoPermissionError):
        producer.execute_command(*command.split())


def test_nobody_comes_in_without_a_user(server: Server) -> None:
    secret = urlsplit(server.url(users.OPERATOR)).password
    for who in ("", f":{secret}@", f"default:{secret}@", f"producer:{secret}@", "worker:@"):
        with redis.Redis.from_url(f"redis://{who}127.0.0.1:{server.port}") as client:
            with pytest.raises(AuthenticationError):
                client.ping()


def test_no_password_is_in_the_configuration(server: Server) -> None:
    configuration = Path(server.command[1])
    assert configuration.stat().st_mode & 0o777 == 0o600
    for user in users.RULES:
        assert (urlsplit(server.url(user)).password or "?") not in configuration.read_text()


# Workers and operators


@pytest.mark.parametrize("user", [users.WORKER, users.OPERATOR])
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "SHUTDOWN NOSAVE",
        "ACL SETUSER producer +@all", "ACL LIST", "ACL DELUSER producer", "REPLICAOF NO ONE", "MONITOR",
        "SAVE", "GET other", "SET other 1", "PUBLISH other x", "PSUBSCRIBE *",
    ],
)  # fmt: skip
def test_workers_and_operators_can_not(server: Server, user: str, command: str) -> None:
    with server.client(user) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize(
    "command",
    [
        "CONFIG GET *", "CLIENT LIST", "SLOWLOG GET", "MEMORY STATS", "MEMORY USAGE memlane:bell", "LATENCY LATEST", "INFO",
        "ROLE", "LASTSAVE", "ACL LOG", "MODULE LIST",
    ],
)  # fmt: skip
def test_an_operator_sees_how_the_server_is(server: Server, command: str) -> None:
    with server.client(users.OPERATOR) as client:
        client.execute_command(*command.split())


def test_a_command_says_which_user_it_needs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a command comes with a producer's address and does what that one may not, I expect it to say what to do."""
    monkeypatch.setenv("MEMLANE_VALKEY_URL", server.url(users.PRODUCER))
    settings.cache_clear()
    try:
        with pytest.raises(QueueUnavailable, match="`operator`") as refused, clients.queue() as queue:
            queue.hgetall(lua.DISCARDED)
    finally:
        settings.cache_clear()
    assert (urlsplit(server.url(users.PRODUCER)).password or "?") not in str(refused.value)


# The whole


def test_a_system_works_with_its_users(server: Server, tmp_path: Path) -> None:
    """Given workers with the worker's address and a publisher with the producer's. If events are published and a question
    is asked, I expect every stage to have dealt with them, the answer, and that no command of any of them was refused."""
    database = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    environ = {
        "MEMLANE_HOME": str(tmp_path),
        "MEMLANE_VALKEY_URL": server.url(users.WORKER),
        "MEMLANE_DATABASE_URL": database,
        "MEMLANE_DATADOG": "false",
    }
    with server.client(users.OPERATOR) as operator, closing(Ledger(database)) as ledger:
        migrate(ledger)
        operator.execute_command("ACL LOG RESET")
        with servers.worker(environ, "record,index,cache,telemetry,plugins,compaction,recall", tmp_path / "worker.log"):
            with Publisher(
                server.url(users.PRODUCER), source="test", group=GROUP, deadline=10, spool=False
            ) as publisher:
                publisher.publish({"type": "file.write", "session": "s", "data": {"path": "src/cart.py"}})
                publisher.publish({"type": "error", "session": "s", "data": {"message": "no such table: discounts"}})

            def done() -> bool:
                with ledger.read() as connection:
                    return all(
                        cursors.position(connection, stage, GROUP) == 2 for stage in ("index", "cache", "telemetry")
                    )

            servers.wait_until(done, "all stages")
            with Recall(server.url(users.PRODUCER), group=GROUP) as recall:
                answers = [recall.ask("which table was missing?") for _ in range(2)]
        assert [answer["cache"] for answer in answers] == ["miss", "hit"]
        assert "no such table: discounts" in answers[0]["context"]
        refused = operator.execute_command("ACL LOG")
        assert not refused


@pytest.mark.parametrize("first", PROGRAMS)
def test_what_scripts_wrote_outlives_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Given an event, which publish.lua has written. If the server is killed and starts again, I expect it in its lane:
    a server reads its file as the user `default`, and what that one may not do it leaves out."""
    homes.prepare(tmp_path)
    if first == "redis-server":
        monkeypatch.setenv("PATH", str(tmp_path))
    program = queue_server.program(tmp_path, port := servers.free_port())
    found = Server(tmp_path, port, program.command)
    with servers.process(found.command, tmp_path / "first.log") as running:
        servers.wait_until(program.ready, first)
        with Publisher(found.url(users.PRODUCER), source="test", group=GROUP, deadline=10, spool=False) as publisher:
            publisher.publish({"type": "file.write", "session": "s", "data": {"path": "src/cart.py"}})
        with found.client(users.WORKER) as client:
            client.execute_command("WAITAOF", 1, 0, 5000)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    with servers.process(found.command, tmp_path / "second.log"):
        servers.wait_until(program.ready, first)
        with found.client(users.WORKER) as client:
            assert client.xlen(lua.lane(GROUP)) == 1
            assert client.zcard(lua.PENDING) == 1


def test_a_home_of_an_earlier_version_gets_its_users(tmp_path: Path) -> None:
    """Given a home whose queue server had one password for all, I expect new ones, and the old one to open nothing."""
    homes.prepare(tmp_path)
    old = homes.secret(tmp_path, "valkey")
    program = queue_server.program(tmp_path, port := servers.free_port())
    with servers.process(program.command, tmp_path / "valkey.log"):
        servers.wait_until(program.ready, "the queue server")
        with redis.Redis.from_url(f"redis://:{old}@127.0.0.1:{port}") as client, pytest.raises(AuthenticationError):
            client.ping()
