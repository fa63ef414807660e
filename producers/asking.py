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
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry

from memory import lua
from memory.privacy import redact
from producers.address import checked, queue_url, without_password
from producers.group import group_of
from producers.publisher import QueueUnavailable
from producers.recall import NoAnswer

#: After this long without an answer the bell is rung again, s: a ring may be lost, and so may a worker.
AGAIN_SECONDS = 5.0


class ToolFailed(Exception):
    """A worker could not answer; the message says what is wrong with the question, or with the worker."""


class Asker:
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
        self._url = checked(url or queue_url())
        self.group = group or group_of()
        self.address = without_password(self._url)
        self._session, self._project = session, project
        self._client = redis.Redis.from_url(
            self._url,
            socket_timeout=timeout + AGAIN_SECONDS,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1, (ConnectionError,)),
        )

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
            NoAnswer, ToolFailed, QueueUnavailable
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
        try:
            return self._ask(raw, deadline)
        except RedisError as error:
            reason = str(error) or type(error).__name__
            raise QueueUnavailable(f"the queue server at {self.address} can't be used: {reason}") from error

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: bytes, deadline: float) -> dict[str, Any]:
        id, end = secrets.token_hex(16), time.monotonic() + deadline
        reply = lua.reply(id)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise NoAnswer(
                    "no worker answered in time: `memlane status` shows whether one serves recall, "
                    "`memlane doctor` says what is wrong"
                )
            lua.run(self._client, "ask", [lua.ask(id), lua.BELL], [id, question, math.ceil(left)])
            found = self._client.blmove(reply, reply, min(AGAIN_SECONDS, left), "LEFT", "LEFT")
            if found:
                answer: dict[str, Any] = json.loads(found)
                if "error" in answer:
                    raise ToolFailed(answer["error"])
                return answer
