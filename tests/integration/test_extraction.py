"""Stage `extraction`: prose that a model reads, with a scripted server over real HTTP and a real graph.

chat ──▶ record ──▶ episodes ──▶ graph: the prose as it was said
                        └──▶ extraction ──▶ model ──▶ table extractions ──▶ graph: what it found
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import func, select

from memory import lua
from memory.events import parse
from memory.extraction import runs
from memory.extraction.replay import replay
from memory.forget import Chosen, forget
from memory.graph.facts import entity_uuid
from memory.graph.fingerprint import fingerprint
from memory.graph.writer import GraphWriter
from memory.ledger import Ledger, books, cursors
from memory.ledger.log import Slice
from memory.ledger.schema import dead_letters, extractions
from producers import Publisher
from tests import servers
from tests.scripted_model import Asked, ScriptedModel, least, scripted_model
from tests.workers_here import forget as forget_settings
from tests.workers_here import workers_here
from workers import resources
from workers.stage import StageFailed, drain
from workers.stages import STAGES
from workers.sweep import sweep

KEY = "sk-planted-in-this-test-0123456789"
OLD = "2026-11-21T10:00:00Z"

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as model:
        model.answers = found
        yield model


@pytest.fixture
def environ(environ: dict[str, str], graph_url: str, model: ScriptedModel) -> dict[str, str]:
    return {
        **environ,
        "MEMLANE_GRAPH_URL": graph_url,
        "MEMLANE_LLM_BASE_URL": model.url,
        "MEMLANE_LLM_API_KEY": KEY,
        "MEMLANE_LLM_MODEL": "scripted",
        "MEMLANE_LLM_SECONDS": "5",
        "MEMLANE_REST_SECONDS": "0.1",
    }


@pytest.fixture
def graph(graph_url: str) -> Iterator[GraphWriter]:
    writer = GraphWriter(graph_url)
    yield writer
    writer.close()


def found(asked: Asked) -> Any:
    """What a model might find: a file and a decision about it."""
    match asked.name:
        case "ExtractedEntities":
            return {
                "extracted_entities": [
                    {"name": "src/cart.py", "entity_type_id": 1, "episode_indices": [0]},
                    {"name": "Count in cents", "entity_type_id": 4, "episode_indices": [0]},
                ]
            }
        case "ExtractedEdges":
            return {
                "edges": [
                    {
                        "source_entity_name": "Count in cents",
                        "target_entity_name": "src/cart.py",
                        "relation_type": "CONCERNS",
                        "fact": "src/cart.py counts in cents, since floats lose some",
                        "episode_indices": [0],
                    }
                ]
            }
        case "SummarizedEntities":
            return {"summaries": [{"name": "Count in cents", "summary": "Money is counted in cents."}]}
    return least(asked.shape)


def said(text: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"type": "chat.message", "session": "s1", "time": OLD, "data": {"role": role, "text": text}, **fields}


def work(url: str, group: str, *events: dict[str, Any]) -> None:
    with Publisher(url, source="test", group=group) as publisher:
        publisher.publish_many(events)
    for name in ("record", "episodes", "extraction"):
        drain(STAGES[name], group)


def stored(ledger: Ledger, group: str) -> list[tuple[int, int]]:
    with ledger.read() as connection:
        query = select(extractions.c.first_seq, extractions.c.last_seq).where(extractions.c.group_id == group)
        return [(row.first_seq, row.last_seq) for row in connection.execute(query.order_by(extractions.c.first_seq))]


def facts(graph: GraphWriter, group: str) -> list[list[Any]]:
    return graph.rows(
        group,
        "MATCH (a:Entity)-[f:RELATES_TO]->(b:Entity) WHERE f.name = 'CONCERNS' RETURN a.name, f.name, b.name, f.fact",
    )


def balanced(ledger: Ledger, group: str, done: int) -> None:
    with ledger.read() as connection:
        found = books.of_stage(connection, "extraction", group, STAGES["extraction"].types)
        assert (found.interest, found.done, found.pending, found.dead) == (done, done, 0, 0)
        assert not connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()


@pytest.mark.parametrize("only_json_object", [False, True], ids=["json_schema", "json_object"])
def test_what_a_model_finds_joins_what_events_state(
    queue_url: str,
    ledger: Ledger,
    worker: None,
    graph: GraphWriter,
    model: ScriptedModel,
    group: str,
    only_json_object: bool,
) -> None:
    """Given a question and its answer, and a file that was written, I expect them to be read at once; the fact that was
    found to lead to the same file; what the file's events told of it to stay; and again to change nothing."""
    model.only_json_object = only_json_object
    wrote = {"type": "file.write", "session": "s1", "time": OLD, "data": {"path": "src/cart.py", "additions": 4}}
    work(
        queue_url,
        group,
        wrote,
        said("How does the cart count?"),
        said("In cents, since floats lose some.", "assistant"),
    )

    assert facts(graph, group) == [
        ["Count in cents", "CONCERNS", "src/cart.py", "src/cart.py counts in cents, since floats lose some"]
    ]
    file = entity_uuid(group, "File", "src/cart.py")
    rows = graph.rows(group, "MATCH (n:Entity {name: 'src/cart.py'}) RETURN n.uuid, labels(n), n.seen_at")
    assert [(uuid, sorted(labels)) for uuid, labels, _ in rows] == [(file, ["Entity", "File"])]
    assert rows[0][2], "what events told of it is still there"
    ((summary,),) = graph.rows(group, "MATCH (n:Decision) RETURN n.summary")
    assert summary == "src/cart.py counts in cents, since floats lose some", "short facts are their own summary"
    episodes = graph.rows(group, "MATCH (e:Episodic) RETURN e.content ORDER BY e.content")
    assert [content for (content,) in episodes] == [
        "Modified: src/cart.py",
        "assistant: In cents, since floats lose some.",
        "user: How does the cart count?",
    ]
    assert stored(ledger, group) == [(2, 3)]
    balanced(ledger, group, 2)
    first = next(asked for asked in model.asked if asked.name == "ExtractedEntities" and "cents" in asked.text)
    assert "user: How does the cart count?\n\nassistant: In cents" in first.text
    assert {asked.body["response_format"]["type"] for asked in model.asked[1:]} == (
        {"json_object"} if only_json_object else {"json_schema"}
    )

    before, calls = fingerprint(graph, group), len(model.asked)
    assert replay(ledger, graph, group) == 1
    assert fingerprint(graph, group) == before
    graph.drop(group)
    with ledger.read() as connection:
        from memory.ledger.log import read

        graph.write(group, read(connection, group, 0, 3, None, 10).events)
    replay(ledger, graph, group)
    assert fingerprint(graph, group) == before, "rebuilt, it is what it was"
    assert len(model.asked) == calls, "and no model was asked"


@on_sqlite
def test_without_a_model_it_is_off(
    queue_url: str, queue: redis.Redis, ledger: Ledger, environ: dict[str, str], group: str
) -> None:
    """I expect nothing to be pending, and nobody to be woken for it."""
    off = {name: value for name, value in environ.items() if "LLM" not in name}
    with workers_here(off):
        work(queue_url, group, said("hello"))
        assert not STAGES["extraction"].on
        queue.delete(lua.SWEEP)
        report = sweep()
        assert report is not None
        assert "extraction" not in report.woken
        assert not queue.exists(lua.lease("extraction", group))


@on_sqlite
def test_a_worker_that_died_before_it_wrote_is_paid_once(
    queue_url: str, ledger: Ledger, worker: None, graph: GraphWriter, model: ScriptedModel, group: str
) -> None:
    """Given an answer that was stored and not written, as a killed worker leaves it, I expect it to be written, and no
    model to be asked."""
    work(queue_url, group, said("How does the cart count?"))
    calls = len(model.asked)
    graph.drop(group)
    with ledger.write() as connection:
        for name in ("episodes", "extraction"):
            cursors.restart(connection, name, group)
    for name in ("episodes", "extraction"):
        drain(STAGES[name], group)
    assert len(facts(graph, group)) == 1
    assert len(model.asked) == calls


@on_sqlite
def test_a_model_that_is_down_for_an_hour(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    graph: GraphWriter,
    model: ScriptedModel,
    group: str,
) -> None:
    """Given a model that is down, I expect the other stages to go on, the prose to wait, hardly anybody to ask, and no
    dead letter; and all of it to be read when it is back."""
    with workers_here({**environ, "MEMLANE_LLM_AWAY_SECONDS": "3600"}):
        model.script.extend(["503 0"] * 1_000)
        for n in range(20):
            work(queue_url, group, said(f"message {n}", time=f"2026-11-21T{n:02}:00:00Z"))
            queue.delete(lua.lease("extraction", group))  # its rest is over
        assert len(model.asked) == 9, "three times three tries"
        assert 3_000 < queue.ttl(lua.MODEL_AWAY) <= 3_600
        with ledger.read() as connection:
            assert cursors.position(connection, "episodes", group) == 20
            assert cursors.position(connection, "extraction", group) == 0
            assert not connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
        assert len(graph.rows(group, "MATCH (e:Episodic) RETURN e.uuid")) == 20
        # An hour later.
        model.script.clear()
        queue.delete(lua.MODEL_AWAY)
        servers.wait_until(lambda: caught_up(group), "all of it to be read", 60)
    assert len(stored(ledger, group)) == 20
    balanced(ledger, group, 20)


def caught_up(group: str) -> bool:
    drain(STAGES["extraction"], group)
    return not STAGES["extraction"].has_work(group)


def test_a_budget_that_is_used_up_pauses_the_stage_until_tomorrow(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    model: ScriptedModel,
    group: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Given a budget for about one run a day, I expect the stage to pause and say so, the sweep to take that for nothing
    wrong, and the rest to be read on the next day."""
    from workers import model as asking

    caplog.set_level("INFO")
    with workers_here({**environ, "MEMLANE_LLM_TOKENS_A_DAY": "200"}):
        work(queue_url, group, *(said(f"message {n}", time=f"2026-11-21T{n:02}:00:00Z") for n in range(2)))
        assert len(stored(ledger, group)) < 2
        assert STAGES["extraction"].has_work(group)
        assert "at midnight UTC" in caplog.text
        assert queue.ttl(lua.lease("extraction", group)) > 500
        queue.delete(lua.SWEEP, lua.lease("extraction", group))
        report = sweep()
        assert report is not None
        assert not report.recovered
        days = 0
        while STAGES["extraction"].has_work(group):
            days += 1
            assert days < 10
            later = datetime.fromtimestamp(time.time() + 86_400 * days, UTC)
            monkeypatch.setattr(asking, "now", lambda later=later: later)
            queue.delete(lua.lease("extraction", group))
            drain(STAGES["extraction"], group)
    balanced(ledger, group, 2)


@on_sqlite
def test_answers_of_no_use_go_to_the_dead_letters_and_can_be_retried(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None, model: ScriptedModel, group: str
) -> None:
    """Given a message to which the model always answers nonsense, I expect it among the dead letters after some tries,
    and what comes after it to be read."""
    from memory.ledger import dead

    model.answers = lambda asked: {"nonsense": 1} if "poison" in asked.text else found(asked)
    work_all = (said("poison", id="bad"), said("sense", session="s2"))

    def through() -> bool:
        queue.delete(lua.MODEL_AWAY, lua.MODEL_FAILURES, lua.lease("extraction", group))
        with suppress(StageFailed):  # Celery shows it
            drain(STAGES["extraction"], group)
        return not STAGES["extraction"].has_work(group)

    with Publisher(queue_url, source="test", group=group) as publisher:
        publisher.publish_many(work_all)
    for name in ("record", "episodes"):
        drain(STAGES[name], group)
    servers.wait_until(through, "the message to be given up", 60)
    assert stored(ledger, group) == [(2, 2)]
    with ledger.read() as connection:
        (letter,) = dead.letters(connection, group=group, stage="extraction", limit=10)
    assert letter.event_id == "bad"
    model.answers = found
    STAGES["extraction"].retry(letter)  # type: ignore[attr-defined]
    assert stored(ledger, group) == [(1, 1), (2, 2)]


def test_what_was_found_in_what_is_forgotten_is_forgotten(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    worker: None,
    graph: GraphWriter,
    model: ScriptedModel,
    group: str,
) -> None:
    """Given two runs, of which one tells more than the other, I expect what only the forgotten one told to be gone."""

    def answers(asked: Asked) -> Any:
        answer = found(asked)
        if "salary" in asked.text.partition("<CURRENT")[2] or ("CURRENT" not in asked.text and "salary" in asked.text):
            raw = json.dumps(answer).replace("Count in cents", "Ann earns much")
            answer = json.loads(raw.replace("counts in cents", "knows salaries"))
        return answer

    model.answers = answers
    work(queue_url, group, said("my salary", id="secret"), said("we count in cents", time="2026-11-21T20:00:00Z"))
    servers.wait_until(lambda: caught_up(group), "both to be read", 30)
    everything = str(graph.rows(group, "MATCH (n) RETURN n")) + str(facts(graph, group))
    assert "Ann earns much" in everything
    forget(ledger, group, Chosen(ids=["secret"]), graph=graph, client=queue)
    everything = str(graph.rows(group, "MATCH (n:Entity) RETURN n.name, n.summary")) + str(facts(graph, group))
    assert "Ann earns much" not in everything
    assert "salaries" not in everything
    assert [row[0] for row in facts(graph, group)] == ["Count in cents"]
    assert stored(ledger, group) == [(2, 2)]


@on_sqlite
def test_a_real_worker_keeps_the_key_to_itself(
    queue_url: str, ledger: Ledger, environ: dict[str, str], graph: GraphWriter, group: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with servers.worker(environ, "record,episodes,extraction", log):
        with Publisher(queue_url, source="test", group=group) as publisher:
            publisher.publish_many([said("How does the cart count?"), said("In cents.", "assistant")])
        servers.wait_until(lambda: stored(ledger, group), "an answer", 60)
        servers.wait_until(lambda: facts(graph, group), "a fact", 30)
    text = log.read_text()
    assert KEY not in text
    assert "cents" not in text
    assert "Traceback" not in text
    forget_settings()
    resources.close()


# Which events are read together


def events(*told: tuple[str, str, int], type: str = "chat.message") -> Slice:
    """Session, text, and minute of each."""
    start = datetime(2026, 11, 21, 10, tzinfo=UTC)
    made = [
        parse(
            {
                "id": f"e{n}",
                "source": "test",
                "type": type,
                "group": "shop",
                "session": session,
                "time": (start + timedelta(minutes=minute)).isoformat(),
                "data": {"role": "user", "text": text},
            }
        )
        for n, (session, text, minute) in enumerate(told)
    ]
    return Slice(made, list(range(1, len(made) + 1)), len(made))


@pytest.mark.parametrize(
    ("told", "run"),
    [
        ([("s1", "a", 0), ("s1", "b", 1), ("s1", "c", 2)], 3),
        ([("s1", "a", 0), ("s2", "b", 1)], 1),
        ([("s1", "a", 0), ("s1", "b", 30)], 1),
        ([("s1", "a" * 5_000, 0), ("s1", "b" * 5_000, 1)], 1),
        ([("s1", "a" * 50_000, 0), ("s1", "b", 1)], 1),
        ([("s1", "a" * 3_000, 0), ("s1", "b" * 3_000, 1), ("s1", "c" * 3_000, 2)], 2),
    ],
)
def test_neighbours_are_read_together(told: list[tuple[str, str, int]], run: int) -> None:
    later = datetime(2026, 11, 22, tzinfo=UTC)
    assert runs.first(events(*told), later) == (run, 0.0)


def test_a_run_may_still_grow() -> None:
    now = datetime(2026, 11, 21, 10, 0, 5, tzinfo=UTC)
    assert runs.first(events(("s1", "a", 0)), now) == (1, runs.IDLE_SECONDS - 5)
    assert runs.first(events(("s1", "a", 0), ("s2", "b", 0)), now) == (1, 0.0), "somebody else goes on"
    assert runs.first(events(("s1", "a", 0)), now - timedelta(hours=1)) == (1, 0.0), "a clock that is wrong"
