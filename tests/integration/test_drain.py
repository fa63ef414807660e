"""Drains, leases and the sweep, step by step: what a worker leaves behind when it dies, is fenced off, or finds a
dependency down, and how the rest of the system goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falkordb
import psutil
import pytest
import redis
from sqlalchemy import create_engine, make_url, select, text

from memory import lua
from memory.ledger import Ledger, books, cursors
from memory.ledger.schema import dead_letters, events
from producers.publisher import Publisher
from tests import servers
from tests.workers_here import workers_here
from workers import resources
from workers.app import QUEUES
from workers.lease import Lease, announce
from workers.record import Record
from workers.stage import drain
from workers.stages import STAGES
from workers.sweep import MOST, Recovery, Report, sweep
from workers.wake import MOST_QUEUED

GROUP = "shop"
#: Where Celery keeps the wake-ups of stage `record`.
QUEUE = lua.PREFIX + "record"

OPTIONS = {
    "MEMLANE_DATADOG": "false",
    "MEMLANE_LEASE_SECONDS": "1",
    "MEMLANE_REST_SECONDS": "0.3",
    "MEMLANE_SWEEP_SECONDS": "0.1",
}

#: What is not about the database runs on one kind of it.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Variables of a worker with short times."""
    return {**environ, **OPTIONS}


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """An empty PostgreSQL database."""
    return servers.new_database(postgres_server)


@pytest.fixture
def publisher(queue_url: str) -> Iterator[Publisher]:
    with Publisher(queue_url, source="test", group=GROUP) as opened:
        yield opened


def note(id: str, group: str = GROUP, type: str = "completion") -> dict[str, Any]:
    return {"id": id, "group": group, "type": type, "data": {"task": id}}


def notes(*ids: str) -> list[dict[str, Any]]:
    return [note(id) for id in ids]


def recorded(ledger: Ledger, group: str = GROUP) -> list[str]:
    """Ids in the ledger, in order; their seqs must be dense."""
    with ledger.read() as connection:
        query = select(events.c.id, events.c.seq).where(events.c.group_id == group).order_by(events.c.seq)
        rows = connection.execute(query).all()
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), "seq is dense"
    return [row.id for row in rows]


def letters(ledger: Ledger) -> list[tuple[str, str]]:
    """Dead letters: what was found, and why it is one."""
    with ledger.read() as connection:
        query = select(dead_letters.c.event, dead_letters.c.error).order_by(dead_letters.c.n)
        return [(row.event, row.error) for row in connection.execute(query)]


def terms(ledger: Ledger, group: str = GROUP) -> tuple[int, int, int]:
    """Recorded, duplicates, dead."""
    with ledger.read() as connection:
        found = books.of_group(connection, group)
    return found.recorded, found.duplicates, found.dead


def position(ledger: Ledger, stage: str, group: str = GROUP) -> int:
    with ledger.read() as connection:
        return cursors.position(connection, stage, group)


def swept() -> Report:
    """One round of the sweep, once the last one is over."""
    reports: list[Report] = []

    def done() -> bool:
        report = sweep()
        reports.extend([report] if report else [])
        return bool(reports)

    servers.wait_until(done, "the sweep's turn", 5)
    return reports[0]


def until_woken(stage: str) -> Report:
    """Sweep until a group of this stage is woken."""
    reports: list[Report] = []

    def done() -> bool:
        reports.append(swept())
        return stage in reports[-1].woken

    servers.wait_until(done, f"stage {stage} to be woken", 10)
    assert len(reports[-1].woken[stage]) == 1
    return reports[-1]


def for_a_while(holds: Callable[[], bool], what: str, seconds: float) -> None:
    """Look again and again whether something holds."""
    end = time.monotonic() + seconds

    def over() -> bool:
        assert holds(), what
        return time.monotonic() > end

    servers.wait_until(over, "the end of the while")


def old(queue: redis.Redis, group: str = GROUP) -> None:
    """Have the lane wait for a minute already."""
    queue.zincrby(lua.PENDING, -60_000, group)


# From the lane into the ledger


def test_a_drain_empties_the_lane(queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None) -> None:
    """Given events in a lane, If it is drained, I expect them in the ledger in order, and nothing left but the lane's
    key."""
    given = [f"e{n}" for n in range(1_200)]
    publisher.publish_many(notes(*given))

    drain(STAGES["record"], GROUP)

    assert recorded(ledger) == given
    assert queue.xlen(lua.lane(GROUP)) == 0
    assert queue.exists(lua.lane(GROUP)), "its last id stays"
    assert not queue.exists(lua.PENDING, lua.lease("record", GROUP))
    assert {key for key in QUEUES if queue.llen(lua.PREFIX + key)} == {
        stage.queue for stage in STAGES.values() if queue.exists(lua.lease(stage.name, GROUP))
    }
    assert queue.llen(lua.PREFIX + "index") == 1, "stages behind it are woken once"


@pytest.mark.parametrize("batch", ["1", "2", "500"])
def test_what_was_committed_but_not_deleted_is_not_told_again(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, environ: dict[str, str], batch: str
) -> None:
    """Given a worker that died between its commit and the deletion, I expect the entries to be passed over: not counted
    as duplicates, no second dead letter, and seq goes on densely. True duplicates among them are counted once."""
    publisher.publish_many(notes("a", "b", "a"))
    queue.xadd(lua.lane(GROUP), {"e": "not JSON"})
    publisher.publish_many(notes("c", "b"))
    before = queue.dump(lua.lane(GROUP))
    with workers_here({**environ, "MEMLANE_BATCH_SIZE": batch}):
        drain(STAGES["record"], GROUP)
        assert terms(ledger) == (3, 2, 1)

        queue.restore(lua.lane(GROUP), 0, before, replace=True)
        publisher.publish_many(notes("d", "a"))
        drain(STAGES["record"], GROUP)

    assert recorded(ledger) == ["a", "b", "c", "d"]
    assert terms(ledger) == (4, 3, 1)
    assert queue.xlen(lua.lane(GROUP)) == 0


def test_an_id_is_recorded_once_whatever_the_group(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None
) -> None:
    """Given the same id twice in one batch, again in the next, and in another group, I expect it once, and every term
    of the books."""
    publisher.publish_many([*notes("a", "a", "b"), note("c", "other"), note("a", "other"), note("c", "other")])
    for group in (GROUP, "other"):
        drain(STAGES["record"], group)
    publisher.publish_many(notes("b", "c", "e"))
    drain(STAGES["record"], GROUP)

    assert (recorded(ledger), terms(ledger)) == (["a", "b", "e"], (3, 3, 0))
    assert (recorded(ledger, "other"), terms(ledger, "other")) == (["c"], (1, 2, 0))
    assert queue.hvals(lua.captured(GROUP)) == [b"6"]


UNREADABLE: dict[str, tuple[dict[str | bytes, str | bytes], str, str]] = {
    "not JSON": ({"e": "{"}, "{", "JSON"),
    "empty": ({"e": ""}, "", "JSON"),
    "a list": ({"e": "[1]"}, "[1]", "object"),
    "not UTF-8": ({"e": b'{"type": "\xff"}'}, '{"type": "\ufffd"}', "UTF-8"),
    "NUL": ({"e": b"\x00\x00"}, "\ufffd\ufffd", "JSON"),
    "no field e": ({"x": "y\x00"}, "x y\ufffd", "field e"),
    "deep": ({"e": "[" * 100_000}, "[" * 100_000, "deep"),
    "a year out of range": (
        {"e": json.dumps({**note("x"), "source": "s", "specversion": "1.0", "time": "0001-01-01T00:00:00+14:00"})},
        "",
        "time",
    ),
    "another group's": (
        {"e": json.dumps({**note("x", "other"), "source": "s", "specversion": "1.0", "time": "2026-11-21T10:00:00Z"})},
        "",
        "group",
    ),
    "a required field missing": (
        {
            "e": json.dumps(
                {"id": "x", "source": "s", "time": "2026-11-21T10:00:00Z", "group": GROUP, "type": "error", "data": {}}
            )
        },
        "",
        "data.message",
    ),
}


@pytest.mark.parametrize(("fields", "raw", "error"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_can_not_be_read_stops_nothing(
    queue: redis.Redis,
    publisher: Publisher,
    ledger: Ledger,
    worker: None,
    fields: dict[Any, Any],
    raw: str,
    error: str,
) -> None:
    """Given something in a lane that is no event, I expect it whole among the dead letters, and the rest in order."""
    publisher.publish_many(notes("a", "b"))
    queue.xadd(lua.lane(GROUP), fields)
    publisher.publish_many(notes("c", "d"))

    drain(STAGES["record"], GROUP)

    assert recorded(ledger) == ["a", "b", "c", "d"]
    ((found, why),) = letters(ledger)
    assert found == (raw or fields["e"])
    assert error in why
    assert terms(ledger) == (4, 0, 1)
    assert queue.xlen(lua.lane(GROUP)) == 0


def test_a_lane_of_nothing_but_garbage(queue: redis.Redis, ledger: Ledger, worker: None) -> None:
    for n in range(3):
        queue.xadd(lua.lane(GROUP), {"e": f"garbage {n}"})

    drain(STAGES["record"], GROUP)

    assert [found for found, _ in letters(ledger)] == ["garbage 0", "garbage 1", "garbage 2"]
    assert queue.xlen(lua.lane(GROUP)) == 0


def test_a_lane_that_was_emptied_by_hand_is_no_longer_pending(
    queue: redis.Redis, publisher: Publisher, worker: None
) -> None:
    publisher.publish_many(notes("a"))
    queue.delete(lua.lane(GROUP))
    drain(STAGES["record"], GROUP)

    assert not queue.exists(lua.PENDING)


def test_stages_follow_the_ledger(publisher: Publisher, ledger: Ledger, worker: None) -> None:
    """Given events of types that a stage does and does not care about, I expect its cursor at the end, and its books
    even."""
    publisher.publish_many([*notes("a", "b"), {"type": "chat.start", "data": {"query": "q"}}, *notes("c")])
    for name in ("record", "index", "cache", "telemetry"):
        drain(STAGES[name], GROUP)

    with ledger.read() as connection:
        for name in ("index", "cache", "telemetry"):
            found = books.of_stage(connection, name, GROUP, STAGES[name].types)
            assert (found.pending, found.interest - found.done - found.dead) == (0, 0), name
            assert cursors.position(connection, name, GROUP) == 4


# A queue server that lost its memory


def test_a_wiped_server_begins_anew(queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None) -> None:
    """Given a server that lost everything and whose clock went back, I expect its stream ids, lower than the cursor's,
    not to be taken for old ones."""
    publisher.publish_many(notes("a", "b"))
    drain(STAGES["record"], GROUP)
    queue.flushall()
    lower(queue, "5-0", "c")
    lower(queue, "5-1", "a")
    drain(STAGES["record"], GROUP)

    assert recorded(ledger) == ["a", "b", "c"]
    assert terms(ledger) == (3, 1, 0)


def test_a_replica_with_a_slow_clock_took_over(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None
) -> None:
    """Given a failover that lost a lane's newest ids but not the server's generation, I expect new events with lower
    ids to be recorded, and what comes after them, too."""
    publisher.publish_many(notes("a", "b"))
    drain(STAGES["record"], GROUP)
    queue.delete(lua.lane(GROUP))
    lower(queue, "5-0", "c")
    queue.xadd(lua.lane(GROUP), {"e": "garbage"}, id="5-1")
    drain(STAGES["record"], GROUP)
    lower(queue, "6-0", "d")
    lower(queue, "6-1", "a")
    drain(STAGES["record"], GROUP)

    assert recorded(ledger) == ["a", "b", "c", "d"]
    assert terms(ledger) == (4, 1, 1)


def lower(queue: redis.Redis, stream_id: str, id: str) -> None:
    """Put an event into the lane under a stream id of one's own."""
    event = {**note(id), "specversion": "1.0", "source": "test", "time": "2026-11-21T10:00:00Z"}
    queue.xadd(lua.lane(GROUP), {"e": json.dumps(event)}, id=stream_id)


# One live writer


@pytest.mark.parametrize("name", ["record", "index", "cache", "telemetry"])
def test_a_fenced_worker_writes_nothing(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None, name: str
) -> None:
    """Given a worker whose token is no longer the newest, I expect its step to change neither ledger nor lane."""
    publisher.publish_many([{"id": "a", "type": "error", "data": {"message": "m"}}])
    if name != "record":
        drain(STAGES["record"], GROUP)
    before = queue.xlen(lua.lane(GROUP))
    stale = cursors.take_token(ledger, name, GROUP)
    newest = cursors.take_token(ledger, name, GROUP)

    with pytest.raises(cursors.Fenced):
        STAGES[name].step(GROUP, stale, 500)
    assert position(ledger, name) == 0
    assert queue.xlen(lua.lane(GROUP)) == before

    STAGES[name].step(GROUP, newest, 500)
    assert position(ledger, name) == 1


@on_postgresql
def test_a_worker_that_was_stopped_in_the_middle_is_fenced(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, environ: dict[str, str], tmp_path: Path
) -> None:
    """Given a worker stopped (SIGSTOP) when it had read a batch, If another drains the lane meanwhile, and more is
    published, I expect the first one, when it goes on, to write nothing: each event once and in order.

    It stops itself, after it has read the lane and before it writes."""
    script = """
import signal, os
from workers import record
from workers.stage import drain

read = record._read

def stopped(group, limit):
    found = read(group, limit)
    os.kill(os.getpid(), signal.SIGSTOP)
    return found

record._read = stopped
drain(record.Record(), "shop")
"""
    publisher.publish_many(notes("a", "b"))
    with servers.process(
        [sys.executable, "-c", script], tmp_path / "stopped.log", {**os.environ, **environ}
    ) as stopped:
        servers.wait_until(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED, "a stopped worker")
        with workers_here(environ):
            drain(STAGES["record"], GROUP)
            assert recorded(ledger) == [], "the stopped one holds the lease"
            servers.wait_until(lambda: not queue.exists(lua.lease("record", GROUP)), "the lease to run out", 5)
            drain(STAGES["record"], GROUP)
            publisher.publish_many(notes("c"))
            stopped.send_signal(signal.SIGCONT)
            assert stopped.wait(20) == 0, (tmp_path / "stopped.log").read_text()
            assert recorded(ledger) == ["a", "b"], "nothing by the one that was fenced"
            assert queue.xlen(lua.lane(GROUP)) == 1
            drain(STAGES["record"], GROUP)

    assert recorded(ledger) == ["a", "b", "c"]
    assert terms(ledger) == (3, 0, 0)


def test_a_lease_of_another_is_respected(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None
) -> None:
    """Given a lease that another worker holds, I expect a drain to do nothing, and not to end it."""
    publisher.publish_many(notes("a"))
    other = Lease(queue, "record", GROUP, 5)
    assert other.take()

    drain(STAGES["record"], GROUP)

    assert recorded(ledger) == []
    assert not announce(queue, "record", GROUP), "no wake-up is needed either"
    other.let_go()
    drain(STAGES["record"], GROUP)
    assert recorded(ledger) == ["a"]


def test_a_lease_is_renewed_while_its_holder_works(queue: redis.Redis) -> None:
    """Given a lease of 0.3 s, If its holder works for three times as long, I expect it to be still held; and then
    not."""
    lease, key = Lease(queue, "record", GROUP, 0.3), lua.lease("record", GROUP)
    assert lease.take()
    with lease:
        for_a_while(lambda: queue.pttl(key) > 0, "held", 0.9)
        assert not Lease(queue, "record", GROUP, 0.3).take()
    lease.let_go()
    assert not queue.exists(key)


def test_a_lost_lease_is_not_taken_back(queue: redis.Redis) -> None:
    """Given a holder whose lease another one has by now, I expect neither its heartbeat nor its end to touch it."""
    first, second, key = (
        Lease(queue, "record", GROUP, 0.3),
        Lease(queue, "record", GROUP, 5),
        lua.lease("record", GROUP),
    )
    assert first.take()
    with first:
        queue.delete(key)
        assert second.take()
        held = queue.get(key)
        for_a_while(lambda: queue.get(key) == held, "held by the second", 0.4)
    first.let_go()

    assert queue.get(key) == held
    assert queue.pttl(key) > 3_000


@on_sqlite
def test_a_dead_workers_lane_is_taken_over(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, environ: dict[str, str], worker: None, tmp_path: Path
) -> None:
    """Given a worker killed while it holds the lease and a token, I expect the sweep to wake the lane once the lease
    has run out, and the next worker's token to be newer."""
    script = """
import time
from memory.ledger import cursors
from workers import resources
from workers.lease import Lease

lease = Lease(resources.valkey(), "record", "shop", 1)
with lease:
    assert lease.take()
    cursors.take_token(resources.ledger(), "record", "shop")
    time.sleep(60)
"""
    publisher.publish_many(notes("a"))
    old(queue)
    with servers.process([sys.executable, "-c", script], tmp_path / "dead.log", {**os.environ, **environ}) as holder:
        servers.wait_until(lambda: token(ledger) == 1, "the worker to hold lease and token")
        assert swept().woken == {}
        holder.kill()
        holder.wait()

    until_woken("record")
    drain(STAGES["record"], GROUP)
    assert recorded(ledger) == ["a"]
    assert token(ledger) == 2


def token(ledger: Ledger) -> int:
    with ledger.read() as connection:
        found = connection.execute(text("SELECT token FROM stage_cursors WHERE stage = 'record'")).scalar()
    return int(found or 0)


# No event is slept over


@on_sqlite
def test_an_event_published_while_a_drain_ends_is_not_slept_over(
    queue: redis.Redis, queue_url: str, ledger: Ledger, worker: None
) -> None:
    """Given workers that only do what rings and their own drains tell them, and no sweep, If each event is published
    the moment the lane is empty (when a drain is between its last look and the end of its lease), I expect none to be
    left."""
    stop, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while not stop.is_set():
                rung = queue.brpop([lua.BELL], timeout=0.1)
                if rung and announce(queue, "record", GROUP):
                    drain(Record(), GROUP)
        except BaseException as error:
            failed.append(error)
            raise

    crew = [threading.Thread(target=work) for _ in range(3)]
    for thread in crew:
        thread.start()
    try:
        with Publisher(queue_url, group=GROUP) as publisher:
            for n in range(200):
                publisher.publish(note(f"e{n}"))
                # Looked at without a pause, so that the next one comes the moment the lane is empty.
                end = time.monotonic() + servers.START_SECONDS
                while queue.xlen(lua.lane(GROUP)) and not failed:
                    assert time.monotonic() < end, f"event {n} is slept over"
    finally:
        stop.set()
        for thread in crew:
            thread.join()
    assert failed == []
    assert recorded(ledger) == [f"e{n}" for n in range(200)]


def test_a_wake_up_is_announced_once(queue: redis.Redis) -> None:
    """Given many who want to wake the same stage at once, I expect one of them to send; and again once it was taken."""
    said: list[bool] = []
    crew = [threading.Thread(target=lambda: said.append(announce(queue, "record", GROUP))) for _ in range(20)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert sorted(said) == [False] * 19 + [True]

    lease = Lease(queue, "record", GROUP, 5)
    assert lease.take(), "a wake-up under way does not keep a worker out"
    assert not announce(queue, "record", GROUP)
    lease.let_go()
    assert announce(queue, "record", GROUP)


def test_a_turn_ends_and_the_rest_is_woken(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, environ: dict[str, str]
) -> None:
    """Given more events than a turn is long, I expect the drain to end, and to have sent a wake-up for the rest."""
    publisher.publish_many(notes("a", "b", "c"))
    with workers_here({**environ, "MEMLANE_BATCH_SIZE": "1", "MEMLANE_TURN_SECONDS": "0.000001"}):
        drain(STAGES["record"], GROUP)
        assert len(recorded(ledger)) < 2
        assert queue.llen(QUEUE) == 1
    with workers_here(environ):
        drain(STAGES["record"], GROUP)
    assert recorded(ledger) == ["a", "b", "c"]


# A dependency is down


def test_the_database_is_away(queue: redis.Redis, publisher: Publisher, postgres_url: str, tmp_path: Path) -> None:
    """Given a database that goes away and comes back, I expect the stage to rest meanwhile, nothing lost and no dead
    letter, and the sweep to wake it."""
    ledger = Ledger(postgres_url)
    environ = {**OPTIONS, "MEMLANE_VALKEY_URL": url_of(queue), "MEMLANE_HOME": str(tmp_path)}
    with workers_here({**environ, "MEMLANE_DATABASE_URL": postgres_url}):
        publisher.publish_many(notes("a"))
        drain(STAGES["record"], GROUP)
        publisher.publish_many(notes("b"))
        old(queue)

        allow(postgres_url, False)
        drain(STAGES["record"], GROUP)
        assert queue.get(lua.lease("record", GROUP)) == b"resting"
        assert 0 < queue.pttl(lua.lease("record", GROUP)) <= 300
        assert not announce(queue, "record", GROUP)
        drain(STAGES["record"], GROUP)  # a wake-up that was on its way
        assert queue.xlen(lua.lane(GROUP)) == 1

        allow(postgres_url, True)
        until_woken("record")
        drain(STAGES["record"], GROUP)
    assert recorded(ledger) == ["a", "b"]
    assert letters(ledger) == []
    ledger.close()


def test_a_worker_may_start_before_its_database(
    queue: redis.Redis, publisher: Publisher, postgres_url: str, tmp_path: Path
) -> None:
    """Given an empty database that is away when the worker starts, I expect it to be migrated when it is there."""
    environ = {**OPTIONS, "MEMLANE_VALKEY_URL": url_of(queue), "MEMLANE_HOME": str(tmp_path)}
    publisher.publish_many(notes("a"))
    allow(postgres_url, False)
    with workers_here({**environ, "MEMLANE_DATABASE_URL": postgres_url}):
        drain(STAGES["record"], GROUP)
        assert queue.xlen(lua.lane(GROUP)) == 1
        allow(postgres_url, True)
        servers.wait_until(lambda: not queue.exists(lua.lease("record", GROUP)), "the rest to be over", 5)
        drain(STAGES["record"], GROUP)
        assert recorded(resources.ledger()) == ["a"]


def allow(url: str, connections: bool) -> None:
    """Take a database away, with all connections to it, or give it back."""
    database = make_url(url)
    engine = create_engine(database.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS {str(connections).lower()}")
        query = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        connection.execute(query, {"name": database.database})
    engine.dispose()


def url_of(queue: redis.Redis) -> str:
    options = queue.connection_pool.connection_kwargs
    return f"redis://:{options['password']}@{options['host']}:{options['port']}"


@on_sqlite
def test_the_graph_is_away(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, environ: dict[str, str], graph_url: str, group: str
) -> None:
    """Given a graph server that isn't there yet, I expect stage `episodes` to rest and the others not, and all episodes
    to be written when it is there."""
    folder = Path(tempfile.mkdtemp(prefix="g-"))  # a unix socket's path may have 107 bytes
    publisher.publish_many([note("a", group), note("b", group)])
    try:
        with workers_here({**environ, "MEMLANE_GRAPH_URL": f"unix://{folder}/s"}):
            for name in ("record", "index", "episodes"):
                drain(STAGES[name], group)
            assert position(ledger, "index", group) == 2
            assert position(ledger, "episodes", group) == 0
            assert queue.get(lua.lease("episodes", group)) == b"resting"

            (folder / "s").symlink_to(graph_url.removeprefix("unix://"))
            queue.delete(lua.lease("cache", group), lua.lease("telemetry", group))
            until_woken("episodes")
            drain(STAGES["episodes"], group)
            assert position(ledger, "episodes", group) == 2
    finally:
        shutil.rmtree(folder)
    assert letters(ledger) == []
    client = falkordb.FalkorDB(unix_socket_path=graph_url.removeprefix("unix://"))
    assert client.select_graph(group).query("MATCH (e:Episodic) RETURN count(e)").result_set == [[2]]
    client.connection.close()


# The sweep


def lost(queue: redis.Redis, what: str) -> None:
    """Lose what would have woken the lane."""
    old(queue)
    if what == "the ring":
        queue.delete(lua.BELL)
    elif what == "the wake-up":
        assert announce(queue, "record", GROUP)
        queue.delete(QUEUE, lua.BELL)
        assert 0 < queue.pttl(lua.lease("record", GROUP)) <= 5_000, "then another may be sent"
        queue.pexpire(lua.lease("record", GROUP), 1)
    elif what == "the lane's entry in pending":
        queue.delete(lua.PENDING, lua.BELL)


@pytest.mark.parametrize("what", ["the ring", "the wake-up", "the lane's entry in pending"])
def test_the_sweep_wakes_a_lane_that_was_forgotten(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None, what: str
) -> None:
    """Given a lane with events that nothing speaks of any more, I expect the sweep to find it, to say so, and to wake
    it."""
    publisher.publish_many(notes("a"))
    drain(STAGES["record"], GROUP)
    publisher.publish_many(notes("b"))
    lost(queue, what)

    report = until_woken("record")

    kind = Recovery.LANE_NOT_PENDING if "pending" in what else Recovery.WAKE_UP_LOST
    assert report.recovered == {kind: 1}
    assert queue.hgetall(lua.RECOVERED) == {kind.value.encode(): b"1"}
    assert queue.llen(QUEUE) == 1
    assert queue.zscore(lua.PENDING, GROUP)
    drain(STAGES["record"], GROUP)
    assert recorded(ledger) == ["a", "b"]
    assert not queue.exists(lua.PENDING)
    assert "record" not in swept().woken


@pytest.mark.parametrize("type", ["error", "note"])
def test_a_stage_that_was_not_woken_for_what_it_does_not_care_about_was_not_forgotten(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None, type: str
) -> None:
    """Given events that came a while ago, and stages that nobody has woken since, I expect the sweep to wake them, and
    to call that a recovery only where a stage cares about such events."""
    publisher.publish_many([{"type": type, "group": GROUP, "data": {"message": "no such file"}}])
    drain(STAGES["record"], GROUP)
    queue.delete(*(lua.lease(name, GROUP) for name in STAGES))
    with ledger.write() as connection:
        connection.execute(text("UPDATE events SET recorded = recorded - 10000"))

    report = until_woken("telemetry")

    assert set(report.woken) > {"index", "telemetry"}
    cares = [name for name in report.woken if type in (STAGES[name].types or {type})]
    assert report.recovered == {Recovery.WAKE_UP_LOST: len(cares)}
    assert ("telemetry" in cares) == (type == "error")


def test_lanes_without_events_are_not_lost(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None
) -> None:
    """Given lanes that are empty, and one that is pending as it should be, I expect the sweep to leave `pending`
    alone."""
    publisher.publish_many([note("a"), note("b", "other")])
    for group in (GROUP, "other"):
        drain(STAGES["record"], group)
    publisher.publish_many([note("c", "other")])
    since = queue.zrange(lua.PENDING, 0, -1, withscores=True)

    assert Recovery.LANE_NOT_PENDING not in swept().recovered
    assert queue.zrange(lua.PENDING, 0, -1, withscores=True) == since


def test_a_lost_lane_keeps_the_age_of_its_oldest_event(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None
) -> None:
    publisher.publish_many(notes("a"))
    drain(STAGES["record"], GROUP)
    publisher.publish_many(notes("b", "c"))
    oldest = int(queue.xrange(lua.lane(GROUP), count=1)[0][0].partition(b"-")[0])
    queue.delete(lua.PENDING)

    assert swept().woken["record"] == [GROUP]
    assert queue.zscore(lua.PENDING, GROUP) == oldest


def test_lost_lanes_are_looked_for_in_pages(queue: redis.Redis, ledger: Ledger, worker: None) -> None:
    """Given more groups than one round looks at, I expect a lost lane among the last of them to be found in the
    next."""
    with ledger.write() as connection:
        rows = [{"name": f"g{n:04d}"} for n in range(1_500)]
        connection.execute(text("INSERT INTO stage_cursors (group_id, stage) VALUES (:name, 'record')"), rows)
    for group in ("g0000", "g0999", "g1000", "g1499"):
        queue.xadd(lua.lane(group), {"e": "x"})

    assert swept().recovered[Recovery.LANE_NOT_PENDING] == 2
    assert sorted(queue.zrange(lua.PENDING, 0, -1)) == [b"g0000", b"g0999"]
    assert swept().woken["record"] == ["g1000", "g1499"]
    queue.delete(lua.PENDING)
    swept()
    assert sorted(queue.zrange(lua.PENDING, 0, -1)) == [b"g0000", b"g0999"], "and from the beginning again"


@on_sqlite
def test_lanes_that_can_not_be_woken_do_not_hide_the_others(queue: redis.Redis, worker: None) -> None:
    """Given as many old lanes as one round looks at, all of which rest, I expect a lane behind them to be woken in the
    next round."""
    with queue.pipeline() as pipeline:
        for n in range(MOST):
            pipeline.zadd(lua.PENDING, {f"resting-{n}": 1_000 + n})
            pipeline.set(lua.lease("record", f"resting-{n}"), "resting", ex=60)
        pipeline.zadd(lua.PENDING, {"last": 100_000})
        pipeline.execute()

    assert swept().woken == {}
    assert swept().woken == {"record": ["last"]}
    assert queue.exists(lua.lease("record", "last"))


@on_sqlite
def test_a_young_lane_is_left_to_its_own_ring(queue: redis.Redis, publisher: Publisher, worker: None) -> None:
    publisher.publish_many(notes("a"))

    assert swept().woken == {}


@on_sqlite
def test_only_one_dispatcher_sweeps(queue: redis.Redis, environ: dict[str, str]) -> None:
    with workers_here({**environ, "MEMLANE_SWEEP_SECONDS": "30"}):
        assert sweep() is not None
        assert sweep() is None
    assert 0 < queue.pttl(lua.SWEEP) <= 30_000


def test_stages_behind_the_ledger_are_woken(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, worker: None
) -> None:
    """Given events in the ledger, and all wake-ups of the stages behind it lost, I expect the sweep to wake each of
    them."""
    publisher.publish_many(notes("a"))
    drain(STAGES["record"], GROUP)
    following = {name for name, stage in STAGES.items() if getattr(stage, "follows", "") == "record"}
    for name in following:
        queue.delete(lua.lease(name, GROUP), lua.PREFIX + STAGES[name].queue)

    assert swept().woken == {stage: [GROUP] for stage in following}


@on_sqlite
def test_a_queue_that_nobody_serves_does_not_grow(queue: redis.Redis, publisher: Publisher, worker: None) -> None:
    """Given ten thousand wake-ups that nobody takes, I expect the sweep to add none, though the lane waits."""
    publisher.publish_many(notes("a"))
    old(queue)
    queue.rpush(QUEUE, *(["x"] * MOST_QUEUED))

    assert "record" not in swept().woken
    assert queue.llen(QUEUE) == MOST_QUEUED
    queue.delete(QUEUE, lua.lease("record", GROUP))
    assert swept().woken == {"record": [GROUP]}


# Real workers


@on_postgresql
def test_a_running_worker_recovers_from_everything_at_once(
    queue: redis.Redis, publisher: Publisher, ledger: Ledger, environ: dict[str, str], tmp_path: Path
) -> None:
    """Given a worker at work, If the queue server is wiped between two events, and later loses bell, pending, queues
    and a lease of a worker that never was, I expect the events after it to be recorded without anyone's help."""
    with servers.worker(environ, "record,index", tmp_path / "worker.log"):
        publisher.publish_many(notes("a"))
        servers.wait_until(lambda: recorded(ledger) == ["a"], "the first event")
        queue.flushall()
        publisher.publish_many(notes("b"))
        servers.wait_until(lambda: recorded(ledger) == ["a", "b"], "an event after the server was wiped")

        queue.set(lua.lease("record", GROUP), "nobody", px=500)
        publisher.publish_many(notes("c"))
        queue.delete(lua.PENDING, lua.BELL, QUEUE)
        servers.wait_until(lambda: recorded(ledger) == ["a", "b", "c"], "an event that nothing spoke of")
        servers.wait_until(lambda: position(ledger, "index") == 3, "the stage behind it")


@on_sqlite
def test_lanes_are_drained_at_the_memory_limit(environ: dict[str, str], tmp_path: Path) -> None:
    """Given a worker, and a queue server that has come to its memory limit, so that Celery can't send a thing, I expect
    the lane to be drained all the same: that is what makes room."""
    with servers.queue_server(tmp_path / "queue") as url, redis.Redis.from_url(url) as queue:
        environ = {**environ, "MEMLANE_VALKEY_URL": url}
        with servers.worker(environ, "record", tmp_path / "worker.log") as worker:
            family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
            for process in family:
                process.suspend()
            given = [f"e{n}" for n in range(1_200)]
            with Publisher(url, group=GROUP) as publisher:
                publisher.publish_many([{"id": id, "type": "note", "data": {"text": "x" * 1_000}} for id in given])
            queue.delete(lua.BELL)
            queue.config_set("maxmemory", queue.info("memory")["used_memory"] - 500_000)
            for process in family:
                process.resume()

            ledger = Ledger(environ["MEMLANE_DATABASE_URL"])
            servers.wait_until(lambda: not queue.xlen(lua.lane(GROUP)), "the lane to be drained", 20)
            assert recorded(ledger) == given
            ledger.close()
