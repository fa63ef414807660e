"""Sending what waits in the spools of this home."""

from __future__ import annotations

import time
from collections.abc import Callable

from memory.settings import settings
from producers import Publisher, QueueFull, QueueUnavailable
from producers.address import QueueUnknown
from producers.publisher import Flushed
from producers.spool import Spool, Waiting, spools

#: While another process sends, or the server is full, it is tried again this often, s.
PAUSE_SECONDS = 0.2


def waiting(group: str | None = None) -> list[Waiting]:
    """What waits in this home, or in one group's spool."""
    found = [Spool(settings().home, group)] if group else spools(settings().home)
    return [spool.waiting() for spool in found if spool.holds_events()]


def flush(
    group: str | None, seconds: float, progress: Callable[[int], None] = lambda sent: None
) -> tuple[list[Flushed], str]:
    """Send what waits; a lane or a memory that is full is waited for.

    Args:
        group: None for all.
        seconds: how long to go on.
        progress: told how many events were sent just now.

    Returns:
        What became of each spool, and what kept events from being sent, if something did.
    """
    end = time.monotonic() + seconds
    done: list[Flushed] = []
    problem = ""
    for spool in waiting(group):
        with Publisher(group=spool.group, deadline=seconds) as publisher:
            sent = torn = 0
            while True:
                try:
                    flushed = publisher.flush(spool.group, max(0.0, end - time.monotonic()), progress)
                    sent, torn, left = sent + flushed.sent, torn + flushed.torn, flushed.waiting
                    problem = "another process sends them" if left and not flushed.sent else ""
                except QueueFull as error:
                    problem = str(error)
                except (QueueUnavailable, QueueUnknown) as error:
                    problem = str(error)
                    break
                left = Spool(publisher.home, spool.group).waiting().events
                if not left or time.monotonic() > end:
                    break
                time.sleep(PAUSE_SECONDS)
        done.append(Flushed(spool.group, sent, Spool(publisher.home, spool.group).waiting().events, torn))
    return done, problem if any(flushed.waiting for flushed in done) else ""
