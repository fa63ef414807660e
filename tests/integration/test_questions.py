"""Questions for tools over the queue: the contract between whoever asks, in whatever language, and the workers.

asker ── ask.lua ──▶ ask:{id}, bell ── dispatcher ──▶ queue `recall` ──▶ worker ──▶ reply:{id} ── BLMOVE ──▶ asker
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from memory import lua
from producers import Publisher
from producers.asking import Asker, ToolFailed
from producers.client import NoAnswer
from producers.publisher import QueueUnavailable
from tests import servers
from tests.workers_here import workers_here
from workers import resources
from workers.questions import ToolFailed as WorkerFailed
from workers.questions import hand_over
from workers.recall import reply

GROUP = "shop"
SCRIPT = (Path(lua.__file__).parent / "ask.lua").read_text()


@pytest.fixture
def environ(queue_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "MEMLANE_VALKEY_URL": queue_url,
        "MEMLANE_HOME": str(tmp_path),
        "MEMLANE_DATADOG": "false",
        "MEMLANE_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
    }


@pytest.fixture
def worker(environ: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """A worker that records, indexes and answers: in one of its processes, while it waits for what the other indexes."""
    with servers.worker(environ, "record,index,recall", tmp_path / "worker.log", processes=2):
        yield


@pytest.fixture
def asker(queue_url: str) -> Iterator[Asker]:
    with Asker(queue_url, group=GROUP, session="s1", project="/home/dev/shop") as opened:
        yield opened


@pytest.fixture
def publisher(queue_url: str) -> Iterator[Publisher]:
    with Publisher(queue_url, source="test", group=GROUP) as opened:
        yield opened


def said(text: str, session: str = "s1", role: str = "user") -> dict[str, Any]:
    return {"type": "chat.message", "session": session, "data": {"role": role, "text": text}}


def asked_raw(queue: redis.Redis, question: bytes, seconds: float = 10) -> dict[str, Any]:
    """Ask as any other language would: with the script's text, and bare commands."""
    id = secrets.token_hex(16)
    queue.eval(SCRIPT, 2, f"memlane:ask:{id}", "memlane:bell", id, question, 30)
    found = queue.blmove(f"memlane:reply:{id}", f"memlane:reply:{id}", seconds, "LEFT", "LEFT")
    assert found is not None, "nobody answered"
    # The answer stays for a while, for whoever else waits for it.
    assert queue.lrange(f"memlane:reply:{id}", 0, -1) == [found]
    assert 0 < queue.ttl(f"memlane:reply:{id}") <= 30
    assert not queue.exists(f"memlane:ask:{id}")
    answer: dict[str, Any] = json.loads(found)
    return answer


def test_asked_by_bare_commands_and_by_the_class(
    queue: redis.Redis, asker: Asker, publisher: Publisher, worker: None
) -> None:
    """Given a message that was published just before. If `messages` is asked as TypeScript does it, and by the Python
    class, I expect the same answer, with the message in it. What is no question is answered with what is wrong."""
    publisher.publish(said("why does the limiter test fail?"))
    publisher.publish(said("in another session", "s2"))
    question = {"group": GROUP, "tool": "messages", "args": {"limit": 5}, "session": "s1", "project": None}

    raw = asked_raw(queue, json.dumps(question).encode())
    assert "error" not in raw, raw
    assert set(raw) == {"text", "data"}
    assert [message["text"] for message in raw["data"]["messages"]] == ["why does the limiter test fail?"]
    assert "> why does the limiter test fail?" in raw["text"]
    assert asker.ask("messages", {"limit": 5}) == raw
    (other,) = asker.ask("messages", session="s2")["data"]["messages"]
    assert other["text"] == "in another session"

    wrong = {
        b"no json": "question: is not valid JSON",
        b"[]": "question: is not an object",
        b"{}": "group: must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -",
        b'{"group": "a b", "tool": "help"}': "group: must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -",
        b'{"group": "shop", "tool": "help", "session": 5}': "session: must be a string, or absent",
        b'{"group": "shop", "tool": "help", "args": []}': 'args: must be an object, as in {"tool": "search"}',
        b'{"group": "shop", "tool": ["x"]}': "tool: there is no operation ['x'], use one of help, summary, ",
        b'{"group": "shop", "tool": "forget"}': "tool: there is no operation 'forget', use one of help, summary, ",
        b'{"group": "shop", "text": 5}': "text: must be a string",
        b'{"group": "shop", "text": "x", "paths": "src"}': "paths: must be a list of strings, or absent",
        b'{"group": "shop", "text": "x", "since": "yesterday"}': "since: must be ms since 1970, or absent",
        b'{"group": "shop", "tool": "\xff"}': "question: is not valid JSON",
        b"[" * 100_000: "question: is not valid JSON",
    }
    for question_raw, error in wrong.items():
        answer = asked_raw(queue, question_raw)
        assert set(answer) == {"error"}
        assert answer["error"].startswith(error), (question_raw[:80], answer)
        assert "\n" not in answer["error"]
    # And the worker is as well as before.
    assert asker.ask("help")["data"]["operations"]


def test_a_question_waits_for_what_was_published_before(asker: Asker, publisher: Publisher, worker: None) -> None:
    """If an agent publishes and then asks, again and again, I expect it to find what it published."""
    for number in range(10):
        publisher.publish(said(f"round {number}"))
        found = asker.ask("messages", {"limit": 1})["data"]["messages"]
        assert [message["text"] for message in found] == [f"round {number}"]


def test_secrets_are_not_put_into_the_queue_server(queue: redis.Redis, asker: Asker) -> None:
    """If a question holds a secret, I expect it removed before it leaves the asker's process."""
    with pytest.raises(NoAnswer, match="no worker answered"):
        asker.ask("search", {"query": "token ghp_" + "a1B2" * 9 + " <private>mine</private>"}, deadline=0.2)
    ring = (queue.rpop(lua.BELL) or b"").decode()
    question = queue.get(lua.ask(ring.removeprefix("ask "))) or b""
    assert b"ghp_" not in question
    assert b"mine" not in question
    assert json.loads(question)["tool"] == "search"


def test_a_lost_ring_is_rung_again(
    queue: redis.Redis, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a ring is popped by a dispatcher that dies, I expect the asker to ring again, under the same id."""
    monkeypatch.setattr("producers.asking.AGAIN_SECONDS", 0.2)
    with Asker(environ["MEMLANE_VALKEY_URL"], group=GROUP) as asker, pytest.raises(NoAnswer):
        asker.ask("help", deadline=0.7)
    rings = queue.lrange(lua.BELL, 0, -1)
    assert len(rings) >= 3
    assert len(set(rings)) == 1


def test_a_failure_is_told_at_once(
    queue: redis.Redis, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a worker fails in the middle of answering, or its ledger is away, I expect whoever asked to be told so."""

    def asked() -> dict[str, Any]:
        id = secrets.token_hex(8)
        question: dict[str, Any] = {"group": GROUP, "tool": "summary", "args": {}, "session": None, "project": None}
        lua.run(queue, "ask", [lua.ask(id), lua.BELL], [id, json.dumps(question), 30])
        try:
            reply(id)
        finally:
            answer: dict[str, Any] = json.loads(queue.lindex(lua.reply(id), 0))
        return answer

    with workers_here(environ):
        with monkeypatch.context() as patch:
            patch.setattr("memory.history.router.answer", lambda *_, **__: 1 / 0)
            with pytest.raises(WorkerFailed, match=r"ZeroDivisionError in test_questions\.py"):
                asked()
        assert asked()["data"]["sessions"] == 0
    with workers_here({**environ, "MEMLANE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}):
        started = time.monotonic()
        assert "can't be used" in asked()["error"]
        assert time.monotonic() - started < 5


def test_what_is_asked_for_wrongly_is_explained(asker: Asker, worker: None) -> None:
    with pytest.raises(ToolFailed, match="query: is missing"):
        asker.ask("search")
    with pytest.raises(ToolFailed, match="limit: input should be less than or equal to 100"):
        asker.ask("search", {"query": "x", "limit": 1_000})
    with pytest.raises(ToolFailed, match="sessionId: of your own session nothing is known yet"):
        asker.ask("messages")


def test_no_queue_server(tmp_path: Path) -> None:
    url = f"redis://:secret@127.0.0.1:{servers.free_port()}"
    with Asker(url, group=GROUP) as asker, pytest.raises(QueueUnavailable, match="can't be used") as failed:
        asker.ask("help", deadline=1)
    assert "secret" not in str(failed.value)


def test_a_question_that_nobody_took_leaves_nothing(queue: redis.Redis, asker: Asker) -> None:
    """If nobody answers, I expect the question to be gone by the end of the asker's deadline."""
    with pytest.raises(NoAnswer):
        asker.ask("help", deadline=0.3)
    ring = (queue.rpop(lua.BELL) or b"").decode()
    assert 0 < queue.pttl(lua.ask(ring.removeprefix("ask "))) <= 1_000


def test_an_answer_is_handed_over_at_the_memory_limit(queue: redis.Redis, environ: dict[str, str]) -> None:
    """If the queue server takes nothing more, I expect who asked to get the answer all the same, and its key to be
    known to who forgets."""
    with workers_here(environ):
        queue.config_set("maxmemory", 1)
        try:
            hand_over(resources.valkey(), "id", {"text": "known"}, GROUP)
        finally:
            queue.config_set("maxmemory", 0)
    assert queue.lrange(lua.reply("id"), 0, -1) == [b'{"text": "known"}']
    assert queue.zrange(lua.answers(GROUP), 0, -1) == [lua.reply("id").encode()]
