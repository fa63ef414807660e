"""Questions for tools: what of the queue `recall` is not answered by ranking, but from a group's history."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import redis

from memory import lua
from memory.cache import ANSWERS_SECONDS, REPLY_SECONDS
from memory.context_window import Thresholds
from memory.events import GROUP_PATTERN
from memory.history import router
from memory.history.operations import HistoryError
from memory.ledger import LedgerUnavailable
from memory.settings import settings
from workers import resources
from workers.stage import described

log = logging.getLogger(__name__)


class QuestionInvalid(ValueError):
    """What was asked is no question. The message says what is wrong with it, and goes back to whoever asked."""


class ToolFailed(Exception):
    """A question could not be answered. Says where, and nothing of the question: it is shown in logs and in Flower."""


def read(raw: bytes) -> dict[str, Any]:
    """A question as it was put, of whatever kind: an object that names a group.

    Raises:
        QuestionInvalid: see there.
    """
    try:
        asked = json.loads(raw)
    except (ValueError, RecursionError):
        raise QuestionInvalid("question: is not valid JSON") from None
    if not isinstance(asked, dict):
        raise QuestionInvalid("question: is not an object")
    if not isinstance(group := asked.get("group"), str) or not re.fullmatch(GROUP_PATTERN, group):
        raise QuestionInvalid("group: must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -")
    for name in ("session", "project"):
        if not isinstance(asked.get(name), str | None):
            raise QuestionInvalid(f"{name}: must be a string, or absent")
    return asked


def answer(client: redis.Redis, id: str, asked: dict[str, Any]) -> None:
    """Answer a question that names a tool. Those who wait are told of a failure at once.

    Raises:
        ToolFailed: for Celery and Flower to show.
    """
    options = settings()
    thresholds = Thresholds(options.context_yellow, options.context_red, options.context_critical)
    try:
        found = router.answer(
            resources.ledger(),
            asked["group"],
            asked["tool"],
            asked.get("args"),
            session=asked.get("session"),
            project=asked.get("project"),
            thresholds=thresholds,
        )
    except HistoryError as error:
        hand_over(client, id, {"error": str(error)})
    except LedgerUnavailable as error:
        log.warning("no answer: %s", error)
        hand_over(client, id, {"error": str(error)})
    except Exception as error:
        hand_over(client, id, {"error": "the worker failed: its log says why"})
        raise ToolFailed(f"question of group {asked['group']}: {described(error)}") from None
    else:
        hand_over(client, id, found.as_json(), asked["group"])


def hand_over(client: redis.Redis, id: str, found: dict[str, Any], group: str | None = None) -> None:
    """Give an answer to whoever waits for it; `group` is the one whose events it may tell of."""
    keys = [lua.reply(id), lua.ask(id), *([lua.answers(group)] if group is not None else [])]
    arguments = [json.dumps(found, ensure_ascii=False), REPLY_SECONDS, ANSWERS_SECONDS]
    lua.run(client, "answer", keys, arguments)
