"""Trials: how often a stage of a group was tried without success, so that one poison event can't stop it for ever.

A try is counted before the work, since an event may kill the worker that works on it. After one that failed or never
ended, the events of its batch are suspect, and dealt with in small chunks; after a chunk that failed, one at a time.
The one that still fails is the poison: tried `Settings.attempts` times, it is buried. It goes to the dead letters, and
the stage goes on behind it. So a batch that merely was in the hands of a killed worker costs little.

Source of the idea: quorum queues count deliveries before processing (RabbitMQ, "Poison message handling").
"""

from __future__ import annotations

import logging

import redis
from redis.exceptions import RedisError

from memory import lua
from memory.privacy.raw import redact_raw

log = logging.getLogger(__name__)

#: Suspects that are dealt with at once, before it is known in which chunk the poison is.
CHUNK = 25
#: Characters of what went wrong that are kept.
MOST_ERROR = 2_000
#: How long a trial is remembered without a further try, s.
KEPT_SECONDS = 24 * 3600


class Trial:
    """The trial of one stage of one group. Kept in Valkey: what is lost with it is only how often was tried."""

    def __init__(self, client: redis.Redis, stage: str, group: str) -> None:
        self._client = client
        self._key = lua.trial(stage, group)
        self._suspects = self._singles = 0

    def begin(self, batch_size: int) -> None:
        """Count a drain that begins. If the one before did not end well, it is narrowed down."""
        answer = lua.run(self._client, "begin_trial", [self._key], [batch_size, CHUNK, KEPT_SECONDS])
        self._suspects, self._singles = int(answer[0]), int(answer[1])

    @property
    def single(self) -> bool:
        """Whether the next event is to be dealt with by itself."""
        return self._singles > 0

    def limit(self, batch_size: int) -> int:
        """How many events may be dealt with at once."""
        if self.single:
            return 1
        return min(CHUNK, batch_size) if self._suspects > 0 else batch_size

    def attempt(self, position: str) -> int:
        """Count an attempt at the one event at `position`, before the work.

        Returns:
            How often it was attempted, this time included.
        """
        return int(lua.run(self._client, "attempt", [self._key], [position]))

    def passed(self, events: int) -> None:
        """Events were dealt with, or buried."""
        if self._suspects > 0:
            self._suspects -= events
            self._singles -= events
            self._client.hset(self._key, mapping={"suspects": self._suspects, "singles": self._singles})

    def failed(self, error: str) -> None:
        """The work failed: keep why, for the dead letter. What others raise may quote the event, and at any length."""
        self._client.hset(self._key, "error", redact_raw(error.encode("utf-8", "replace"))[:MOST_ERROR])

    def excused(self, *, paused: bool = False) -> None:
        """The work could not be done, for a reason that is no event's fault: it does not count.

        Args:
            paused: nothing was wrong either, it was only too early.
        """
        try:
            lua.run(self._client, "end_trial", [self._key], ["paused" if paused else "excused", KEPT_SECONDS])
        except RedisError as error:
            log.warning("an attempt is counted that should not be key=%s: %s", self._key, type(error).__name__)

    def ended(self, caught_up: bool) -> None:
        """The drain ended well; where it has caught up with all events, none is suspect any more."""
        lua.run(self._client, "end_trial", [self._key], ["caught up" if caught_up else "turn over", KEPT_SECONDS])

    def left_by(self) -> str:
        """What the last drain left: "died", "failed", "rested" while a server was away, "paused", or nothing: ""."""
        is_open, error, rested = self._client.hmget(self._key, "open", "error", "rested")
        if is_open == b"1":
            return "failed" if error else "died"
        return ("paused" if rested == b"paused" else "rested") if rested else ""

    def error(self) -> str:
        """What went wrong at the last attempt."""
        found = self._client.hget(self._key, "error")
        return found.decode() if found else "the worker died while it worked on this event"
