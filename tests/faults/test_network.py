"""The network between everybody and the queue server fails in all the ways that networks do.

    2 publishers ──▶ ┐
                     ├ proxy ─▶ broker        cuts │ holds │ loses │ delays │ garbles │ babbles
    1 worker     ──▶ ┘

What a publisher was told is accepted must be in the ledger once, in order. What it could not know of is in its spool and
sent again: an event that was accepted without the publisher's learning of it changes nothing the second time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.faults.load import all_published, for_a_while, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import MOST_ASLEEP, settle, tell
from tests.faults.programs import Graph
from tests.faults.proxy import Mode, Proxy
from tests.faults.rig import Rig, groups, rig
from tests.faults.supervisor import Supervisor


@dataclass(frozen=True)
class Networked:
    system: Rig
    proxy: Proxy
    supervisor: Supervisor


@pytest.fixture(scope="module")
def networked(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networked]:
    """A system in which everybody but the oracle goes through the proxy. Its worker is started again if it ends."""
    with rig(tmp_path_factory.mktemp("network"), graph) as system:
        with Proxy(system.broker.port, seed=7) as proxy:
            system.environ["MEMLANE_VALKEY_URL"] = f"redis://:{system.broker.password}@127.0.0.1:{proxy.port}"
            worker = system.worker("worker", processes=2)
            with Supervisor([worker]) as supervisor:
                yield Networked(system, proxy, supervisor)
            worker.end()


@pytest.mark.parametrize("mode", ["cut", "hold", "lose", "delay", "babble", "garble"])
def test_the_network_fails(networked: Networked, mode: Mode) -> None:
    """Given events under way, If the network fails in this way for a while, I expect nothing to be lost, doubled or
    out of order, and all to be done soon after it is well again, by a worker that did not have to be started again."""
    system, proxy, restarts = networked.system, networked.proxy, networked.supervisor.restarts
    sent = Sent(groups(4), 100, ("p0", "p1"))
    publishers = under_way(system, sent, seconds=1.5)
    proxy.mode = mode
    for_a_while(1.0)
    proxy.mode = "pass"
    over = time.monotonic()
    with system.watch(sent) as watch:
        tell(f"{mode}: {proxy.hurt} connections hurt")
        all_published(publishers)
        took = settle(system, sent, since=over, watch=watch)
    # Also where wake-ups are waiting, and it is the workers that don't hear of them; one that ended has to start, too.
    assert took < 2 * MOST_ASLEEP
    if mode != "garble":  # which may look like an answer of another kind
        assert networked.supervisor.restarts == restarts
