"""Leases: who drains a stage of a group now. They save double work, no more; what protects is the token in SQL."""

from __future__ import annotations

import logging
import secrets
import threading
from types import TracebackType
from typing import Self

import redis
from redis.exceptions import RedisError

from memory import lua

log = logging.getLogger(__name__)

#: What a lease holds while a wake-up is under way.
QUEUED = "queued"
#: How long a wake-up may be under way, ms, before another one is sent.
QUEUED_MS = 5_000


class Lease:
    """The lease of one stage of one group; as a context it renews itself until left.

    The heartbeat is a thread: it ends with the process, and Celery's hard time limit ends the process, so a worker
    whose main thread hangs does not keep its lease for ever.
    """

    def __init__(self, client: redis.Redis, stage: str, group: str, seconds: float) -> None:
        self._client = client
        self._key = lua.lease(stage, group)
        self._token = secrets.token_hex(8)
        self._ms = int(seconds * 1000)
        self._left = threading.Event()
        self._heartbeat: threading.Thread | None = None

    def take(self) -> bool:
        """Take it; False if another worker holds it or the stage rests."""
        return bool(self._run("take_lease", self._token, self._ms))

    def let_go(self, rest_seconds: float = 0) -> None:
        """End it. With `rest_seconds`, nobody may take it before these are over: a dependency is down. Where the queue
        server itself is away, it runs out."""
        try:
            self._run("renew_lease", self._token, int(rest_seconds * 1000), "resting")
        except RedisError as error:
            log.warning("lease is left to run out key=%s: %s", self._key, type(error).__name__)

    def __enter__(self) -> Self:
        self._left.clear()
        self._heartbeat = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        assert self._heartbeat is not None
        self._heartbeat.join()

    def _beat(self) -> None:
        while not self._left.wait(self._ms / 3000):
            try:
                if not self._run("renew_lease", self._token, self._ms, self._token):
                    return  # another worker has it: the token in SQL stops this one
            except RedisError:
                continue  # tried again in a third of the lease's time

    def _run(self, script: str, *arguments: str | int) -> int:
        return int(lua.run(self._client, script, [self._key], arguments))


def announce(client: redis.Redis, stage: str, group: str) -> bool:
    """Whether a wake-up must be sent: nobody works on this stage of the group, and none is under way.

    A holder of the lease looks once more for work after it has let go, so what was committed before this call is
    either seen by it or woken by the caller.
    """
    return bool(lua.run(client, "announce", [lua.lease(stage, group)], [QUEUED_MS]))
