"""A worker dies while it makes a checkpoint, and another one goes on.

    … ──▶ compaction:  claim, store │ publish │ cursor, commit
                      ✝            ✝         ✝       ✝

There is a group for each step. Each range must have one checkpoint, and one event that tells of it.
"""

from __future__ import annotations

from functools import partial

from memory.ledger import checkpoints
from memory.ledger.log import read
from producers import Publisher
from tests import servers
from tests.faults.orders import order, taken
from tests.faults.rig import Rig, groups

#: What was done when the worker dies, and the step at which it does.
STEPS = {
    "nothing stored": "before claim compaction",
    "stored, nobody told": "before publish record",
    "told, the cursor not moved": "after publish record",
    "the cursor moved, not committed": "in transaction compaction",
}


def test_a_worker_dies_while_it_makes_a_checkpoint(system: Rig) -> None:
    """Given a worker that dies at a step, I expect exactly one checkpoint for each range, and that it is told of once."""
    named = dict(zip(STEPS.values(), groups(len(STEPS)), strict=True))
    work = {"type": "file.write", "session": "s1", "data": {"path": "a.py"}}
    ask = {"type": "session.compacting", "session": "s1", "data": {}}
    with Publisher(system.broker.url, source="faults", group="any") as publisher:
        for step, group in named.items():
            order(system.folder, step, group)
            publisher.publish_many({**event, "group": group} for event in (work, ask, ask))
        for group in named.values():
            taken(system.folder, group)
        for group in named.values():
            publisher.publish_many({**event, "group": group} for event in (work, ask))

    def ranges(group: str) -> list[tuple[int, int]]:
        with system.ledger.read() as connection:
            return [(one.first_seq, one.last_seq) for one in checkpoints.of_session(connection, group, "s1")]

    def told(group: str) -> list[list[int]]:
        with system.ledger.read() as connection:
            events = read(connection, group, 0, 1 << 40, {"checkpoint.created"}, 100).events
        return [event.data["range"] for event in events]

    def both(group: str) -> bool:
        return len(told(group)) == 2

    for step, group in named.items():
        servers.wait_until(partial(both, group), f"checkpoints after: {step}", 45)
        assert ranges(group)[0] == (1, 2), step
        assert len(ranges(group)) == 2, step
        assert told(group) == [list(one) for one in ranges(group)], step
