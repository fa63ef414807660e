"""Asking workers for what a tool shows: a group's history. As the tools of agents do it, in every language:

1. `ask.lua` puts the question under a random id and rings the bell;
2. a worker answers into the list of one `reply:{id}`, which is read by rotating it (BLMOVE onto itself).

A question is JSON, `{"group", "tool", "args", "session", "project"}`; an answer `{"text", "data"}`, or `{"error"}`.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Mapping
from typing import Any

from memory import lua
from memory.privacy import redact
from producers.client import Client

#: After this long without an answer the bell is rung again, s: a ring may be lost, and so may a worker.
AGAIN_SECONDS = 5.0


class ToolFailed(Exception):
    """A worker could not answer; the message says what is wrong with the question, or with the worker."""


class Asker(Client):
    """Asks a group's workers what tools show."""

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        session: str | None = None,
        project: str | None = None,
        timeout: float = 2.0,
    ) -> None:
        """
        Args:
            url: of the queue server; default: `MEMLANE_VALKEY_URL`, else the running stack of `MEMLANE_HOME`.
            group: default: that of the working folder.
            session, project: id and project folder of who asks: defaults of arguments.
            timeout: seconds to connect, and to wait for the server (not for the answer).

        Raises:
            producers.address.QueueUnknown: no URL is given and none is found, or it can't be understood.
        """
        super().__init__(url, group, timeout, AGAIN_SECONDS)
        self._session, self._project = session, project

    def ask(
        self, tool: str, args: Mapping[str, Any] | None = None, *, session: str | None = None, deadline: float = 10.0
    ) -> dict[str, Any]:
        """What a tool shows.

        Args:
            tool: one of `help, summary, sessions, messages, search, compactions, compare, context`.
            args: its arguments; `help` explains them.
            session: id of the session that asks, if not that of this object.
            deadline: seconds to wait for the answer.

        Returns:
            `text`, Markdown for an agent, and `data`, the same as docs/history.md describes it.

        Raises:
            producers.client.NoAnswer, ToolFailed, producers.QueueUnavailable
        """
        question = redact(
            {
                "group": self.group,
                "tool": tool,
                "args": dict(args or {}),
                "session": session or self._session,
                "project": self._project,
            }
        )
        raw = json.dumps(question, ensure_ascii=False).encode("utf-8", "replace")
        with self._reached():
            return self._ask(raw, deadline)

    def _ask(self, question: bytes, deadline: float) -> dict[str, Any]:
        id, end = secrets.token_hex(16), time.monotonic() + deadline
        while True:
            left = end - time.monotonic()
            if left > 0:
                lua.run(self._client, "ask", [lua.ask(id), lua.BELL], [id, question, math.ceil(left)])
            if found := self._reply(id, left):
                answer: dict[str, Any] = json.loads(found)
                if "error" in answer:
                    raise ToolFailed(answer["error"])
                return answer
