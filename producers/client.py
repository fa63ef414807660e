"""Whoever asks a group's workers, and waits for their answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry

from memory import lua
from producers.address import checked, queue_url, without_password
from producers.group import group_of
from producers.publisher import QueueUnavailable


class NoAnswer(Exception):
    """Nobody answered within the deadline; the message says what to look at."""


class Client:
    """A connection to a group's workers, by way of the queue server."""

    def __init__(self, url: str | None, group: str | None, timeout: float, wait: float) -> None:
        """
        Args:
            url: of the queue server; default: `MEMLANE_VALKEY_URL`, else the running stack of `MEMLANE_HOME`.
            group: default: that of the working folder.
            timeout: seconds to connect, and to wait for the server (not for the answer).
            wait: seconds that one wait for an answer lasts at most.

        Raises:
            producers.address.QueueUnknown: no URL is given and none is found, or it can't be understood.
        """
        self._url = checked(url or queue_url())
        self.group = group or group_of()
        self.address = without_password(self._url)
        self._client = redis.Redis.from_url(
            self._url,
            socket_timeout=timeout + wait,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1, (ConnectionError,)),
        )
        self._wait = wait

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Raises QueueUnavailable where the server can't be used."""
        try:
            yield
        except RedisError as error:
            reason = str(error) or type(error).__name__
            raise QueueUnavailable(f"the queue server at {self.address} can't be used: {reason}") from error

    def _reply(self, id: str, left: float) -> bytes | None:
        """What a worker has answered, a JSON object; None: nothing yet. It is left there for others who wait.

        Args:
            left: seconds until the deadline.

        Raises:
            NoAnswer: the deadline has passed.
        """
        if left <= 0:
            raise NoAnswer(
                "no worker answered in time: `memlane status` shows whether one serves recall, "
                "`memlane doctor` says what is wrong"
            )
        reply = lua.reply(id)
        # Rotating the list of one onto itself.
        found: bytes | None = self._client.blmove(reply, reply, min(self._wait, left), "LEFT", "LEFT")
        return found
