"""Answering questions: the queue `recall`."""

from __future__ import annotations

import hashlib
import json
import logging

from memory import lua
from memory.cache import Cache
from memory.events import normal_path
from memory.ledger import LedgerUnavailable
from memory.recall import Question, answer
from memory.settings import settings
from workers import resources

log = logging.getLogger(__name__)


def reply(id: str) -> None:
    """Answer the question that waits under this id; nothing is left to do where it has expired."""
    client = resources.valkey()
    raw = client.get(lua.ask(id))
    if raw is None:
        return
    asked = json.loads(raw)
    paths = [normal_path(path) for path in asked["paths"]]
    question = Question(asked["text"], asked["tokens"] or settings().recall_tokens, paths)
    cache = Cache(client, asked["group"])
    digest = hashlib.sha256(raw).hexdigest()
    started = cache.now()
    try:
        found = answer(resources.ledger(), asked["group"], question)
    except LedgerUnavailable as error:
        log.warning("no answer: %s", error)
        cache.fill(id, digest, json.dumps({"error": str(error)}), (), started, 0)
        return
    except Exception:
        # Those who wait are told at once; what went wrong is in the worker's log.
        cache.fill(id, digest, json.dumps({"error": "the worker failed: its log says why"}), (), started, 0)
        raise
    text = json.dumps({**found.as_json(), "started": started}, ensure_ascii=False)
    # That nothing is known depends on no path, so nothing would drop it once something is.
    cache.fill(id, digest, text, found.paths, started, settings().cache_ttl_seconds if found.items else 0)
    cache.prune()
