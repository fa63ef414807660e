"""The queue server is killed, frozen, full, or cuts everybody off, while events are published and worked on.

    2 publishers ──▶ broker ──▶ 2 workers ──▶ ledger, graph
                       ✝ ■ ✂

What the queue has acknowledged must be in the ledger; the broker syncs each write (`appendfsync always`), so a kill
takes nothing with it.
"""

from __future__ import annotations

import time

import pytest
import redis

from memory import lua
from tests import servers
from tests.faults.load import all_published, for_a_while, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import recorded, settle, tell
from tests.faults.rig import Rig, groups

#: Seconds for which a fault lasts.
WHILE_SECONDS = 1.0


@pytest.fixture
def sent() -> Sent:
    return Sent(groups(4), 200, ("p0", "p1"))


def test_killed_and_restarted(system: Rig, sent: Sent) -> None:
    """Given a broker that is killed under load and started again, twice, I expect all that it acknowledged."""
    with system.watch(sent) as watch:
        publishers = under_way(system, sent, seconds=1.5)
        for _ in range(2):
            system.broker.kill()
            for_a_while(0.5)
            system.broker.start()
        over = time.monotonic()
        all_published(publishers)
        settle(system, sent, since=over, watch=watch)


def test_frozen(system: Rig, sent: Sent) -> None:
    """Given a broker that answers nobody for some seconds, I expect publishers and workers to go on when it does."""
    with system.watch(sent) as watch:
        publishers = under_way(system, sent, seconds=1.5)
        system.broker.freeze()
        for_a_while(WHILE_SECONDS)
        system.broker.thaw()
        over = time.monotonic()
        all_published(publishers)
        settle(system, sent, since=over, watch=watch)


def test_all_connections_are_cut_again_and_again(system: Rig, sent: Sent) -> None:
    with system.watch(sent) as watch:
        publishers = under_way(system, sent, seconds=1.5)
        end = time.monotonic() + WHILE_SECONDS
        cut = 0
        while time.monotonic() < end:
            cut += int(system.broker.client.client_kill_filter(skipme=True))
            for_a_while(0.1)
        over = time.monotonic()
        tell(f"{cut} connections cut")
        assert cut > 10
        all_published(publishers)
        settle(system, sent, since=over, watch=watch)


def test_the_memory_limit(system: Rig, sent: Sent) -> None:
    """Given a broker that is at its memory limit, I expect publishers to be told, the lanes to be drained nevertheless,
    and all to go on once there is room."""
    queue = system.broker.client
    with system.watch(sent) as watch:
        publishers = under_way(system, sent, seconds=3.0)
        queue.config_set("maxmemory", int(queue.info("memory")["used_memory"]) - 10_000)
        try:
            servers.wait_until(lambda: _refuses(queue), "the limit to be reached", 5)
            for_a_while(WHILE_SECONDS)
            assert recorded(system.ledger, sent) < sent.total, "nothing more was accepted"
            servers.wait_until(
                lambda: not any(queue.xlen(lua.lane(group)) for group in sent.groups), "the lanes to be drained"
            )
        finally:
            queue.config_set("maxmemory", 0)
        over = time.monotonic()
        all_published(publishers)
        settle(system, sent, since=over, watch=watch)


def _refuses(queue: redis.Redis) -> bool:
    try:
        queue.set("test", "x")
    except redis.exceptions.OutOfMemoryError:
        return True
    return False
