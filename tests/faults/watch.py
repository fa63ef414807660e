"""How long lanes with work sleep: looked at from outside, many times a second, whatever the workers say."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select

from memory import lua
from memory.ledger import Ledger, LedgerUnavailable

#: Pause between two looks, s.
EVERY_SECONDS = 0.1


@dataclass
class Fault:
    """Something that was done to the system, and how long the lanes that had work then took to go on."""

    what: str
    since: float
    recovered: float | None = None
    #: Lanes that have not gone on yet, by their oldest entry.
    stuck: dict[str, bytes] = field(default_factory=dict)


class Watch:
    """While it is entered: the longest sleep of a lane, which is the longest time for which it held events while no worker
    held its lease and no wake-up for it waited in Celery's list, or was announced less than five seconds ago.

    A lease is held until it runs out, also by a worker that has died: how long it was since a living one held it is told,
    too. So is how long the oldest event of a lane waited: most of that is not sleep but waiting for a turn.

    While the queue or the ledger is away nobody can work: all is counted from when both are back.
    """

    def __init__(self, queue_url: str, database_url: str, groups: Sequence[str], lease_seconds: float) -> None:
        #: The longest sleep of a lane, s, and which it was.
        self.longest, self.lane = 0.0, ""
        #: The longest that no living worker held the lease of a lane with work, and no wake-up was under way, s.
        self.longest_alone, self.alone = 0.0, ""
        #: The longest that an event was in its lane, by the queue server's clock, s, and in which.
        self.longest_wait, self.waiting = 0.0, ""
        #: Who held the lease before the longest sleep: seconds before its end, and what the lease said.
        self.story: list[str] = []
        self.faults: list[Fault] = []
        self._groups = groups
        self._lease_seconds = lease_seconds
        self._queue = redis.Redis.from_url(
            queue_url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )
        self._ledger = Ledger(database_url)
        #: By lane: when it was last seen awake, or empty.
        self._awake: dict[str, float] = {}
        #: By lane: when it was last seen empty, with a wake-up under way, or in the hands of a living worker.
        self._cared_for: dict[str, float] = {}
        self._leases: dict[str, list[tuple[float, bytes | None]]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def fault(self, what: str) -> Fault:
        """Note that something was just done to the system."""
        made = Fault(what, time.monotonic())
        self.faults.append(made)
        return made

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._queue.close()
        self._ledger.close()

    def _run(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            try:
                self._look()
            except (redis.RedisError, LedgerUnavailable):
                self._awake, self._cared_for = {}, {}

    def _look(self) -> None:
        with self._queue.pipeline(transaction=False) as pipeline:
            for group in self._groups:
                # The lease first: who is seen to have let go has left in the lane what is seen there.
                pipeline.get(lua.lease("record", group))
                pipeline.pttl(lua.lease("record", group))
                pipeline.xrange(lua.lane(group), count=1)
            pipeline.lrange(lua.PREFIX + "record", 0, -1)
            pipeline.time()
            *found, wake_ups, (seconds, microseconds) = pipeline.execute()
        with self._ledger.read() as connection:
            # Only whether it is there.
            connection.execute(select(1))
        now, clock, in_line = time.monotonic(), seconds + microseconds / 1e6, b" ".join(wake_ups)
        oldest: dict[str, bytes] = {}
        for group, held, left, entries in zip(self._groups, found[::3], found[1::3], found[2::3], strict=True):
            self._note_lease(group, held, now)
            awake = held not in (None, b"resting") or f"['{group}']".encode() in in_line
            # The holder sets the lease's whole time again and again: what is gone of it is how long ago it did.
            renewed = now - (self._lease_seconds - left / 1000) if awake and held not in (None, b"queued") else now
            if entries:
                oldest[group] = entries[0][0]
                self._note_wait(group, clock - int(oldest[group].split(b"-")[0]) / 1000)
            self._note_sleep(group, not entries or awake, now)
            self._note_alone(group, not entries or awake, renewed if entries else now, now)
        for fault in self.faults:
            if fault.recovered is None:
                _follow(fault, oldest, now)

    def _note_lease(self, group: str, held: bytes | None, now: float) -> None:
        told = self._leases.setdefault(group, [])
        if not told or told[-1][1] != held:
            told.append((now, held))
            del told[:-50]

    def _note_wait(self, group: str, seconds: float) -> None:
        if seconds > self.longest_wait:
            self.longest_wait, self.waiting = seconds, group

    def _note_sleep(self, group: str, awake: bool, now: float) -> None:
        if awake or group not in self._awake:
            self._awake[group] = now
        slept = now - self._awake[group]
        if slept > self.longest:
            self.longest, self.lane = slept, group
            self.story = [
                f"{now - at:.1f} s before: {held.decode() if held else 'nobody'}"
                for at, held in self._leases[group]
                if now - at < slept + 15
            ]

    def _note_alone(self, group: str, awake: bool, last: float, now: float) -> None:
        known = self._cared_for.setdefault(group, now)
        self._cared_for[group] = max(known, last) if awake else known
        if now - self._cared_for[group] > self.longest_alone:
            self.longest_alone, self.alone = now - self._cared_for[group], group


def _follow(fault: Fault, oldest: dict[str, bytes], now: float) -> None:
    """See which lanes have gone on since the fault; those that had work at the first look after it count."""
    if not fault.stuck:
        fault.stuck = dict(oldest)
    else:
        fault.stuck = {group: entry for group, entry in fault.stuck.items() if oldest.get(group) == entry}
    if not fault.stuck:
        fault.recovered = now - fault.since
