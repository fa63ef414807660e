"""Connections of the command line to the servers that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

from memory.ledger import Ledger, migrations
from memory.settings import settings
from producers.address import checked, without_password
from producers.publisher import QueueUnavailable


class LedgerNotReady(Exception):
    """There is no ledger yet, or its schema is not the one that this version knows; the message says what to do."""


@contextmanager
def queue() -> Iterator[redis.Redis]:
    """The queue server.

    Raises:
        NotConfigured, QueueUnknown: no address is known, or it can't be understood.
        QueueUnavailable: it can't be used; also for whatever is done with it in the block.
    """
    url = checked(settings().valkey)
    client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0))
    try:
        client.ping()
        yield client
    except RedisError as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, NoPermissionError):
            reason = "its user may not do this: give MEMLANE_VALKEY_URL the user `operator`, or unset it"
        raise QueueUnavailable(f"the queue server at {without_password(url)} can't be used: {reason}") from error
    finally:
        client.close()


@contextmanager
def ledger() -> Iterator[Ledger]:
    """The ledger. Workers make it and keep its schema up to date; who only looks at it changes nothing.

    Raises:
        LedgerUnavailable: it can't be used.
        LedgerNotReady: see there.
    """
    url = settings().database
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    if url.startswith("sqlite:///") and not path.exists():
        raise LedgerNotReady(f"there is no ledger at {path} yet: `memlane up` makes it, or set MEMLANE_DATABASE_URL")
    opened = Ledger(url)
    try:
        _check_schema(opened)
        yield opened
    finally:
        opened.close()


def _check_schema(ledger: Ledger) -> None:
    with ledger.read() as connection:
        found = migrations.revision_of(connection)
    known = migrations.revisions()
    if found is None:
        raise LedgerNotReady(f"the database at {ledger.address} holds no ledger yet: workers make it when they start")
    if found not in known:
        raise LedgerNotReady(
            f"the ledger at {ledger.address} was made by a newer version (schema {found}): "
            "update Memlane on this machine, too"
        )
    if found != known[-1]:
        raise LedgerNotReady(
            f"the ledger at {ledger.address} has the old schema {found}: restart the workers, which bring it up to date"
        )
