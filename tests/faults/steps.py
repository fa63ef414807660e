"""The steps of a worker's work at which it is killed, and what is tried at each of them, on whatever ledger."""

from __future__ import annotations

import time

from tests.faults.numbered import Sent
from tests.faults.oracle import settle
from tests.faults.orders import order, taken
from tests.faults.rig import Rig, groups

#: What was done when the worker dies, and the step at which it does.
STEPS = {
    "a wake-up was taken, nothing done": "before take_lease record",
    "the lease is held": "after take_lease record",
    "the token is taken": "after take_token record",
    "everything written, nothing committed": "in transaction record",
    "committed, not deleted from the lane": "before ack record",
    "deleted from the lane, nobody woken": "after ack record",
    "all done, the lease is held": "before let_go record",
    "the lease is let go, no last look taken": "after let_go record",
    "written to the graph, the cursor not moved": "before claim episodes",
    "in the graph, and in a transaction": "in transaction episodes",
    "in the full text, not committed": "in transaction index",
    "committed, the stages behind not woken": "before wake_followers index",
    "paths dropped, the cursor not moved": "before claim cache",
}


def at_each_step(system: Rig) -> None:
    """Kill who works on a group at a step, for each step in a group of its own; publish before and after; judge."""
    sent = Sent(groups(len(STEPS)), 150)
    for group, step in zip(sent.groups, STEPS.values(), strict=True):
        order(system.folder, step, group)
    system.publish(sent, range(120), batch=60)
    for group in sent.groups:
        taken(system.folder, group)
    died = time.monotonic()
    system.publish(sent, range(120, 150), batch=10)
    settle(system, sent, since=died)
