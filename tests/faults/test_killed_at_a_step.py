"""A worker dies at each numbered step of its work, as by a power cut.

    publish 300 ──▶ worker: wake-up, lease, token, write │ commit │ delete │ wake │ let go │ last look
                                ✝       ✝      ✝     ✝        ✝        ✝       ✝      ✝        ✝
    publish 60 ──▶ another process of the pool: goes on where the dead one was

There is a group for each step, and whoever works on that group kills itself by SIGKILL at that step (see armed.py): so it
dies at the very same instruction each time. Whatever it held or had half done, each event must be in ledger, full text
and graph once, in order, and the books must balance.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests import servers
from tests.faults.numbered import Sent
from tests.faults.oracle import settle
from tests.faults.orders import order, taken
from tests.faults.programs import ARMED, LANES, Graph
from tests.faults.rig import Rig, groups, rig
from tests.faults.steps import at_each_step


def test_a_worker_dies_at_each_step(system: Rig) -> None:
    """Given a worker that dies at a step, and events published before and after its death, I expect all of them once and
    in order, whichever step it was."""
    at_each_step(system)


def test_a_whole_worker_dies(graph: Graph, tmp_path: Path) -> None:
    """Given a worker that dies in a transaction, with its pool and its dispatcher, I expect another one to take over its
    lane.

    The first worker alone is there when the events are published, so it is the one that dies."""
    sent = Sent(groups(2), 200)
    with rig(tmp_path, graph) as system, system.watch(sent) as watch:
        system.launched("graph", queues="episodes")
        dying = system.worker("dying", queues=LANES, processes=2, app=ARMED)
        order(system.folder, "in transaction record", sent.groups[0], whole=True)
        system.publish(sent, range(100))
        taken(system.folder, sent.groups[0])
        servers.wait_until(lambda: not dying.alive, "the worker to be dead")
        died = time.monotonic()
        dying.kill()  # the other process of its pool
        system.worker("heir", queues=LANES)
        system.publish(sent, range(100, 200))
        settle(system, sent, since=died, watch=watch)
