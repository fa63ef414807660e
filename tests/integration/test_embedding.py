"""Vectors of an embedding model: stage `embedding` and recall, with a scripted server over real HTTP.

chat ──▶ record ──▶ index ──▶ embedding ──▶ model ──▶ tables embeddings, embedding_codes
question ──▶ model ──▶ nearest events ──┴──▶ ranking
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from rich.console import Console
from sqlalchemy import func, select

from memory import lua
from memory.forget import Chosen, forget
from memory.graph.writer import GraphWriter
from memory.ledger import Ledger, books, cursors, dead, embeddings, spending
from memory.ledger.embeddings import Vector
from memory.ledger.schema import dead_letters, embedding_codes, embedding_models
from memory.ledger.schema import embeddings as vectors
from ops.rebuild import _begin_again
from producers import Publisher
from producers.recall import Recall, encode
from tests import servers
from tests.scripted_embedder import ScriptedEmbedder, scripted_embedder, vector
from tests.workers_here import forget as forget_settings
from tests.workers_here import workers_here
from workers import resources
from workers.stage import StageFailed, drain
from workers.stages import STAGES
from workers.sweep import sweep

KEY = "sk-planted-in-this-test-0123456789"
#: They share no word but by meaning.
TEXT, QUESTION = "the basket forgets its goods", "cart loses items"

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def model() -> Iterator[ScriptedEmbedder]:
    with scripted_embedder() as model:
        yield model


@pytest.fixture
def environ(environ: dict[str, str], model: ScriptedEmbedder) -> dict[str, str]:
    return {
        **environ,
        "MEMLANE_EMBEDDING_BASE_URL": model.url,
        "MEMLANE_EMBEDDING_API_KEY": KEY,
        "MEMLANE_EMBEDDING_MODEL": "scripted",
        # For a busy machine; those tests that wait for it set their own.
        "MEMLANE_EMBEDDING_QUESTION_MS": "5000",
        "MEMLANE_REST_SECONDS": "0.1",
    }


def said(*texts: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"type": "chat.message", "session": f"s{n}", "data": {"role": "user", "text": text}, **more}
        for n, text in enumerate(texts)
    ]


def publish(url: str, group: str, *texts: str) -> None:
    with Publisher(url, source="test", group=group) as publisher:
        publisher.publish_many(
            {**one, "id": f"{group}-{text[:40]}"} for one, text in zip(said(*texts), texts, strict=True)
        )


def work(group: str, *names: str) -> None:
    for name in names or ("record", "index", "embedding"):
        resources.valkey().delete(lua.lease(name, group))
        drain(STAGES[name], group)


def ask(group: str, text: str, **more: Any) -> dict[str, Any]:
    """What a worker answers, uncached."""
    client = resources.valkey()
    # As `producers.recall` puts it; the id is what keeps it out of the cache.
    client.set(lua.ask("q"), encode(group, text, explain=True, **more))
    from workers.recall import reply

    reply("q")
    found: dict[str, Any] = json.loads(client.lpop(lua.reply("q")))
    return found


def texts(found: dict[str, Any]) -> list[str]:
    return [item["text"].removeprefix("user: ") for item in found["items"]]


def stored(ledger: Ledger, group: str) -> list[int]:
    with ledger.read() as connection:
        query = select(vectors.c.seq).where(vectors.c.group_id == group).order_by(vectors.c.seq)
        return list(connection.execute(query).scalars())


def letters(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()


def balanced(ledger: Ledger, group: str, done: int, dead: int = 0) -> None:
    with ledger.read() as connection:
        found = books.of_stage(connection, "embedding", group, None)
        assert (found.interest, found.done, found.pending, found.dead) == (done + dead, done, 0, dead)


def test_what_shares_no_word_with_the_question_is_found(
    queue_url: str, ledger: Ledger, worker: None, model: ScriptedEmbedder, group: str
) -> None:
    """Given three messages, two of them the same, I expect the one to be found that says the same in other words, and
    why to be told; each text to be asked for once; and what it took to be counted."""
    publish(queue_url, group, TEXT, "noodles for everybody", "a red vehicle")
    with Publisher(queue_url, source="test", group=group) as publisher:
        publisher.publish_many(
            [*said("a red vehicle", session="s9"), {"type": "part.hidden", "session": "s9", "data": {"part": "p9"}}]
        )
    work(group)
    assert stored(ledger, group) == [1, 2, 3, 4]
    assert sorted(model.texts) == sorted({f"user: {text}" for text in (TEXT, "noodles for everybody", "a red vehicle")})
    balanced(ledger, group, 5)

    found = ask(group, QUESTION)
    assert found["embeddings"] == "asked"
    assert texts(found)[0] == TEXT
    assert set(found["items"][0]["features"]) == {"similar"}
    assert ask(group, QUESTION, kinds=["file.write"])["items"] == []
    assert texts(ask(group, "noodles"))[0] == "noodles for everybody"
    with ledger.read() as connection:
        (spent,) = spending.on(connection, spending.day_of(datetime.now(UTC))).values()
    assert spent["embedding"] == {"calls": 1, "tokens_in": 30, "tokens_out": 0}
    assert spent["recall"]["tokens_in"] == 30
    work(group)
    assert len(model.asked) == 4, "nothing is asked twice"


@on_sqlite
def test_without_a_model_it_is_off(
    queue_url: str, queue: redis.Redis, environ: dict[str, str], model: ScriptedEmbedder, group: str
) -> None:
    off = {name: value for name, value in environ.items() if "EMBEDDING" not in name}
    with workers_here(off):
        publish(queue_url, group, TEXT)
        work(group)
        assert not STAGES["embedding"].on
        queue.delete(lua.SWEEP)
        report = sweep()
        assert report is not None
        assert "embedding" not in report.woken
        assert not queue.exists(lua.lease("embedding", group))
        found = ask(group, QUESTION)
        assert (found["items"], found["embeddings"]) == ([], "none")
    assert not model.asked


BROKEN = ["slow", "503 0", "429 0", "401", "404", "html", "empty", "nothing", "short", "nan", "400"]


@on_sqlite
@pytest.mark.parametrize("broken", BROKEN)
def test_a_model_that_is_of_no_use_delays_nobody(
    queue_url: str, ledger: Ledger, environ: dict[str, str], model: ScriptedEmbedder, group: str, broken: str
) -> None:
    """Given a server that is slow, away, overloaded, or answers nonsense, I expect questions to be answered without it,
    in time, and after a few failures without asking; events to wait, none to be given up; and all to be well once it
    is."""
    environ = {**environ, "MEMLANE_EMBEDDING_QUESTION_MS": "200", "MEMLANE_EMBEDDING_SECONDS": "20"}
    with workers_here(environ):
        publish(queue_url, group, TEXT)
        work(group)
        assert stored(ledger, group) == [1]
        ask(group, QUESTION)  # connected
        model.otherwise = broken
        for _ in range(4):
            began = time.monotonic()
            found = ask(group, "basket")
            assert time.monotonic() - began < 10, "half of what events wait"
            assert (texts(found), found["embeddings"]) == ([TEXT], "away")
        questions = len(model.asked)
        ask(group, "basket")
        assert len(model.asked) == questions, "nobody asks any more"
    if broken == "slow":
        environ |= {"MEMLANE_EMBEDDING_SECONDS": "0.5"}
    with workers_here(environ):
        publish(queue_url, group, "a red vehicle")
        for _ in range(5):
            work(group)
        assert stored(ledger, group) == [1]
        assert STAGES["embedding"].has_work(group)
        assert letters(ledger) == 0
        client = resources.valkey()
        assert client.get(lua.EMBEDDING_AWAY)
        asked = len(model.asked)
        work(group)
        assert len(model.asked) == asked

        model.otherwise = "answer"
        model.hurry.set()
        client.delete(lua.EMBEDDING_AWAY, lua.QUESTION_AWAY)
        work(group)
        assert stored(ledger, group) == [1, 2]
        balanced(ledger, group, 2)
        servers.wait_until(lambda: ask(group, QUESTION)["embeddings"] == "asked", "recall to ask again")


@on_sqlite
def test_a_server_that_cannot_be_reached(queue_url: str, ledger: Ledger, environ: dict[str, str], group: str) -> None:
    with workers_here({**environ, "MEMLANE_EMBEDDING_BASE_URL": f"http://127.0.0.1:{servers.free_port()}/v1"}):
        publish(queue_url, group, TEXT)
        for _ in range(3):
            work(group)
        assert b"see MEMLANE_EMBEDDING_BASE_URL" in resources.valkey().get(lua.EMBEDDING_AWAY)
        assert (texts(ask(group, "basket")), letters(ledger)) == ([TEXT], 0)


def test_vectors_of_other_dimensions_under_the_same_name(
    queue_url: str, ledger: Ledger, worker: None, model: ScriptedEmbedder, group: str
) -> None:
    """I expect the stage to wait and to say why, and recall to go by words."""
    publish(queue_url, group, TEXT)
    work(group)
    model.otherwise = "other-dimensions"
    publish(queue_url, group, "a red vehicle")
    for _ in range(3):
        work(group)
    why = resources.valkey().get(lua.EMBEDDING_AWAY).decode()
    assert "64 dimensions where 128 are stored" in why
    assert (stored(ledger, group), letters(ledger)) == ([1], 0)
    resources.valkey().delete(lua.EMBEDDING_AWAY)
    assert texts(ask(group, "basket"))[0] == TEXT
    assert texts(ask(group, QUESTION)) == []


@on_sqlite
def test_what_a_server_refuses(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None, model: ScriptedEmbedder, group: str
) -> None:
    """Given a text that the server does not take, among others, I expect it among the dead letters, where it can be
    retried, and the others to have their vectors; and one that is only too long to be shortened."""
    model.refuses = lambda text: "poison" in text or len(text) > 900
    publish(queue_url, group, "one", "poison", TEXT, "vehicle " * 1_000)

    def through() -> bool:
        with suppress(StageFailed):  # Celery shows it
            work(group)
        return not STAGES["embedding"].has_work(group)

    servers.wait_until(through, "the text to be given up", 60)
    assert stored(ledger, group) == [1, 3, 4]
    assert max(map(len, model.texts)) <= 2_000
    balanced(ledger, group, 3, dead=1)
    with ledger.read() as connection:
        (letter,) = dead.letters(connection, group=group, stage="embedding", limit=10)
    assert letter.event_id == f"{group}-poison"
    model.refuses = lambda text: False
    STAGES["embedding"].retry(letter)  # type: ignore[attr-defined]
    assert stored(ledger, group) == [1, 2, 3, 4]
    balanced(ledger, group, 4)


@on_sqlite
def test_a_text_without_direction_has_no_vector(
    queue_url: str, ledger: Ledger, worker: None, model: ScriptedEmbedder, group: str
) -> None:
    model.script.append("zeros")
    publish(queue_url, group, TEXT)
    work(group)
    assert stored(ledger, group) == []
    balanced(ledger, group, 1)
    assert texts(ask(group, "basket")) == [TEXT]


def test_what_is_forgotten_has_no_vector(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    worker: None,
    model: ScriptedEmbedder,
    graph_url: str,
    group: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I expect neither vector nor signs to stay, of an event that had them, and none to be made of one that had not."""
    monkeypatch.setattr(embeddings, "FEW", 2)
    publish(queue_url, group, TEXT, "a red vehicle", "lunch")
    work(group)
    publish(queue_url, group, "secret noodles")
    work(group, "record", "index")
    graph = GraphWriter(graph_url)
    forget(ledger, group, Chosen(ids=[f"{group}-{TEXT}", f"{group}-secret noodles"]), graph=graph, client=queue)
    graph.close()
    work(group)
    assert stored(ledger, group) == [2, 3]
    with ledger.read() as connection:
        packed = connection.execute(
            select(embedding_codes.c.data).where(embedding_codes.c.group_id == group)
        ).scalar_one()
    signs = np.frombuffer(packed, np.uint8).reshape(-1, 128 // 8)
    assert [bool(row.any()) for row in signs] == [False, False, True, True]
    assert TEXT not in texts(ask(group, QUESTION))
    assert not any("secret" in text for text in model.texts)
    balanced(ledger, group, 4)


def test_rebuilding_asks_nobody(
    queue_url: str,
    ledger: Ledger,
    worker: None,
    model: ScriptedEmbedder,
    group: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embeddings, "FEW", 2)
    publish(queue_url, group, TEXT, "lunch", "a red vehicle")
    work(group)
    with ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(embedding_codes)).scalar_one()
    before, asked = ask(group, QUESTION), len(model.asked)
    for name in ("index", "embedding"):
        _begin_again(name, group)
    with ledger.read() as connection:
        assert not connection.execute(select(func.count()).select_from(embedding_codes)).scalar_one()
    work(group)
    assert len(model.asked) == asked
    assert ask(group, QUESTION)["items"] == before["items"]
    balanced(ledger, group, 3)


def test_another_model_makes_all_vectors_anew(
    queue_url: str, queue: redis.Redis, ledger: Ledger, environ: dict[str, str], model: ScriptedEmbedder, group: str
) -> None:
    """Given vectors of one model, and another one that is set up, I expect the sweep to wake the stage though no event
    has come, all vectors to be made anew, once, and questions to be compared with nothing of the first one."""
    with workers_here(environ):
        publish(queue_url, group, *(f"text {n}" for n in range(40)), TEXT)
        work(group)
    with workers_here({**environ, "MEMLANE_EMBEDDING_MODEL": "another", "MEMLANE_EMBEDDING_DIMENSIONS": "64"}):
        assert texts(ask(group, QUESTION)) == []
        queue.delete(lua.SWEEP)
        report = sweep()
        assert report is not None
        assert report.woken["embedding"] == [group]
        asked = len(model.texts)
        work(group)
        assert len(model.texts) - asked == 41
        assert {body["dimensions"] for body in model.bodies if body["model"] == "another"} == {64}
        with ledger.read() as connection:
            (row,) = connection.execute(select(embedding_models)).all()
            assert {len(data) for data in connection.execute(select(vectors.c.data)).scalars()} == {64}
        assert (row.model, row.dimensions) == ("another 64", 64)
        assert texts(ask(group, QUESTION))[0] == TEXT
        balanced(ledger, group, 41)
        queue.delete(lua.SWEEP, lua.lease("embedding", group))
        assert "embedding" not in sweep().woken  # type: ignore[union-attr]


@on_sqlite
def test_prefixes_that_a_model_wants(
    queue_url: str, environ: dict[str, str], model: ScriptedEmbedder, group: str
) -> None:
    prefixes = {"MEMLANE_EMBEDDING_TEXT_PREFIX": "passage: ", "MEMLANE_EMBEDDING_QUESTION_PREFIX": "query: "}
    with workers_here({**environ, **prefixes}):
        publish(queue_url, group, TEXT)
        work(group)
        ask(group, QUESTION)
    assert model.texts == [f"passage: user: {TEXT}", f"query: {QUESTION}"]


@on_sqlite
def test_a_budget_that_is_used_up_pauses_the_stage_until_tomorrow(
    queue_url: str,
    ledger: Ledger,
    environ: dict[str, str],
    model: ScriptedEmbedder,
    group: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given a budget for one batch a day, I expect the stage to pause, what the language model has used not to count,
    questions to be answered as ever, and the rest to be embedded on the next day."""
    from workers import model as asking

    with workers_here({**environ, "MEMLANE_EMBEDDING_TOKENS_A_DAY": "300"}):
        asking.count(group, "extraction", 1_000, 0)
        publish(queue_url, group, TEXT, *(f"text {n}" for n in range(39)))
        work(group)
        assert len(stored(ledger, group)) == 32
        assert resources.valkey().ttl(lua.lease("embedding", group)) > 500
        assert texts(ask(group, QUESTION))[0] == TEXT
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        monkeypatch.setattr(asking, "now", lambda: tomorrow)
        work(group)
    assert len(stored(ledger, group)) == 40


def test_signs_find_the_nearest(ledger: Ledger) -> None:
    """Given 3,000 vectors, I expect those of the highest cosine to be among the few that are looked at."""
    chance = np.random.default_rng(8)
    # In clusters, as texts are, and with much that all texts of a model have in common.
    middles = chance.normal(0, 1, (60, 256)) + chance.normal(0, 3, 256)
    made = (middles[chance.integers(0, 60, 3_000)] + chance.normal(0, 1, (3_000, 256))).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    with ledger.write() as connection:
        for start in range(0, 3_000, 500):
            some = {seq + 1: made[seq] for seq in range(start, start + 500)}
            embeddings.store(ledger, connection, "g", "m", some)
    allowed = np.ones(3_001, bool)
    allowed[0] = allowed[5] = False
    hits = 0
    with ledger.read() as connection:
        for asked in made[:100] + chance.normal(0, 0.03, (100, 256)).astype(np.float32):
            asked = asked / np.linalg.norm(asked)
            exact = np.argsort(-(made @ asked) + 9 * ~allowed[1:])[:10] + 1
            found = embeddings.nearest(connection, "g", Vector("m", asked), allowed, 300)
            assert found is not None
            assert 5 not in found.seqs
            assert len(found.seqs) == 300
            assert np.allclose(found.cosines, made[found.seqs - 1] @ asked, atol=0.02)
            assert abs(found.mean - (made @ asked).mean()) < 0.1
            hits += len(set(exact) & set(found.seqs))
        assert hits > 970
        assert embeddings.nearest(connection, "g", Vector("other", asked), allowed, 300) is None
        assert embeddings.nearest(connection, "g", Vector("m", asked[:128]), allowed, 300) is None


@on_sqlite
def test_real_workers_one_of_which_is_killed(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    model: ScriptedEmbedder,
    group: str,
    tmp_path: Path,
) -> None:
    """Given real workers, of which the one that waits for the model is killed, I expect another one to finish, nothing
    to be given up, the question to be answered by meaning, and neither key nor texts in any log."""
    log = tmp_path / "worker.log"
    environ = {**environ, "MEMLANE_LEASE_SECONDS": "1", "MEMLANE_SWEEP_SECONDS": "0.3"}
    with servers.worker(environ, "record,index,recall", log, name="lanes", processes=2):
        model.script.append("slow")
        with servers.worker(environ, "embedding", log, name="first") as first:
            publish(queue_url, group, TEXT, *(f"text {n}" for n in range(50)))
            servers.wait_until(lambda: model.asked, "the model to be asked")
            servers.kill(first)
        model.hurry.set()
        assert stored(ledger, group) == []
        with servers.worker(environ, "embedding", log, name="second"):
            servers.wait_until(lambda: len(stored(ledger, group)) == 51, "all vectors", 60)
        with Recall(queue_url, group=group) as memory:
            found = memory.ask(QUESTION, explain=True, deadline=30)
        assert texts(found)[0] == TEXT
        assert found["items"][0]["features"]["similar"] > 0
        servers.wait_until(
            lambda: queue.hget(lua.MODEL_TOKENS, f"{group}:recall:in") == b"10", "its tokens to be counted"
        )
    assert letters(ledger) == 0
    balanced(ledger, group, 51)
    assert len(model.texts) <= 51 + 32 + 1, "only what the killed one had asked for is asked for again"
    assert model.keys == {f"Bearer {KEY}"}
    told = log.read_text()
    assert KEY not in told
    assert "basket" not in told
    assert "cart" not in told
    assert "Traceback" not in told
    forget_settings()
    resources.close()


@on_sqlite
def test_what_it_took_is_shown(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None, home: Path, group: str
) -> None:
    """I expect its tokens in the status, apart from the language model's, and that it is away to be told of, by doctor,
    too."""
    from ops.doctor.model import embedding
    from ops.home import Home
    from ops.status import look
    from ops.tables import render

    publish(queue_url, group, TEXT)
    work(group)
    ask(group, QUESTION)
    queue.set(lua.QUESTION_AWAY, "took longer than 250 ms for a question")
    status = look(queue, Home(home, queue_url), ledger)
    found = status.as_json()
    assert found["model"]["today"] == []
    assert found["embedding"] == {
        "name": "scripted",
        "away": "took longer than 250 ms for a question",
        "tokens_a_day": 5_000_000,
        "today": [
            {"group": group, "stage": "embedding", "calls": 1, "tokens_in": 10, "tokens_out": 0},
            {"group": group, "stage": "recall", "calls": 1, "tokens_in": 10, "tokens_out": 0},
        ],
        "used_up": [],
    }
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render(status))
    assert "tokens of the embedding model today" in shown.get()
    assert [(told.check, told.state) for told in embedding(status.embedding)] == [("embedding model", "warning")]
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert stages["embedding"] == {"stage": "embedding", "interest": 1, "done": 1, "pending": 0, "dead": 0}


def test_the_scripted_vectors_have_meaning() -> None:
    def cosine(one: str, other: str) -> float:
        left, right = np.array(vector(one, 128)), np.array(vector(other, 128))
        return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))

    assert cosine(QUESTION, TEXT) > 0.5 > abs(cosine(QUESTION, "noodles for everybody"))


def test_cursors_of_a_group_without_vectors(queue_url: str, ledger: Ledger, worker: None, group: str) -> None:
    """Given events without a text, I expect them to be dealt with, and nothing to be asked."""
    with Publisher(queue_url, source="test", group=group) as publisher:
        publisher.publish_many([{"type": "part.hidden", "session": "s1", "data": {"part": "p1"}}])
    work(group)
    with ledger.read() as connection:
        assert cursors.position(connection, "embedding", group) == 1
    assert ask(group, QUESTION)["embeddings"] == "asked"
