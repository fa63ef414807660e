"""Sending what waits in the spools of a home."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from producers import Publisher, QueueFull, QueueUnavailable
from producers.address import QueueUnknown
from producers.publisher import Flushed
from producers.spool import Spool, Waiting, spools

#: While another process sends, or the server is full, it is tried again this often, s.
PAUSE_SECONDS = 0.2
#: How often a running stack looks for what waits in its home, s, and how long it then goes on with each group.
SENDER_SECONDS = 2.0


def waiting(home: Path, group: str | None = None) -> list[Waiting]:
    """What waits in a home, or in one group's spool there."""
    found = [Spool(home, group)] if group else spools(home)
    return [spool.waiting() for spool in found if spool.holds_events()]


def flush(
    home: Path,
    group: str | None,
    seconds: float,
    *,
    url: str | None = None,
    progress: Callable[[int], None] = lambda sent: None,
) -> tuple[list[Flushed], str]:
    """Send what waits; a lane or a memory that is full is waited for.

    Args:
        group: None for all.
        seconds: how long to go on.
        url: of the queue server; None: as publishers find it.
        progress: told how many events were sent just now.

    Returns:
        What became of each spool, and what kept events from being sent, if something did.
    """
    end = time.monotonic() + seconds
    done: list[Flushed] = []
    problem = ""
    for waits in waiting(home, group):
        spool = Spool(home, waits.group)
        sent = torn = 0
        with Publisher(url, group=waits.group, home=home, deadline=seconds) as publisher:
            while True:
                try:
                    flushed = publisher.flush(waits.group, max(0.1, end - time.monotonic()), progress)
                    sent, torn = sent + flushed.sent, torn + flushed.torn
                    problem = "another process sends them" if flushed.waiting and not flushed.sent else ""
                except QueueFull as error:
                    problem = str(error)
                except (QueueUnavailable, QueueUnknown) as error:
                    problem = str(error)
                    break
                if not spool.waiting().events or time.monotonic() > end:
                    break
                time.sleep(PAUSE_SECONDS)
        done.append(Flushed(waits.group, sent, spool.waiting().events, torn))
    return done, problem if any(flushed.waiting for flushed in done) else ""


class Sender(threading.Thread):
    """Sends what waits in the home of a running stack, so that nothing waits there for the next event."""

    def __init__(self, home: Path, url: str, say: Callable[[str], None]) -> None:
        """
        Args:
            url: of the stack's queue server.
            say: told what could not be sent because it can't be read.
        """
        super().__init__(name="spools", daemon=True)
        self._home = home
        self._url = url
        self._say = say
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SENDER_SECONDS):
            try:
                flush(self._home, None, SENDER_SECONDS, url=self._url)
            except OSError as error:
                self._say(f"what waits in {self._home / 'spool'} can't be sent: {error}")

    def stop(self) -> None:
        """End it, in a moment."""
        self._stopped.set()
        self.join(2 * SENDER_SECONDS)
