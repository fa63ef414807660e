"""What the queue server forgets before it is recorded: wiped by hand, or cut off from power before it had synced.

It can't be brought back from the server. It must be counted, exactly: what is missing in the ledger is what the books say
is lost. And whoever has the events may publish them again, under the same ids: then nothing is missing any more.

    publish 0…n ──▶ broker ⌫ ──▶ ledger: some of them      books: lost = the others
    publish 0…n again       ──▶ ledger: all of them       books: balanced, still
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory import lua
from ops import status
from ops.home import Home
from tests import servers
from tests.faults.load import all_published, for_a_while, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import judge, recovered, tell, told
from tests.faults.programs import Broker
from tests.faults.rig import Rig, groups


def test_wiped_while_events_are_published(system: Rig) -> None:
    """Given a queue server that is wiped (FLUSHALL) while events are published and worked on."""
    sent = Sent(groups(4), 300, ("p0", "p1"))
    publishers = under_way(system, sent, seconds=1.5)
    for_a_while(0.5)
    with _nobody_at_work(system):
        # So that something is waiting when it is wiped.
        servers.wait_until(lambda: _in_lanes(system, sent) > 100, "lanes to fill")
        system.broker.client.flushall()
    all_published(publishers)
    assert _counted(system, sent), "nothing was lost: the test has not tried anything"
    _published_again(system, sent)


def test_wiped_again_before_anybody_had_looked(system: Rig) -> None:
    """Given a queue server that is wiped twice while no worker works."""
    sent = Sent(groups(2), 150)
    with _nobody_at_work(system):
        for start in (0, 50, 100):
            system.broker.client.flushall()
            system.publish(sent, range(start, start + 50))
    assert _counted(system, sent) == 200
    _published_again(system, sent)


def test_cut_off_from_power_before_it_had_synced(system: Rig) -> None:
    """Given a queue server that loses the end of its file with the power, as one that syncs once a second does, and lanes
    that nobody has worked on yet."""
    sent = Sent(groups(2), 150)
    with _nobody_at_work(system):
        before = _file(system.broker).stat().st_size
        system.publish(sent)
        system.broker.kill()
        after = _file(system.broker).stat().st_size
        _cut_off(system.broker, before + int((after - before) * 0.6))
        system.broker.start()
    assert 50 < _counted(system, sent) < 250
    _published_again(system, sent)


def test_what_it_had_deleted_comes_back(system: Rig) -> None:
    """Given events that were recorded and deleted from their lane, If the deletions are what the file's end had, so that
    the entries are there again, I expect nobody to count or record them a second time, nor to count anything as lost."""
    sent = Sent(groups(2), 150)
    with _nobody_at_work(system):
        system.publish(sent)
        size = _file(system.broker).stat().st_size
    recovered(system, sent, seconds=30)
    with _nobody_at_work(system):
        system.broker.kill()
        _cut_off(system.broker, size)
        system.broker.start()
        assert _in_lanes(system, sent) == sent.total
    servers.wait_until(lambda: not _in_lanes(system, sent), "the lanes to be empty")
    assert _counted(system, sent) == 0


@contextmanager
def _nobody_at_work(system: Rig) -> Iterator[None]:
    """While entered, all workers are stopped."""
    workers = [system.worker_named(name) for name in ("lanes", "graph")]
    for worker in workers:
        worker.freeze()
    yield
    for worker in workers:
        worker.thaw()


def _in_lanes(system: Rig, sent: Sent) -> int:
    return sum(int(system.broker.client.xlen(lua.lane(group))) for group in sent.groups)


def _counted(system: Rig, sent: Sent) -> int:
    """Wait until all that is not lost is dealt with. What is lost must be what the books say, in each group.

    Returns:
        How many events are lost.
    """
    since = time.monotonic()
    home = Home(system.home, system.broker.url)
    lost: dict[str, int] = {}
    books: Any = None

    def accounted() -> bool:
        nonlocal books
        for group in sent.groups:
            (books,) = status.look(system.broker.client, home, system.ledger, group).groups
            left = books.pending + books.spooled + sum(stage.pending for stage in books.stages)
            if left or not books.balanced or books.recorded + books.lost != sent.count * len(sent.publishers):
                return False
            lost[group] = books.lost
        return True

    try:
        servers.wait_until(accounted, "every event to be recorded or counted as lost", 45)
    finally:
        found = judge(system, sent)
        tell(f"{books}")
        tell(f"lost {sum(lost.values())} of {sent.total}; {told(found)}; after {time.monotonic() - since:.1f} s")
    assert found.missing == sum(lost.values())
    assert (found.doubled, found.reordered, found.gaps, found.dead, found.books) == (0, 0, 0, 0, [])
    return found.missing


def _published_again(system: Rig, sent: Sent) -> None:
    system.publish(sent)
    took = recovered(system, sent, seconds=45)
    found = judge(system, sent)
    tell(f"published again: recovered in {took:.1f} s, {told(found)}")
    # Those that were lost come in behind those that were not.
    found.reordered = 0
    assert found.clean, found


def _file(broker: Broker) -> Path:
    (file,) = broker.folder.rglob("*.incr.aof")
    return file


def _cut_off(broker: Broker, size: int) -> None:
    """Take away the end of its file, behind so many bytes."""
    with _file(broker).open("r+b") as file:
        tell(f"{file.seek(0, 2) - size} bytes of its file are gone")
        file.truncate(size)
