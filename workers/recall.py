"""Answering questions: the queue `recall`."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from memory import lua
from memory.cache import Cache
from memory.ledger import LedgerUnavailable, cursors
from memory.recall import QuestionInvalid, answer, read
from memory.settings import settings
from workers import questions, resources
from workers.stage import described

if TYPE_CHECKING:
    from workers.embedder import Asked

log = logging.getLogger(__name__)

#: How long an answer waits for events that were published before the question, s. They mostly need a tenth.
CATCH_UP_SECONDS = 0.25
#: The same of what a tool shows: an agent asks for that itself, and seldom.
TOOL_CATCH_UP_SECONDS = 1.0
#: How long an answer is cached that was made without vectors, since their model did not answer, or without events that
#: were still on their way to the full text.
PARTIAL_TTL_SECONDS = 10


class AnswerFailed(Exception):
    """A question could not be answered. Says where, and nothing of the question: it is shown in logs and in Flower."""


def reply(id: str) -> None:
    """Answer the question that waits under this id; nothing is left to do where it has expired."""
    client = resources.valkey()
    raw = client.get(lua.ask(id))
    if raw is None:
        return
    try:
        asked = questions.read(raw)
    except questions.QuestionInvalid as error:
        questions.hand_over(client, id, {"error": str(error)})
        return
    cache = Cache(client, asked["group"])
    if "tool" in asked:
        with suppress(LedgerUnavailable):  # it is told when the ledger is asked
            _catch_up(client, asked["group"], cache.now(), TOOL_CATCH_UP_SECONDS)
        questions.answer(client, id, asked)
        return
    digest = hashlib.sha256(raw).hexdigest()
    try:
        question = read(asked, settings().recall_tokens)
        vector = _vector(asked["group"], question.text)
        whole = _catch_up(client, asked["group"], cache.now())
        started = cache.now()
        found = answer(
            resources.ledger(), asked["group"], question, resources.facts(), vector.vector if vector else None
        )
    except QuestionInvalid as error:
        cache.fill(id, digest, json.dumps({"error": str(error)}), (), cache.now(), 0)
        return
    except LedgerUnavailable as error:
        log.warning("no answer: %s", error)
        cache.fill(id, digest, json.dumps({"error": str(error)}), (), cache.now(), 0)
        return
    except Exception as error:
        # Those who wait are told at once; what went wrong is in the worker's log.
        cache.fill(id, digest, json.dumps({"error": "the worker failed: its log says why"}), (), cache.now(), 0)
        raise AnswerFailed(f"question of group {asked['group']}: {described(error)}") from None
    text = json.dumps({**found.as_json(), "started": started}, ensure_ascii=False)
    # That nothing is known depends on no path, so nothing would drop it once something is.
    seconds = settings().cache_ttl_seconds if found.context else 0
    if found.embeddings == "away" or not whole:
        seconds = min(seconds, PARTIAL_TTL_SECONDS)
    cache.fill(id, digest, text, found.paths, started, seconds)
    cache.prune()
    if vector:
        vector.count()


def _vector(group: str, text: str) -> Asked | None:
    """The question's vector, begun to be made; None where no model makes any."""
    if not settings().embeddings or not text.strip():
        return None
    # Here, since it needs OpenAI's client, which is not loaded for nothing.
    from workers.embedder import Asked

    return Asked(group, text)


def _catch_up(client: redis.Redis, group: str, now: int, seconds: float = CATCH_UP_SECONDS) -> bool:
    """Wait a little until what was published before `now` (server time, µs) can be found: who tells something and then
    asks expects to find it. Returns whether all of it can."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        waiting = client.xrange(lua.lane(group), count=1)
        if not waiting or int(waiting[0][0].partition(b"-")[0]) > now // 1000:
            with resources.ledger().read() as connection:
                recorded = cursors.position(connection, "record", group)
                if cursors.position(connection, "index", group) >= recorded:
                    return True
        time.sleep(0.005)
    return False
