"""The circuit breaker: after some failures in a row nobody asks the model for a while, so that nothing waits for it.

It is kept in Valkey, where all workers see it; what is lost with it is only a wait. After the while one asks again, and
if that fails, too, the next while is twice as long.
Source of the idea: Nygard, "Release It!" (2007), circuit breaker.
"""

from __future__ import annotations

import redis

from memory import lua
from memory.llm.errors import ModelAway

#: Failures in a row after which it opens.
FAILURES = 3
#: The longest while, in times the first one.
LONGEST = 16
#: How long failures are remembered after the last one, in the same.
REMEMBERED = 2 * LONGEST


class Breaker:
    """One for all that ask the same model for the same."""

    def __init__(
        self, client: redis.Redis, seconds: float, away: str = lua.MODEL_AWAY, failures: str = lua.MODEL_FAILURES
    ) -> None:
        """
        Args:
            seconds: how long nobody asks, at first.
            away, failures: where it is kept.
        """
        self._client = client
        self._seconds = seconds
        self._away, self._failures = away, failures

    def check(self) -> None:
        """
        Raises:
            ModelAway: it is open.
        """
        left, why = self._client.pttl(self._away), self._client.get(self._away)
        if left > 0 and why:
            raise ModelAway(f"{why.decode()}; it is asked again in {left / 1000:.0f} s")

    def answered(self) -> None:
        """It answered: failures so far count no more."""
        self._client.delete(self._failures, self._away)

    def failed(self, why: str) -> None:
        """It did not answer, or not as it should."""
        failures = int(self._client.incr(self._failures))
        self._client.pexpire(self._failures, int(self._seconds * 1000 * REMEMBERED))
        if failures >= FAILURES:
            times = min(2 ** (failures - FAILURES), LONGEST)
            self._client.set(self._away, why, px=max(1, int(self._seconds * 1000 * times)))
