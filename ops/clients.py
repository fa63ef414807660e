"""Connections of the command line to the servers that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from memory.ledger import Ledger, migrate
from memory.settings import settings
from producers.address import without_password
from producers.publisher import QueueUnavailable


@contextmanager
def queue() -> Iterator[redis.Redis]:
    """The queue server.

    Raises:
        NotConfigured: no address is known.
        QueueUnavailable: it can't be used; also for whatever is done with it in the block.
    """
    url = settings().valkey
    client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    except RedisError as error:
        reason = str(error) or type(error).__name__
        raise QueueUnavailable(f"the queue server at {without_password(url)} can't be used: {reason}") from error
    finally:
        client.close()


@contextmanager
def ledger() -> Iterator[Ledger]:
    """The ledger, its schema up to date.

    Raises:
        LedgerUnavailable: it can't be used.
    """
    opened = Ledger(settings().database)
    try:
        migrate(opened)
        yield opened
    finally:
        opened.close()
