"""The model is slow, down, or the worker that waits for it dies: prose waits, and nobody else.

lanes, graph ──▶ everything but `extraction`
readers ──HTTP──▶ a scripted model
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from memory import lua
from memory.ledger import cursors
from memory.ledger.schema import dead_letters, extractions
from producers import Publisher
from tests import servers
from tests.faults.programs import Graph, Worker
from tests.faults.rig import Rig, groups, rig
from tests.scripted_model import ScriptedModel, scripted_model

OTHERS = ("index", "episodes", "cache", "telemetry", "plugins", "compaction")
#: Long ago, so that no run may still grow.
OLD = "2026-11-21T10:00:00Z"


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as model:
        yield model


@pytest.fixture(scope="module")
def modelled(graph: Graph, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A system with a model, and nobody yet who asks it."""
    environ = {
        "MEMLANE_LLM_BASE_URL": model.url,
        "MEMLANE_LLM_MODEL": "scripted",
        "MEMLANE_LLM_SECONDS": "30",
        "MEMLANE_LLM_AWAY_SECONDS": "0.5",
    }
    with rig(tmp_path_factory.mktemp("modelled"), graph, **environ) as made:
        made.workers()
        yield made


def say(system: Rig, group: str, count: int) -> None:
    """Messages of as many sessions, which are read one by one."""
    with Publisher(system.broker.url, source="faults", group=group) as publisher:
        publisher.publish_many(
            {"type": "chat.message", "session": f"s{n}", "time": OLD, "data": {"role": "user", "text": f"text {n}"}}
            for n in range(count)
        )


def positions(system: Rig, group: str) -> dict[str, int]:
    with system.ledger.read() as connection:
        return {stage: cursors.position(connection, stage, group) for stage in (*OTHERS, "extraction")}


def others_done(system: Rig, group: str, count: int) -> bool:
    found = positions(system, group)
    return all(found[stage] == count for stage in OTHERS)


def stored(system: Rig, group: str) -> int:
    with system.ledger.read() as connection:
        query = select(func.count()).select_from(extractions).where(extractions.c.group_id == group)
        return int(connection.execute(query).scalar_one())


def reader(system: Rig, name: str) -> Worker:
    return system.worker(name, queues="extraction")


def test_a_worker_dies_while_it_waits_for_the_model(modelled: Rig, model: ScriptedModel) -> None:
    """Given a model that takes several times the lease's time, I expect the worker to keep its lease, a second one not
    to ask; and once the first is killed, the second to ask, and one answer to be stored."""
    (group,) = groups()
    model.script.append("slow")
    asked = len(model.asked)
    first = reader(modelled, "first")
    say(modelled, group, 1)
    servers.wait_until(lambda: len(model.asked) == asked + 1, "the model to be asked")
    held = modelled.broker.client.get(lua.lease("extraction", group))
    reader(modelled, "second")
    until = time.monotonic() + 3 * float(modelled.environ["MEMLANE_LEASE_SECONDS"])
    servers.wait_until(lambda: time.monotonic() > until, "the lease to have run out if nobody renewed it")
    assert modelled.broker.client.get(lua.lease("extraction", group)) == held
    assert len(model.asked) == asked + 1
    assert stored(modelled, group) == 0
    servers.wait_until(lambda: others_done(modelled, group, 1), "the others, who don't wait")

    first.kill()
    servers.wait_until(lambda: stored(modelled, group) == 1, "the second to ask", 30)
    servers.wait_until(lambda: positions(modelled, group)["extraction"] == 1, "the cursor to be moved", 30)


def test_the_model_is_down(modelled: Rig, model: ScriptedModel) -> None:
    """Given a model that is down while messages come in, I expect the others to be done with them, the model to be asked
    hardly ever, and no dead letter; and all to be read once it is back."""
    (group,) = groups()
    asked, count = len(model.asked), 40
    model.script.extend(["503 0"] * 1_000)
    reader(modelled, "reader")
    say(modelled, group, count)
    servers.wait_until(lambda: others_done(modelled, group, count), "the others, who don't wait")
    servers.wait_until(lambda: "waiting stage=extraction" in modelled.log("reader"), "the stage to rest")
    servers.wait_until(lambda: modelled.broker.client.exists(lua.MODEL_AWAY), "nobody to ask", 30)
    tried = len(model.asked) - asked
    assert tried < count, "it is not asked for each of them"
    assert positions(modelled, group)["extraction"] == 0
    model.script.clear()
    servers.wait_until(lambda: stored(modelled, group) == count, "all of it to be read", 60)
    with modelled.ledger.read() as connection:
        assert not connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
