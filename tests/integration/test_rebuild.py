"""Rebuilding that nobody waits for any more, with the stages' own code, on both databases and a real graph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memory import lua
from memory.extraction.answer import Answer
from memory.ledger import cursors, extractions, forgettings
from memory.ledger.extractions import Extraction
from ops import rebuild as rebuilding
from ops.rebuild import RebuildStalled, RebuildStopped, rebuild
from producers import Publisher
from tests.conftest import System
from tests.project import project
from tests.workers_here import workers_here
from workers import resources
from workers.lease import Lease
from workers.stage import drain
from workers.stages import STAGES

#: What `memlane rebuild` does where no embedding model is set up.
PARTS = ("index", "graph", "cache")


@pytest.fixture
def here(system: System) -> Iterator[System]:
    """This process does the workers' work when a test says so."""
    with workers_here(system.environ):
        yield system


def publish(group: str) -> None:
    with Publisher(source="test", group=group) as publisher:
        publisher.publish_many(project(group, 20))
    for name in ("record", "index", "episodes"):
        while STAGES[name].has_work(group):
            resources.valkey().delete(lua.lease(name, group))
            drain(STAGES[name], group)


def position(stage: str, group: str) -> int:
    with resources.ledger().read() as connection:
        return cursors.position(connection, stage, group)


def voided(group: str) -> bool:
    return bool(resources.valkey().exists(lua.dropped(group, lua.WHOLE_GROUP)))


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_all_are_begun_before_one_is_waited_for(here: System, group: str) -> None:
    """If Ctrl-C comes when the command begins to wait, I expect all groups to be begun and their answers void, and to be
    told how to do what the command does behind the workers."""
    groups = [f"{group}-{n}" for n in range(3)]
    for name in groups:
        publish(name)
    resources.valkey().delete(*(lua.dropped(name, lua.WHOLE_GROUP) for name in groups))
    ledger = resources.ledger()
    with ledger.write() as connection:
        extractions.insert(ledger, connection, groups[1], Extraction(1, 2, Answer(entities=[], facts=[])), "model")
        forgettings.begin(ledger, connection, groups[2], 1, prose=False)
    with pytest.raises(RebuildStopped) as stopped:
        rebuild(PARTS, groups, interrupt)
    assert isinstance(stopped.value.__cause__, KeyboardInterrupt)
    assert {position(stage, name) for stage in ("index", "episodes") for name in groups} == {0}
    assert all(map(voided, groups))
    _, going, answers, prose, forgetting = stopped.value.lines
    assert going.startswith(f"workers go on by themselves with {', '.join(groups)}")
    assert "`memlane rebuild cache --group GROUP` for each once nothing is pending" in answers
    assert prose.endswith(f"run `memlane rebuild graph --group {groups[1]}`")
    assert forgetting == (
        f"forgetting has not come to its end in {groups[2]}: run `memlane rebuild graph --group {groups[2]}`"
    )


def test_one_that_a_worker_holds_is_named(here: System, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a worker that does not let go of the second of three groups, I expect to be told that workers go on with the
    first, and how to rebuild the other two."""
    groups = [f"{group}-{n}" for n in range(3)]
    for name in groups:
        publish(name)
    monkeypatch.setattr(rebuilding, "LEASE_SECONDS", 0.3)
    resources.valkey().delete(lua.lease("episodes", groups[1]))
    assert Lease(resources.valkey(), "episodes", groups[1], 60).take()
    with pytest.raises(RebuildStopped, match="a worker holds stage episodes") as stopped:
        rebuild(PARTS, groups)
    assert isinstance(stopped.value.__cause__, RebuildStalled)
    assert stopped.value.lines[-1] == (
        f"not begun: {groups[1]}, {groups[2]}: run `memlane rebuild all --group GROUP` for each"
    )
    assert any(line.startswith(f"workers go on by themselves with {groups[0]}:") for line in stopped.value.lines)
    # It has begun in part, so what was kept of it may be of what is no more.
    assert [voided(name) for name in groups] == [True, True, False]
