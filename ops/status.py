"""How the system is: the books of each group and stage, the lanes, the workers.

The books say that what was captured is accounted for: `captured = recorded + duplicates + pending + dead + refused`
for each group, and `interest = done + pending + dead` for each of its stages. Each term is counted on its own.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import redis

from memory import lua
from memory.ledger import Ledger, books
from producers.address import without_password
from workers.stages import STAGES

#: The terms are read one after the other while events flow: an imbalance counts once it was seen this many times.
LOOKS = 4
#: Pause between two looks, s.
PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """The books of one group, in events, and its cache's counters."""

    group: str
    captured: int
    recorded: int
    duplicates: int
    pending: int
    dead: int
    refused: int
    stages: list[books.StageBooks]
    cache_hits: int
    cache_misses: int

    @property
    def off_by(self) -> int:
        """Events that the books miss (above zero) or have too many (below)."""
        return self.captured - self.recorded - self.duplicates - self.pending - self.dead - self.refused

    @property
    def balanced(self) -> bool:
        return self.off_by == 0 and all(s.interest == s.done + s.pending + s.dead for s in self.stages)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole system. Sizes in bytes, ages in seconds."""

    queue: dict[str, Any]
    ledger: str
    groups: list[GroupStatus]

    @property
    def balanced(self) -> bool:
        return all(group.balanced for group in self.groups)

    def as_json(self) -> dict[str, Any]:
        """What `memlane status --json` prints; its schema is docs/cli/status.schema.json."""
        return {
            "balanced": self.balanced,
            "queue": self.queue,
            "ledger": self.ledger,
            "stages": self._stages(),
            "groups": [{**asdict(group), "off_by": group.off_by, "balanced": group.balanced} for group in self.groups],
        }

    def _stages(self) -> list[dict[str, Any]]:
        totals: dict[str, Counter[str]] = {name: Counter() for name in STAGES if name != "record"}
        for group in self.groups:
            for stage in group.stages:
                totals[stage.stage].update(
                    interest=stage.interest, done=stage.done, pending=stage.pending, dead=stage.dead
                )
        terms = ("interest", "done", "pending", "dead")
        return [{"stage": name, **{term: total[term] for term in terms}} for name, total in totals.items()]


def look(client: redis.Redis, address: str, ledger: Ledger, group: str | None = None) -> Status:
    """The status of all groups, or of one; looked at again for a second while events flow and books don't balance.

    Raises:
        redis.RedisError, LedgerUnavailable
    """
    for left in reversed(range(LOOKS)):
        found = _look(client, address, ledger, group)
        if found.balanced or not left:
            break
        time.sleep(PAUSE_SECONDS)
    return found


def _look(client: redis.Redis, address: str, ledger: Ledger, only: str | None) -> Status:
    with ledger.read() as connection:
        known = set(books.groups(connection))
    waiting = {group.decode() for group in client.zrange(lua.PENDING, 0, -1)}
    groups = sorted({only} if only else known | waiting)
    return Status(_queue(client, address), ledger.address, [_group(client, ledger, group) for group in groups])


def _queue(client: redis.Redis, address: str) -> dict[str, Any]:
    memory: dict[str, Any] = client.info("memory")
    seconds, microseconds = client.time()
    oldest = client.zrange(lua.PENDING, 0, 0, withscores=True)
    age = seconds + microseconds / 1e6 - oldest[0][1] / 1000 if oldest else 0.0
    return {
        "address": without_password(address),
        "used_memory": memory["used_memory"],
        "maxmemory": memory["maxmemory"],
        "pending_groups": client.zcard(lua.PENDING),
        "oldest_age": round(max(0.0, age), 3),
    }


def _group(client: redis.Redis, ledger: Ledger, group: str) -> GroupStatus:
    captured: dict[bytes, bytes] = client.hgetall(lua.captured(group))
    cache: dict[bytes, bytes] = client.hgetall(lua.recall_counters(group))
    with ledger.read() as connection:
        found = books.of_group(connection, group)
        last = books.last_stream_id(connection, group)
        stages = [
            books.of_stage(connection, stage.name, group, stage.types)
            for stage in STAGES.values()
            if stage.name != "record"
        ]
    # Entries that the ledger has, but that a worker has not yet deleted from the lane, are not pending.
    left_over = len(client.xrange(lua.lane(group), "-", last)) if last else 0
    return GroupStatus(
        group=group,
        captured=int(captured.get(b"captured", 0)),
        recorded=found.recorded,
        duplicates=found.duplicates,
        pending=int(client.xlen(lua.lane(group))) - left_over,
        dead=found.dead,
        refused=int(captured.get(b"refused", 0)),
        stages=stages,
        cache_hits=int(cache.get(b"hits", 0)),
        cache_misses=int(cache.get(b"misses", 0)),
    )
