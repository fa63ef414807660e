"""Trials: how often a stage of a group was tried without success, so that one poison event can't stop it for ever.

A try is counted before the work, since an event may kill the worker that works on it. After a try that failed or
never ended, the events of one batch are dealt with one at a time; the one that still fails is the poison. An event
that was tried `Settings.attempts` times is buried: it goes to the dead letters, and the stage goes on behind it.

Source of the idea: quorum queues count deliveries before processing (RabbitMQ, "Poison message handling").
"""

from __future__ import annotations

import redis

from memory import lua

#: How long a trial is remembered without a further try, s.
KEPT_SECONDS = 24 * 3600


class Trial:
    """The trial of one stage of one group. Kept in Valkey: what is lost with it is only how often was tried."""

    def __init__(self, client: redis.Redis, stage: str, group: str) -> None:
        self._client = client
        self._key = lua.trial(stage, group)
        #: Events that are still to be dealt with one at a time.
        self.suspects = 0

    def begin(self, batch_size: int) -> None:
        """Count a drain that begins. If the one before did not end well, a whole batch is suspect."""
        began, suspects = lua.run(self._client, "begin_trial", [self._key], [batch_size, KEPT_SECONDS])
        self.suspects = int(suspects) if began > 1 else 0

    def attempt(self, position: str) -> int:
        """Count an attempt at the one event at `position`, before the work.

        Returns:
            How often it was attempted, this time included.
        """
        return int(lua.run(self._client, "attempt", [self._key], [position]))

    def passed(self) -> None:
        """A suspect was dealt with, or buried."""
        self.suspects -= 1
        self._client.hset(self._key, "suspects", self.suspects)

    def failed(self, error: str) -> None:
        """The work failed: keep why, for the dead letter."""
        self._client.hset(self._key, "error", error)

    def excused(self) -> None:
        """The work could not be done, for a reason that is no event's fault: it does not count."""
        lua.run(self._client, "excuse", [self._key], [])

    def ended(self) -> None:
        """The drain ended well."""
        if self.suspects > 0:
            self._client.hset(self._key, "began", 1)  # some are left for the next drain
        else:
            self._client.delete(self._key)

    def error(self) -> str:
        """What went wrong at the last attempt."""
        found = self._client.hget(self._key, "error")
        return found.decode() if found else "the worker died while it worked on this event"
