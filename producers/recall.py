"""Asking: a question in, the group's memory on it out, from the cache or from a worker."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from memory import lua
from memory.privacy import redact
from producers.client import Client

#: After this many ms without an answer, another worker may try.
FILLING_MS = 5_000
#: How long one wait for a reply lasts, s, before the cache is looked at again.
WAIT_SECONDS = 1.0


class RecallFailed(Exception):
    """A worker tried to answer and could not; the message says why."""


class Recall(Client):
    """Asks a group's memory."""

    def __init__(self, url: str | None = None, *, group: str | None = None, timeout: float = 2.0) -> None:
        """
        Args:
            url: of the queue server; default: `MEMLANE_VALKEY_URL`, else the running stack of `MEMLANE_HOME`.
            group: default: that of the working folder.
            timeout: seconds to connect, and to wait for the server (not for the answer).

        Raises:
            producers.address.QueueUnknown: no URL is given and none is found, or it can't be understood.
        """
        super().__init__(url, group, timeout, WAIT_SECONDS)

    def ask(
        self,
        text: str,
        *,
        paths: Sequence[str] = (),
        tokens: int | None = None,
        session: str | None = None,
        agent: str | None = None,
        kinds: Sequence[str] = (),
        since: int | None = None,
        until: int | None = None,
        as_of: int | None = None,
        explain: bool = False,
        deadline: float = 10.0,
    ) -> dict[str, Any]:
        """What the group's memory holds on a question.

        Args:
            text: the question; white space is folded.
            paths: files being worked on, relative to the project.
            tokens: budget of the context; None: the workers' default.
            session: the one that asks: what it did last counts for more.
            agent: only events of this agent.
            kinds: only events of these types.
            since, until: only events of this time, ms since 1970.
            as_of: what was known, and true, at this time, ms since 1970.
            explain: have each item say what its score is the sum of (`features`).
            deadline: seconds to wait for an answer that is not cached.

        Returns:
            `context` (text to give to an agent; empty if nothing is known), `tokens`, `items` (events with `id, type,
            text, session, agent, path, time (ms), score, times`, best first), `facts` of the graph (`fact, since,
            until`), `graph` ("asked", "away" or "none"), and `cache`: "hit" or "miss".

        Raises:
            producers.client.NoAnswer, RecallFailed, producers.QueueUnavailable
        """
        with self._reached():
            limits = {"session": session, "agent": agent, "since": since, "until": until, "as_of": as_of}
            question = encode(self.group, text, paths, tokens, kinds=kinds, explain=explain, **limits)
            return self._ask(question, time.monotonic() + deadline)

    def _ask(self, question: bytes, end: float) -> dict[str, Any]:
        id = secrets.token_hex(16)
        asked = 0
        while True:
            kind, value, now = self._look(question, id, counted=bool(asked))
            if kind == b"hit":
                return _answer(json.loads(value), "miss" if asked else "hit")
            asked = asked or int(now)
            if found := self._reply(value.decode(), end - time.monotonic()):
                answer: dict[str, Any] = json.loads(found)
                if "error" in answer:
                    raise RecallFailed(answer["error"])
                # An answer that was begun before this question was asked may lack an edit that the asker knows of:
                # the cache is looked at again, where it is found only if it still holds.
                if answer["started"] >= asked:
                    return _answer(answer, "miss")

    def _look(self, question: bytes, id: str, *, counted: bool) -> tuple[bytes, bytes, bytes]:
        digest = hashlib.sha256(question).hexdigest()
        keys = [
            lua.context(self.group, digest),
            lua.recall_counters(self.group),
            lua.filling(self.group, digest),
            lua.ask(id),
            lua.BELL,
        ]
        arguments = [lua.dropped(self.group, ""), id, question, FILLING_MS, int(counted)]
        kind, value, now = lua.run(self._client, "recall", keys, arguments)
        return kind, value, now


def encode(
    group: str,
    text: str,
    paths: Sequence[str] = (),
    tokens: int | None = None,
    *,
    kinds: Sequence[str] = (),
    explain: bool = False,
    **limits: str | int | None,
) -> bytes:
    """A question as it is put to the workers, without secrets and private text. The SHA-256 of these bytes is the
    digest its answer is cached under; what is not asked for leaves no trace in it."""
    # It waits in the queue server, and its paths stay there with the answer.
    asked = redact({"text": text, "paths": list(paths)})
    words, files = " ".join(asked["text"].split()), sorted(set(asked["paths"]))
    question: dict[str, Any] = {"group": group, "text": words, "paths": files, "tokens": tokens}
    question |= {name: value for name, value in limits.items() if value is not None}
    question |= {"kinds": sorted(set(kinds))} if kinds else {}
    question |= {"explain": True} if explain else {}
    return json.dumps(question, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")


def _answer(found: dict[str, Any], cache: str) -> dict[str, Any]:
    """What the asker gets of an answer: when it was begun is of no use to them."""
    return {name: value for name, value in found.items() if name != "started"} | {"cache": cache}
