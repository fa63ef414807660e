"""An event that kills every worker process that touches it.

    … n-1, n, ☠, n+1, …      each try is counted before the work, so that deaths count
            └─ batch of suspects ─ chunk ─ one at a time ─▶ buried after three tries by itself

Nothing else may go down with it: not an event, not the order, not the books.
"""

from __future__ import annotations

import pytest
from sqlalchemy import select

from memory.ledger.schema import dead_letters
from producers import Publisher
from tests.faults.numbered import Sent, id_of, numbered
from tests.faults.oracle import Verdict, judge, recovered, tell, told
from tests.faults.rig import Rig, groups

#: Number of the event that kills.
DEADLY = 70


def test_it_is_buried_alone(system: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one event in 150 that kills whoever works on it, in stage `record` of one group and in stage `index` of another,
    I expect it in the dead letters of that stage after three tries by itself, and every other event once and in order, in
    ledger, full text and graph."""
    by_record, by_index = (Sent(groups(), 150) for _ in range(2))
    monkeypatch.setenv("MEMLANE_HOME", str(system.home))
    for stage, sent in (("record", by_record), ("index", by_index)):
        events = numbered(sent.groups[0], "p0", range(sent.count))
        events[DEADLY]["data"]["deadly"] = stage
        with Publisher(system.broker.url, source="faults", group=sent.groups[0]) as publisher:
            publisher.publish_many(events)
    recovered(system, by_record, seconds=120, dead=1)
    recovered(system, by_index, seconds=60)

    found = _one_dead_letter(system, by_record, "record")
    assert (found.missing, found.unfound, found.graph_missing) == (1, 0, 0)
    found = _one_dead_letter(system, by_index, "index")
    assert (found.missing, found.unfound, found.graph_missing) == (0, 1, 0), "only full text is without it"


def _one_dead_letter(system: Rig, sent: Sent, stage: str) -> Verdict:
    """The verdict on a group in which this stage, and nobody else, has buried the deadly event, and nothing more."""
    group = sent.groups[0]
    with system.ledger.read() as connection:
        query = select(dead_letters.c.stage, dead_letters.c.event, dead_letters.c.attempts)
        ((at, event, attempts),) = connection.execute(query.where(dead_letters.c.group_id == group)).all()
    found = judge(system, sent)
    tell(f"buried in stage {stage}; {told(found)}")
    assert (at, attempts, found.dead) == (stage, 3, 1)
    assert id_of(group, "p0", DEADLY) in event
    assert (found.doubled, found.reordered, found.gaps, found.strange) == (0, 0, 0, 0)
    assert (found.graph_doubled, found.books) == (0, [])
    return found
