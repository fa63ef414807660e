"""Connections of this worker process, opened on first use.

Celery forks its pool: what a parent has opened must not be used by a child, so everything is kept by process id.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from memory.ledger import Ledger
from memory.settings import settings

if TYPE_CHECKING:
    from memory.graph.writer import GraphWriter


def one_a_process[T](make: Callable[[], T]) -> Callable[[], T]:
    """Have `make` called once in each process, on first use."""
    made: dict[int, T] = {}

    @wraps(make)
    def get() -> T:
        pid = os.getpid()
        if pid not in made:
            made.clear()
            made[pid] = make()
        return made[pid]

    return get


@one_a_process
def valkey() -> redis.Redis:
    """The queue server. Raises redis.ConnectionError or redis.TimeoutError while it is away."""
    return redis.Redis.from_url(
        settings().valkey, socket_timeout=10, socket_connect_timeout=5, retry=Retry(NoBackoff(), 1)
    )


@one_a_process
def ledger() -> Ledger:
    """The ledger. Its transactions raise LedgerUnavailable while it is away."""
    return Ledger(settings().database)


@one_a_process
def graph() -> GraphWriter:
    """The knowledge graph. Imports graphiti: only for workers that serve `episodes`."""
    from memory.graph.writer import GraphWriter

    return GraphWriter(settings().graph)
