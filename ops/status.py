"""How the system is: the books of each group and stage, the lanes, the workers.

The books say that what was captured is accounted for:
`captured = recorded + duplicates + pending + spooled + dead + refused + lost` for each group, and
`interest = done + pending + dead` for each of its stages. Each term is counted on its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import redis

from memory import lua
from memory.ledger import Ledger, books, spending
from memory.settings import settings
from ops.home import Home
from workers.stages import STAGES

#: The terms are read one after the other while events flow: an imbalance counts once it was seen this many times.
LOOKS = 4
#: Pause between two looks, s.
PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """The books of one group, in events, and its cache's counters. `forgotten` ones are among the recorded."""

    group: str
    captured: int
    recorded: int
    duplicates: int
    pending: int
    spooled: int
    dead: int
    refused: int
    lost: int
    forgotten: int
    stages: list[books.StageBooks]
    cache_hits: int
    cache_misses: int

    @property
    def off_by(self) -> int:
        """Events that the books miss (above zero) or have too many (below)."""
        accounted = self.recorded + self.duplicates + self.pending + self.spooled + self.dead + self.refused + self.lost
        return self.captured - accounted

    @property
    def balanced(self) -> bool:
        return self.off_by == 0 and all(s.interest == s.done + s.pending + s.dead for s in self.stages)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The language model, or the embedding model, and what it took today (UTC), in tokens."""

    #: None where none is set up, as far as this process knows.
    name: str | None
    #: Why it is not asked for now; empty if it is.
    away: str
    #: That a group may use; 0: without limit.
    tokens_a_day: int
    #: By group and stage: `calls`, `tokens_in`, `tokens_out`.
    today: list[dict[str, Any]]

    @property
    def used_up(self) -> list[str]:
        """Groups that have used up their tokens: their stages go on tomorrow."""
        spent: Counter[str] = Counter()
        for each in self.today:
            spent[each["group"]] += each["tokens_in"] + each["tokens_out"]
        return sorted(group for group, tokens in spent.items() if self.tokens_a_day and tokens >= self.tokens_a_day)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole system. Sizes in bytes, ages in seconds."""

    queue: dict[str, Any]
    ledger: str
    groups: list[GroupStatus]
    recovered: dict[str, int]
    discarded: dict[str, int]
    hooks: dict[str, dict[str, int]]
    model: ModelStatus
    embedding: ModelStatus

    @property
    def balanced(self) -> bool:
        return all(group.balanced for group in self.groups)

    def as_json(self) -> dict[str, Any]:
        """What `memlane status --json` prints; its schema is docs/cli/status.schema.json."""
        return {
            "balanced": self.balanced,
            "queue": self.queue,
            "ledger": self.ledger,
            "recovered": self.recovered,
            "discarded": self.discarded,
            "hooks": self.hooks,
            "model": {**asdict(self.model), "used_up": self.model.used_up},
            "embedding": {**asdict(self.embedding), "used_up": self.embedding.used_up},
            "stages": self._stages(),
            "groups": [{**asdict(group), "off_by": group.off_by, "balanced": group.balanced} for group in self.groups],
        }

    def _stages(self) -> list[dict[str, Any]]:
        behind = [name for name, stage in STAGES.items() if name != "record" and stage.on]
        totals: dict[str, Counter[str]] = {name: Counter() for name in behind}
        for group in self.groups:
            for stage in group.stages:
                totals[stage.stage].update(
                    interest=stage.interest, done=stage.done, pending=stage.pending, dead=stage.dead
                )
        terms = ("interest", "done", "pending", "dead")
        return [{"stage": name, **{term: total[term] for term in terms}} for name, total in totals.items()]


def look(client: redis.Redis, home: Home, ledger: Ledger, group: str | None = None) -> Status:
    """The status of all groups, or of one; looked at again for a second while events flow and books don't balance.

    What this home knows is first reported to the queue server: see `Home.report`.

    Raises:
        redis.RedisError, LedgerUnavailable
    """
    for left in reversed(range(LOOKS)):
        with ledger.read() as connection:
            home.report(client, connection)
        found = _look(client, home, ledger, group)
        if found.balanced or not left:
            break
        time.sleep(PAUSE_SECONDS)
    return found


def _look(client: redis.Redis, home: Home, ledger: Ledger, only: str | None) -> Status:
    with ledger.read() as connection:
        known = set(books.groups(connection))
    told = (*client.zrange(lua.PENDING, 0, -1), *client.smembers(lua.GROUPS))
    waiting = {group.decode("utf-8", "replace") for group in told}
    groups = sorted({only} if only else known | waiting | home.groups)
    return Status(
        queue=_queue(client, home.address),
        ledger=ledger.address,
        groups=[_group(client, home, ledger, group) for group in groups],
        recovered=_counters(client, lua.RECOVERED),
        discarded=_counters(client, lua.DISCARDED),
        hooks=_hooks(client),
        **_models(client, ledger, only),
    )


def _queue(client: redis.Redis, address: str) -> dict[str, Any]:
    memory: dict[str, Any] = client.info("memory")
    seconds, microseconds = client.time()
    oldest = client.zrange(lua.PENDING, 0, 0, withscores=True)
    age = seconds + microseconds / 1e6 - oldest[0][1] / 1000 if oldest else 0.0
    return {
        "address": address,
        "used_memory": memory["used_memory"],
        "maxmemory": memory["maxmemory"],
        "pending_groups": client.zcard(lua.PENDING),
        "oldest_age": round(max(0.0, age), 3),
    }


def _group(client: redis.Redis, home: Home, ledger: Ledger, group: str) -> GroupStatus:
    counters = _counters(client, lua.captured(group))
    refused = counters.pop("refused", 0)
    cache = _counters(client, lua.recall_counters(group))
    spooled = home.spooled(client, group)
    with ledger.read() as connection:
        found = books.of_group(connection, group)
        last = books.last_stream_id(connection, group)
        stages = [
            books.of_stage(connection, stage.name, group, stage.types)
            for stage in STAGES.values()
            if stage.name != "record" and stage.on
        ]
    # Entries that the ledger has, but that a worker has not yet deleted from the lane, are not pending.
    left_over = len(client.xrange(lua.lane(group), "-", last)) if last else 0
    accepted = {name: max(counters.get(name, 0), found.captured.get(name, 0)) for name in counters | found.captured}
    return GroupStatus(
        group=group,
        captured=sum(accepted.values()) + spooled + refused,
        recorded=found.recorded,
        duplicates=found.duplicates,
        pending=int(client.xlen(lua.lane(group))) - left_over,
        spooled=spooled,
        dead=found.dead,
        refused=refused,
        lost=found.lost,
        forgotten=found.forgotten,
        stages=stages,
        cache_hits=cache.get("hits", 0),
        cache_misses=cache.get("misses", 0),
    )


def _models(client: redis.Redis, ledger: Ledger, only: str | None) -> dict[str, ModelStatus]:
    options = settings()
    with ledger.read() as connection:
        today = spending.on(connection, spending.day_of(datetime.now(UTC)))

    def of(name: str | None, limit: int, stages: Collection[str], *away: str) -> ModelStatus:
        return ModelStatus(
            name=name,
            away=next((why.decode("utf-8", "replace") for why in client.mget(away) if why), ""),
            tokens_a_day=limit,
            today=[
                {"group": group, "stage": stage, **counts}
                for group, found in today.items()
                if only in (None, group)
                for stage, counts in found.items()
                if stage in stages
            ],
        )

    model = options.llm_model if options.llm else None
    embedding, limit = options.embedding_model if options.embeddings else None, options.embedding_tokens_a_day
    return {
        "model": of(model, options.llm_tokens_a_day, spending.MODEL, lua.MODEL_AWAY),
        "embedding": of(embedding, limit, spending.EMBEDDING, lua.EMBEDDING_AWAY, lua.QUESTION_AWAY),
    }


def _hooks(client: redis.Redis) -> dict[str, dict[str, int]]:
    """How often each hook of a plugin was done, and failed, in workers."""
    hooks: dict[str, dict[str, int]] = {}
    for name, count in _counters(client, lua.PLUGINS).items():
        hook, _, became = name.rpartition(":")
        hooks.setdefault(hook, {"done": 0, "failed": 0})[became] = count
    return hooks


def _counters(client: redis.Redis, key: str) -> dict[str, int]:
    """A hash of counters."""
    found: dict[bytes, bytes] = client.hgetall(key)
    return {name.decode("utf-8", "replace"): int(count) for name, count in sorted(found.items())}
