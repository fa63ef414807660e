"""Poison: an event at which a stage fails, or that kills its worker, must not stop the stage, nor take others with it.

The stage of these tests takes the place of `index`, with its name, cursor and books, and fails at events whose task says
so. A worker dies for real: in a process of its own, by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import pytest
import redis
from sqlalchemy import Connection, func, insert, select

from memory import lua
from memory.ledger import Ledger, LedgerUnavailable, books, cursors, dead
from memory.ledger.log import Slice
from memory.ledger.schema import dead_letters, search_blocks
from memory.settings import settings
from ops.retry import RetryFailed, retry
from producers import Publisher
from tests import servers
from tests.workers_here import workers_here
from workers.index import Index
from workers.stage import DependencyDown, StageFailed, drain
from workers.stages import STAGES

GROUP = "shop"


class Picky(Index):
    """Indexes, but fails at tasks that begin with `poison`, dies at `deadly`, and waits while `away`."""

    away = False

    def before(self, group: str, events: Slice) -> None:
        if self.away:
            raise DependencyDown("a server that it needs is away")
        for event in events.events:
            if event.data["task"].startswith("poison"):
                raise ValueError(f"can't stand {event.data['task']}")
            if event.data["task"].startswith("deadly"):
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {
        **environ,
        "MEMLANE_REST_SECONDS": "0.05",
        "MEMLANE_LEASE_SECONDS": "0.5",
    }


def given(queue_url: str, tasks: list[str]) -> None:
    """Events in the ledger, one a task."""
    events = [{"id": task, "type": "completion", "data": {"task": task}} for task in tasks]
    with Publisher(queue_url, source="test", group=GROUP) as publisher:
        publisher.publish_many(events)
    drain(STAGES["record"], GROUP)


def buried(ledger: Ledger) -> list[tuple[str, str, int]]:
    with ledger.read() as connection:
        query = select(dead_letters.c.event_id, dead_letters.c.error, dead_letters.c.attempts)
        return [tuple(row) for row in connection.execute(query.order_by(dead_letters.c.n))]


def indexed(connection: Connection) -> int:
    """Events that can be found."""
    return connection.execute(select(func.sum(search_blocks.c.events))).scalar() or 0


def until_done(stage: Picky, ledger: Ledger, events: int) -> int:
    """Drain again and again, as the sweep would have it done.

    Returns:
        How many drains failed.
    """
    failures = 0

    def done() -> bool:
        nonlocal failures
        try:
            drain(stage, GROUP)
        except StageFailed:
            failures += 1
        with ledger.read() as connection:
            return cursors.position(connection, "index", GROUP) == events

    servers.wait_until(done, "the stage to get through", 30)
    return failures


def test_poison_is_isolated_and_buried(queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given 600 events with two poison ones among them, I expect those two in the dead letters after three attempts each,
    whole and with their error, all others dealt with once, and the books even."""
    tasks = [f"task{n}" for n in range(600)]
    tasks[123], tasks[456] = "poison123", "poison456"
    given(queue_url, tasks)
    stage = Picky()
    failures = until_done(stage, ledger, 600)
    assert buried(ledger) == [
        ("poison123", "ValueError: can't stand poison123", 3),
        ("poison456", "ValueError: can't stand poison456", 3),
    ]
    assert failures <= 10, "a batch and a chunk for each poison, and three for each by itself"
    with ledger.read() as connection:
        found = books.of_stage(connection, "index", GROUP, None)
        assert (found.interest, found.done, found.pending, found.dead) == (600, 598, 0, 2)
        assert indexed(connection) == 598
        letter = dead.letters(connection, group=GROUP, stage="index", limit=1)[0]
    assert '"task":"poison456"' in letter.event
    assert letter.seq == 457


def test_what_failed_says_where_and_not_what(queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given a poison event, I expect the task's failure, which logs and Flower show, to hold nothing of the event."""
    given(queue_url, ["poison-s3cret"])
    with pytest.raises(StageFailed) as failed:
        drain(Picky(), GROUP)
    assert "s3cret" not in str(failed.value)
    assert "ValueError in test_poison.py" in str(failed.value)
    assert failed.value.__suppress_context__


def test_an_event_that_kills_its_worker_is_buried(
    queue: redis.Redis, queue_url: str, ledger: Ledger, worker: None
) -> None:
    """Given an event that kills every worker that works on it, I expect it in the dead letters after three deaths and the
    two that found it, and all others dealt with."""
    given(queue_url, [*(f"task{n}" for n in range(40)), "deadly", *(f"more{n}" for n in range(40))])
    deaths = 0

    def done() -> bool:
        nonlocal deaths
        servers.wait_until(lambda: not queue.exists(lua.lease("index", GROUP)), "the dead worker's lease to run out", 5)
        deaths += _drained_by_a_process_of_its_own() == -signal.SIGKILL
        with ledger.read() as connection:
            return cursors.position(connection, "index", GROUP) == 81

    servers.wait_until(done, "the stage to get through", 60)
    assert deaths == 5
    assert buried(ledger) == [("deadly", "the worker died while it worked on this event", 3)]
    with ledger.read() as connection:
        found = books.of_stage(connection, "index", GROUP, None)
        assert (found.done, found.dead, indexed(connection)) == (80, 1, 80)


def _drained_by_a_process_of_its_own() -> int:
    """Fork, as Celery's pool does; the child opens connections of its own.

    Returns:
        Its exit code, negative for the signal that killed it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads of the tests are not in the child
        child = os.fork()
    if not child:
        drain(Picky(), GROUP)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_server_that_is_away_buries_nothing(queue: redis.Redis, queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given a server that is away for twenty drains, also while an event is suspect, I expect no dead letter."""
    given(queue_url, ["task1", "poison", "task2"])
    stage = Picky()
    with pytest.raises(StageFailed):
        drain(stage, GROUP)
    stage.away = True
    for _ in range(20):
        servers.wait_until(lambda: queue.get(lua.lease("index", GROUP)) != b"resting", "the stage's rest", 5)
        drain(stage, GROUP)
    assert buried(ledger) == []
    stage.away = False
    until_done(stage, ledger, 3)
    assert [letter[0] for letter in buried(ledger)] == ["poison"]


def test_a_ledger_that_is_away_counts_no_try(queue: redis.Redis, environ: dict[str, str], tmp_path: Path) -> None:
    """Given a database that is away, I expect drains to rest, and to hold no event for suspect."""
    environ = {**environ, "MEMLANE_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{servers.free_port()}/memlane"}
    with workers_here(environ):
        with pytest.raises(LedgerUnavailable):
            Ledger(settings().database).read().__enter__()
        for _ in range(5):
            servers.wait_until(lambda: not queue.exists(lua.lease("index", GROUP)), "the stage's rest", 5)
            drain(STAGES["index"], GROUP)
            assert queue.get(lua.lease("index", GROUP)) == b"resting"
    assert queue.hgetall(lua.trial("index", GROUP)) == {b"rested": b"excused"}


def test_a_retried_letter_is_dealt_with(queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given a buried event, If the stage can deal with it now, I expect a retry to do so, and the books even; If not, the
    letter to be as it was."""
    given(queue_url, ["poison"])
    stage = Picky()
    until_done(stage, ledger, 1)
    with ledger.read() as connection:
        letter = dead.letters(connection, group=GROUP, stage="index", limit=1)[0]
    with pytest.raises(ValueError, match="can't stand"):
        stage.retry(letter)
    assert len(buried(ledger)) == 1
    retry(letter)
    with pytest.raises(dead.NoSuchLetter):
        retry(letter)
    with ledger.read() as connection:
        found = books.of_stage(connection, "index", GROUP, None)
        assert (found.interest, found.done, found.pending, found.dead) == (1, 1, 0, 0)
        assert indexed(connection) == 1


def test_a_letter_of_a_lane_goes_back_into_it(queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given entries that never came into the ledger, If one of them is an event by now, I expect a retry to put it back
    into its lane; the one that is none to stay a letter; and the captured ones to be all accounted for."""
    event = {"id": "late", "type": "completion", "data": {"task": "t"}}
    with Publisher(queue_url, source="test", group=GROUP) as publisher:
        raw = publisher.check(event).encode().decode()
    letter = {"group_id": GROUP, "stage": "record", "error": "unreadable", "attempts": 3, "time": 0}
    with ledger.write() as connection:
        connection.execute(insert(dead_letters), [{**letter, "event": raw}, {**letter, "event": "{"}])
        late, garbage = sorted(dead.letters(connection, group=GROUP, stage="record", limit=2), key=lambda one: one.n)
    retry(late)
    with pytest.raises(RetryFailed, match="not valid JSON"):
        retry(garbage)
    drain(STAGES["record"], GROUP)
    with ledger.read() as connection:
        found = books.of_group(connection, GROUP)
    assert (found.recorded, found.duplicates, found.dead) == (1, 0, 1)
