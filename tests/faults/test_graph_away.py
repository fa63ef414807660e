"""The graph server dies or hangs while events come in: stage `episodes` waits for it, the others don't."""

from __future__ import annotations

import time

import pytest

from tests import servers
from tests.faults.load import all_published, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import recorded, settle
from tests.faults.rig import Rig, groups

#: An event that fails is buried after fewer tries: in its batch, in a chunk, and three times by itself.
MOST_TRIES = 6


@pytest.fixture
def sent() -> Sent:
    return Sent(groups(4), 100, ("p0", "p1"))


def test_the_graph_server_is_killed(system: Rig, sent: Sent) -> None:
    """Given a graph server that is killed under load, I expect the ledger to go on without it, no dead letter, and the
    graph to be complete once it is back."""
    publishers = under_way(system, sent, seconds=1.0)
    system.graph.kill()
    all_published(publishers)
    servers.wait_until(lambda: recorded(system.ledger, sent) == sent.total, "the ledger to go on without the graph")
    tried = f"waiting stage=episodes group={sent.groups[0]}"
    servers.wait_until(lambda: system.log("graph").count(tried) > MOST_TRIES, "the stage to have tried again and again")
    system.graph.start()
    settle(system, sent, since=time.monotonic())


def test_the_graph_server_hangs(system: Rig, sent: Sent) -> None:
    """Given a graph server that answers nobody for some seconds, I expect the same."""
    publishers = under_way(system, sent, seconds=1.0)
    system.graph.freeze()
    all_published(publishers)
    servers.wait_until(lambda: recorded(system.ledger, sent) == sent.total, "the ledger to go on without the graph")
    system.graph.thaw()
    settle(system, sent, since=time.monotonic())
