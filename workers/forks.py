"""Forks of a worker's main process, in which the dispatcher is a thread.

Celery forks the pool's processes: when the worker starts, and again for each that died or is added. A child that is
forked while another thread works inherits that thread's locks, which nobody will ever release. And a child that is
forked while SQLite has a file open takes its parent's locks on that file for its own, holds none, and so may write
beside others, or into a log that was deleted (https://sqlite.org/howtocorrupt.html, 2.6). So a fork waits until the
dispatcher is between two pieces of work, and closes the ledger, which is opened again when it is next used.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers import resources

log = logging.getLogger(__name__)

#: A fork waits no longer than this, s: a dispatcher whose servers do not answer must not keep a worker from replacing
#: processes. SQLite, of which the children would inherit more than locks, is never that long at it.
MOST_SECONDS = 30.0

_at_work = threading.Lock()
_waited = threading.local()


@contextmanager
def no_fork() -> Iterator[None]:
    """A piece of work during which this process is not forked. One thread at a time, not nested."""
    with _at_work:
        yield


def _before() -> None:
    _waited.in_time = _at_work.acquire(timeout=MOST_SECONDS)
    if _waited.in_time:
        resources.close(resources.ledger)
    else:
        log.warning("forked while the dispatcher was at work, for which it waited %s s", MOST_SECONDS)


def _after() -> None:
    if _waited.in_time:
        _at_work.release()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
