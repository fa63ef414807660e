"""Connections of this worker process, opened on first use.

Celery forks its pool: what a parent has opened must not be used by a child, so everything is kept by process id.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from memory.ledger import Ledger, LedgerUnavailable, migrate
from memory.settings import NotConfigured, settings

if TYPE_CHECKING:
    from memory.graph.reader import GraphReader
    from memory.graph.writer import GraphWriter


#: What is raised while the queue server is away, or what answers is no queue server.
VALKEY_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse)

#: What was opened, by process and by how. A child keeps what its parent opened, since closing it is a use, too.
_opened: dict[tuple[int, Callable[[], Any]], Any] = {}


def one_a_process[T](make: Callable[[], T]) -> Callable[[], T]:
    """Have `make` called once in each process, on first use."""

    @wraps(make)
    def get() -> T:
        key = os.getpid(), make
        if key not in _opened:
            made = make()
            # Another thread may have been faster. Not by a lock: a child that is forked meanwhile would find it held.
            if _opened.setdefault(key, made) is not made:
                _end(made)
        opened: T = _opened[key]
        return opened

    return get


def close(*makers: Callable[[], Any]) -> None:
    """Close what this process has opened, or what was opened by these. It is opened anew when it is next used."""
    makes = {maker.__wrapped__ for maker in makers}  # type: ignore[attr-defined]
    for key in [key for key in _opened if key[0] == os.getpid() and (not makers or key[1] in makes)]:
        _end(_opened.pop(key))


def _end(opened: Any) -> None:
    if hasattr(opened, "close"):
        opened.close()


@one_a_process
def valkey() -> redis.Redis:
    """The queue server. Its commands raise one of VALKEY_AWAY while it is."""
    return redis.Redis.from_url(
        settings().valkey, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 1)
    )


@one_a_process
def ledger() -> Ledger:
    """The ledger, its schema up to date. It, and its transactions, raise LedgerUnavailable while it is away."""
    opened = Ledger(settings().database)
    try:
        # Here and not when the worker starts: the database may be away then.
        migrate(opened)
    except LedgerUnavailable:
        opened.close()
        raise
    return opened


@one_a_process
def graph() -> GraphWriter:
    """The knowledge graph. Imports graphiti: only for workers that serve `episodes`."""
    from memory.graph.writer import GraphWriter

    return GraphWriter(settings().graph)


@one_a_process
def facts() -> GraphReader | None:
    """Where recall reads facts; None where no graph server is named."""
    from memory.graph.reader import GraphReader

    try:
        return GraphReader(settings().graph)
    except NotConfigured:
        return None
