"""Checkpoints that a model writes: by a scripted server over real HTTP, that answers well, badly, late or not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import select

from memory import lua
from memory.compaction.checkpoint import Checkpoint
from memory.compaction.render import tokens_of
from memory.ledger import Ledger, books, checkpoints, spending
from memory.ledger.schema import dead_letters
from producers import Publisher
from tests import servers
from tests.scripted_model import Asked, ScriptedModel, scripted_model
from tests.workers_here import forget, workers_here
from workers.stage import drain
from workers.stages import STAGES

GROUP, KEY = "shop", "sk-planted-in-this-test-0123456789"

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as model:
        model.answers = note
        yield model


@pytest.fixture
def environ(environ: dict[str, str], model: ScriptedModel) -> dict[str, str]:
    return {
        **environ,
        "MEMLANE_LLM_BASE_URL": model.url,
        "MEMLANE_LLM_API_KEY": KEY,
        "MEMLANE_LLM_MODEL": "scripted",
        "MEMLANE_LLM_SECONDS": "5",
    }


def note(_: Asked) -> dict[str, Any]:
    """A model's note, some of it made up."""
    return {
        "objective": {"text": "Make the cart count in cents", "events": [1, 77]},
        "decisions": [{"text": "Cents, since floats lose some", "events": [1]}],
        "done": [{"text": "The cart counts in cents", "events": [2]}],
        "open": [{"text": "Tell the shop's owner", "events": [1]}],
        "blocked": [],
        "files": [{"path": "cart.py", "what": "counts in cents"}, {"path": "made/up.py", "what": "does not exist"}],
        "errors": [{"id": "E1", "how": "the total is a float"}, {"id": "E9", "how": "made up"}],
        "next": {"text": "Run the tests again", "events": [3]},
    }


def session(name: str = "s1") -> list[dict[str, Any]]:
    told: list[tuple[str, dict[str, Any]]] = [
        ("chat.message", {"role": "user", "text": "Make the cart count in cents"}),
        ("file.write", {"path": "cart.py", "additions": 4}),
        ("tool.call", {"tool": "bash", "status": "completed", "exit": 1, "summary": "Test: failed\n$ pytest\nboom"}),
        ("todo.updated", {"todos": [{"content": "Round the total", "status": "pending"}]}),
        ("user.request", {"request": "deploys are on Tuesdays", "action": "remember"}),
        ("session.compacting", {}),
    ]
    return [{"type": type, "session": name, "data": data} for type, data in told]


def work(url: str, *events: dict[str, Any], group: str = GROUP) -> None:
    with Publisher(url, source="test", group=group) as publisher:
        publisher.publish_many(events)
    for name in ("record", "compaction", "record"):
        drain(STAGES[name], group)


def stored(ledger: Ledger, name: str = "s1", group: str = GROUP) -> Checkpoint:
    with ledger.read() as connection:
        (found,) = checkpoints.of_session(connection, group, name)
    return found


def facts_hold(checkpoint: Checkpoint) -> None:
    """What the events state is in the checkpoint, whoever has written it."""
    content = checkpoint.content
    assert [file.text for file in content.files] == ["cart.py"]
    assert [error.text for error in content.unresolved] == ["`pytest` failed with exit code 1: boom"]
    assert content.open[0].text == "Round the total"
    assert "To remember: deploys are on Tuesdays" in [one.text for one in content.decisions]
    assert content.last_request
    assert content.last_request.text == "Make the cart count in cents"
    assert tokens_of(checkpoint.summary) <= 1_500


@pytest.mark.parametrize("only_json_object", [False, True], ids=["json_schema", "json_object"])
def test_a_model_writes_and_facts_hold(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None, model: ScriptedModel, only_json_object: bool
) -> None:
    """Given a model that answers well, but for some of it made up, I expect its words, and nothing of what is made up;
    whichever way its server can be told the shape of the answer."""
    model.only_json_object = only_json_object
    work(queue_url, *session())

    checkpoint = stored(ledger)
    facts_hold(checkpoint)
    content = checkpoint.content
    assert checkpoint.written_by == "scripted"
    assert content.objective
    assert (content.objective.text, content.objective.seqs) == ("Make the cart count in cents", [1])
    assert content.files[0].what == "counts in cents"
    assert content.errors[0].how == "the total is a float"
    assert not content.errors[0].solved, "that is not the model's to say"
    assert [task.text for task in content.open] == ["Round the total", "Tell the shop's owner"]
    assert content.next
    assert content.next.text == "Run the tests again"
    assert "made/up.py" not in checkpoint.summary
    brief = (queue.get(lua.brief("s1")) or b"").decode()
    assert "Cents, since floats lose some" in brief

    modes = [asked.body["response_format"]["type"] for asked in model.asked]
    assert modes == (["json_schema", "json_object"] if only_json_object else ["json_schema"])
    assert {asked.key for asked in model.asked} == {f"Bearer {KEY}"}
    assert "#2 file.write: Modified: cart.py" in model.asked[-1].text
    work(queue_url, *session("s2"))
    assert len(model.asked) == len(modes) + 1, "what the server knows is remembered"
    with ledger.read() as connection:
        day = spending.day_of(datetime.now(UTC))
        assert spending.on(connection, day) == {GROUP: {"compaction": {"calls": 2, "tokens_in": 200, "tokens_out": 20}}}


@on_sqlite
@pytest.mark.parametrize(
    ("script", "calls"),
    [
        (["prose"] * 3, 3),
        (["empty"] * 3, 3),
        (["wrong"] * 3, 3),
        (["refusal"], 1),
        (["401"], 1),
        (["404"], 1),
        (["500 0"] * 3, 3),
        (["429 0"] * 3, 3),
        (["slow"], 1),
        (["413"], 1),
        (["422"] * 2, 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_no_use_leaves_the_events_own_checkpoint(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    model: ScriptedModel,
    script: list[str],
    calls: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Given a model that gives no answer that can be used, I expect the checkpoint that needs none, once, nothing dead,
    and neither the key nor anything of the session in the log."""
    seconds = "0.3" if script == ["slow"] else "5"
    caplog.set_level(logging.DEBUG)
    with workers_here({**environ, "MEMLANE_LLM_SECONDS": seconds}):
        model.script.extend(script)
        work(queue_url, *session())
    checkpoint = stored(ledger)
    facts_hold(checkpoint)
    assert checkpoint.written_by == "extract"
    assert len(model.asked) == calls
    assert no_letters(ledger)
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("workers", "memory", "graphiti")))
    assert "checkpoint without the model" in ours
    assert KEY not in caplog.text
    assert "cents" not in ours


@on_sqlite
@pytest.mark.parametrize("script", [["prose"], ["wrong"], ["500 0"], ["429 0"], ["429 1"], ["fenced"], ["no-usage"]])
def test_a_second_try_helps(
    queue_url: str, ledger: Ledger, worker: None, model: ScriptedModel, script: list[str]
) -> None:
    model.script.extend(script)
    began = time.monotonic()
    work(queue_url, *session())
    assert stored(ledger).written_by == "scripted"
    if script == ["429 1"]:
        assert time.monotonic() - began >= 1, "it waits as long as it is told to"


@on_sqlite
def test_a_model_that_is_down_makes_nobody_wait(
    queue_url: str, queue: redis.Redis, ledger: Ledger, environ: dict[str, str], model: ScriptedModel
) -> None:
    """Given a model that is down, I expect some tries, then none for a while; and one again after it."""
    with workers_here({**environ, "MEMLANE_LLM_AWAY_SECONDS": "2"}):
        model.script.extend(["503 0"] * 100)
        for n in range(8):
            work(queue_url, *session(f"s{n}"))
        assert len(model.asked) == 3 * 3, "three times three tries"
        assert all(stored(ledger, f"s{n}").written_by == "extract" for n in range(8))
        model.script.clear()
        servers.wait_until(lambda: not queue.exists(lua.MODEL_AWAY), "the while to be over", 10)
        work(queue_url, *session("s9"))
        assert stored(ledger, "s9").written_by == "scripted"
    assert not queue.exists(lua.MODEL_FAILURES)


@on_sqlite
def test_refused_connections(queue_url: str, ledger: Ledger, environ: dict[str, str]) -> None:
    nobody = f"http://127.0.0.1:{servers.free_port()}/v1"
    with workers_here({**environ, "MEMLANE_LLM_BASE_URL": nobody}):
        work(queue_url, *session())
    assert stored(ledger).written_by == "extract"


def test_a_budget_that_is_used_up(
    queue_url: str, ledger: Ledger, environ: dict[str, str], model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a budget for one answer a day, I expect the next checkpoint of the group without the model, another group's
    with it, and with it again on the next day."""
    from workers import model as asking

    with workers_here({**environ, "MEMLANE_LLM_TOKENS_A_DAY": "110"}):
        for name in ("s1", "s2"):
            work(queue_url, *session(name))
        work(queue_url, *session("s3"), group="blog")
        assert [stored(ledger, name).written_by for name in ("s1", "s2")] == ["scripted", "extract"]
        assert stored(ledger, "s3", "blog").written_by == "scripted"
        tomorrow = datetime.fromtimestamp(time.time() + 86_400, UTC)
        monkeypatch.setattr(asking, "now", lambda: tomorrow)
        work(queue_url, *session("s4"))
        assert stored(ledger, "s4").written_by == "scripted"


@on_sqlite
def test_the_brief_is_there_before_the_model_answers(
    queue_url: str, queue: redis.Redis, ledger: Ledger, environ: dict[str, str], model: ScriptedModel, tmp_path: Path
) -> None:
    """Given a worker process and a model that takes its time, I expect the brief meanwhile."""
    model.script.append("slow")
    with servers.worker({**environ, "MEMLANE_LLM_SECONDS": "25"}, "record,compaction", tmp_path / "worker.log"):
        with Publisher(queue_url, source="test", group=GROUP) as publisher:
            publisher.publish_many(session())
        servers.wait_until(lambda: model.asked, "the model to be asked")
        assert b"cart.py" in (queue.get(lua.brief("s1")) or b"")
        model.hurry.set()
        servers.wait_until(lambda: b"since floats lose some" in (queue.get(lua.brief("s1")) or b""), "its words")
    text = (tmp_path / "worker.log").read_text()
    assert KEY not in text
    assert "cents" not in text


def no_letters(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        found = books.of_stage(connection, "compaction", GROUP, STAGES["compaction"].types)
        assert found.interest == found.done
        return not connection.execute(select(dead_letters.c.n)).all()


@on_sqlite
def test_what_it_costs_is_shown(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None, model: ScriptedModel, home: Path
) -> None:
    """Given an answer, I expect its tokens in the status, as a table and as JSON, in Flower's metrics, and what is sent
    to Datadog; and a model that is away to be told of."""
    import socket
    from dataclasses import replace

    from rich.console import Console

    from ops.doctor.model import model as examined
    from ops.flower.metrics import TOKENS
    from ops.home import Home
    from ops.status import look
    from ops.tables import render
    from workers.telemetry import gauges

    work(queue_url, *session())
    queue.set(lua.MODEL_AWAY, "the model at localhost failed (503)")
    status = look(queue, Home(home, queue_url), ledger)
    assert status.as_json()["model"] == {
        "name": "scripted",
        "away": "the model at localhost failed (503)",
        "tokens_a_day": 500_000,
        "today": [{"group": GROUP, "stage": "compaction", "calls": 1, "tokens_in": 100, "tokens_out": 10}],
        "used_up": [],
    }
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render(status))
    assert "the model at localhost failed (503)" in shown.get()
    assert "500,000" in shown.get()
    assert [(found.state, "(503)" in found.message) for found in examined(status.model)] == [("warning", True)]
    well = replace(status.model, away="")
    assert [(found.state, found.message) for found in examined(well)] == [("ok", "scripted, 110 tokens today")]
    (spent,) = examined(replace(well, tokens_a_day=100))
    assert (spent.state, f"group {GROUP} has used up" in spent.message) == ("warning", True)
    assert list(examined(replace(well, name=None))) == []
    (found,) = TOKENS.collect()
    samples = {tuple(sample.labels.values()): sample.value for sample in found.samples}
    assert samples == {(GROUP, "compaction", "in"): 100.0, (GROUP, "compaction", "out"): 10.0}

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent, pytest.MonkeyPatch.context() as patch:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(servers.START_SECONDS)
        patch.setenv("MEMLANE_DATADOG", "true")
        patch.setenv("DD_AGENT_HOST", "127.0.0.1")
        patch.setenv("DD_DOGSTATSD_PORT", str(agent.getsockname()[1]))
        forget()
        gauges()
        forget()
        packets = b""
        while b"memlane.model.tokens_today:100|g|#group:shop,stage:compaction,way:in" not in packets:
            packets += agent.recv(65_536)
        assert b"memlane.model.away:1|g" in packets
