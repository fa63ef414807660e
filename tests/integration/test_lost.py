"""What the queue server loses is counted, exactly, and publishing it again restores it.

published ──▶ lane ──▶ ledger          A wiped server knows neither the events nor how many they were. Their number is
    │           ╳  wiped               known from what workers have seen of its counter, and from the receipts that
    └── receipt (on the producer's     each producer's home keeps; so `captured - dealt with` of the life of the server
        disk: how many were taken)     that is over is what is lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from memory import lua
from memory.ledger import Ledger
from ops.home import Home
from ops.status import GroupStatus, look
from producers import Publisher
from tests import servers
from tests.workers_here import workers_here
from workers.stage import drain
from workers.stages import STAGES
from workers.sweep import Recovery, sweep

GROUP = "shop"


def notes(first: int, count: int) -> list[dict[str, Any]]:
    numbers = range(first, first + count)
    return [{"id": f"e{n}", "group": GROUP, "type": "completion", "data": {"task": f"t{n}"}} for n in numbers]


def work_off() -> None:
    """Drain every stage that SQL alone is enough for."""
    for stage in ("record", "index", "cache", "cache.index", "telemetry"):
        drain(STAGES[stage], GROUP)


def status(queue: redis.Redis, ledger: Ledger, home: Path, url: str) -> GroupStatus:
    """The books, as an operator who looks later sees them: workers have followed the bell meanwhile."""
    look(queue, Home(home, url), ledger, GROUP)
    while ring := queue.rpop(lua.BELL):
        assert ring == f"lane {GROUP}".encode()
        drain(STAGES["record"], GROUP)
    (found,) = look(queue, Home(home, url), ledger, GROUP).groups
    return found


def balances(books: GroupStatus) -> bool:
    """Whether `captured = recorded + …` holds. The graph has no part in these tests."""
    return books.off_by == 0


def test_a_wipe_is_counted_and_restored(
    queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, worker: None
) -> None:
    """Given 30 events recorded and 12 in the lane, If the server is wiped, I expect 12 lost, though nobody publishes any
    more; and if the same 42 are published again, all of them in the ledger, and still 12 lost."""
    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.publish_many(notes(0, 30))
        work_off()
        for event in notes(30, 12):
            publisher.publish(event)
    queue.flushall()

    books = status(queue, ledger, home, queue_url)
    assert (books.captured, books.recorded, books.lost, books.off_by) == (42, 30, 12, 0)

    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.publish_many(notes(0, 42))
    work_off()
    books = status(queue, ledger, home, queue_url)
    assert (books.captured, books.recorded, books.duplicates, books.lost) == (84, 42, 30, 12)
    assert balances(books)


def test_a_wipe_before_anything_was_recorded(
    queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, worker: None
) -> None:
    """Given a group of which the ledger knows nothing yet, I expect its events counted as lost all the same."""
    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.publish_many(notes(0, 7))
    queue.flushall()

    books = status(queue, ledger, home, queue_url)
    assert (books.captured, books.recorded, books.lost, books.off_by) == (7, 0, 7, 0)


def test_the_next_event_tells_of_a_wipe(
    queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, worker: None, tmp_path: Path
) -> None:
    """Given producers on another machine, whose receipts only they have, I expect what was lost to be known once one of
    them publishes again, also by another process than the one that published before."""
    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.publish_many(notes(0, 9))
    queue.flushall()
    elsewhere = tmp_path / "elsewhere"
    assert status(queue, ledger, elsewhere, queue_url).captured == 0

    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.publish_many(notes(9, 2))
    work_off()
    books = status(queue, ledger, elsewhere, queue_url)
    assert (books.captured, books.recorded, books.lost, books.off_by) == (11, 2, 9, 0)


def test_a_second_producer_tells_what_the_first_did_not(
    queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, worker: None
) -> None:
    """Given two publishers of one home, If the server is wiped and the one with the older receipt is the first to
    publish, I expect the newer receipt of the other to count, though that one never comes back."""
    with Publisher(queue_url, group=GROUP) as older:
        older.publish_many(notes(0, 3))
        with Publisher(queue_url, group=GROUP) as newer:
            newer.publish_many(notes(3, 5))
        queue.flushall()
        older.publish_many(notes(8, 1))
    work_off()

    books = status(queue, ledger, home, queue_url)
    assert (books.captured, books.recorded, books.lost, books.off_by) == (9, 1, 8, 0)


def test_several_wipes_add_up(queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, worker: None) -> None:
    lost = 0
    with Publisher(queue_url, group=GROUP) as publisher:
        for turn in range(4):
            publisher.publish_many(notes(turn * 100, 10))
            work_off()
            publisher.publish_many(notes(turn * 100 + 10, turn))
            lost += turn
            queue.flushall()
            sweep()
        publisher.publish_many(notes(1_000, 1))
    work_off()

    books = status(queue, ledger, home, queue_url)
    assert (books.lost, books.recorded) == (lost, 41)
    assert balances(books)


def test_the_sweep_learns_of_a_wipe(
    queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, worker: None
) -> None:
    """Given a wiped server to which nobody publishes any more, I expect the sweep to have the groups looked at."""
    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.publish_many(notes(0, 5))
        work_off()
    queue.flushall()

    report = sweep()

    assert report is not None
    assert report.recovered[Recovery.NEW_GENERATION] == 1


@contextmanager
def server(folder: Path, port: int) -> Iterator[redis.Redis]:
    url = f"redis://:pw@127.0.0.1:{port}"
    command = servers.queue_command(folder, port, "pw", "--appendfsync", "always")
    with servers.process(command, folder / "queue.log") as running:
        servers.wait_until(lambda: servers.answers(url), "queue server")
        with redis.Redis.from_url(url) as client:
            yield client
        running.kill()
        running.wait()


def test_a_server_that_forgets_its_last_moments(database_url: str, tmp_path: Path, home: Path) -> None:
    """Given a server whose disk lacks the last seconds before a power cut, in which some events were recorded and deleted
    from the lane, and some were only accepted, I expect only the latter lost, those that are in the lane again not
    recorded twice, and the books to balance."""
    port = servers.free_port()
    folder = tmp_path / "own"
    folder.mkdir()
    url = f"redis://:pw@127.0.0.1:{port}"
    environ = {"MEMLANE_HOME": str(home), "MEMLANE_VALKEY_URL": url, "MEMLANE_DATABASE_URL": database_url}
    with server(folder, port) as queue:
        with Publisher(url, group=GROUP) as publisher, workers_here(environ):
            publisher.publish_many(notes(0, 10))
            shutil.copytree(folder, tmp_path / "disk")
            publisher.publish_many(notes(10, 10))
            drain(STAGES["record"], GROUP)
            for event in notes(20, 6):
                publisher.publish(event)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "disk", folder)
    with server(folder, port) as queue, workers_here(environ):
        assert queue.xlen(lua.lane(GROUP)) == 10, "those that the ledger has are there again"
        with Publisher(url, group=GROUP) as publisher:
            publisher.publish_many(notes(26, 3))
        drain(STAGES["record"], GROUP)
        from workers import resources

        books = status(queue, resources.ledger(), home, url)
        assert (books.captured, books.recorded, books.duplicates, books.lost) == (29, 23, 0, 6)
        assert balances(books)
        with Publisher(url, group=GROUP) as publisher:
            publisher.publish_many(notes(20, 6))
        drain(STAGES["record"], GROUP)
        books = status(queue, resources.ledger(), home, url)
        assert (books.captured, books.recorded, books.duplicates, books.lost) == (35, 29, 0, 6)
        assert balances(books)


def test_a_restart_that_loses_nothing_counts_nothing(database_url: str, tmp_path: Path, home: Path) -> None:
    """Given events in the lane, If the server is killed and started again, I expect none lost, whoever looks when."""
    port = servers.free_port()
    folder = tmp_path / "own"
    folder.mkdir()
    url = f"redis://:pw@127.0.0.1:{port}"
    environ = {"MEMLANE_HOME": str(home), "MEMLANE_VALKEY_URL": url, "MEMLANE_DATABASE_URL": database_url}
    for turn in range(3):
        with server(folder, port) as queue, workers_here(environ):
            with Publisher(url, group=GROUP) as publisher:
                publisher.publish_many(notes(turn * 100, 30))
            if turn == 1:
                drain(STAGES["record"], GROUP)
            from workers import resources

            books = status(queue, resources.ledger(), home, url)
            assert (books.captured, books.lost, books.off_by) == ((turn + 1) * 30, 0, 0)
    with server(folder, port) as queue, workers_here(environ):
        sweep()
        drain(STAGES["record"], GROUP)
        books = status(queue, resources.ledger(), home, url)
        assert (books.captured, books.recorded, books.lost, books.off_by) == (90, 90, 0, 0)


def test_what_others_spooled_is_told(
    queue_url: str, queue: redis.Redis, ledger: Ledger, home: Path, tmp_path: Path, worker: None
) -> None:
    """Given a lane at its mark, If events wait in the spools of two homes, I expect both counted, on each machine."""
    with Publisher(queue_url, group=GROUP, lane_events=2) as publisher:
        publisher.publish_many(notes(0, 2))
        publisher.publish_many(notes(2, 3))
        with pytest.raises(Exception, match="over its mark"):
            publisher.flush(GROUP, 1)
    here = status(queue, ledger, home, queue_url)
    there = status(queue, ledger, tmp_path / "elsewhere", queue_url)
    assert (here.spooled, there.spooled) == (3, 3)
    assert (here.captured, here.recorded, here.off_by) == (5, 2, 0)
    assert json.loads((home / "spool" / f"{GROUP}.state").read_bytes())[1] == 0
