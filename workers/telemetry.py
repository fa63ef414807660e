"""Stage `telemetry`: what agents did and how the pipeline is, to Datadog by DogStatsD.

Metrics are sent after the cursor's commit, so at most once. Where the agent listens is Datadog's own environment:
`DD_AGENT_HOST`, `DD_DOGSTATSD_PORT` or `DD_DOGSTATSD_URL` (default udp://localhost:8125).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import redis

from memory import lua
from memory.events import Event
from memory.ledger import spending
from memory.ledger.books import groups, lag, of_group
from memory.ledger.log import Slice
from memory.privacy import redact_text
from memory.settings import settings
from workers import resources
from workers.stage import Follower

if TYPE_CHECKING:
    from workers.statsd import Statsd

#: Text of an error event in Datadog is cut to this many UTF-8 bytes: it refuses more than 8 KiB in all.
EVENT_TEXT_BYTES = 1_000


class Telemetry(Follower):
    name = queue = "telemetry"

    types = frozenset({"error", "completion"})

    def after(self, group: str, events: Slice) -> None:
        if not settings().datadog:
            return
        tags = [f"group:{group}"]
        tokens = 0
        for event in events.events:
            if event.type == "completion":
                tokens += event.data.get("tokens") or 0
            elif event.type == "error":
                _error(event, tags)
        if tokens:
            _statsd().increment("opencode.tokens.used", tokens, tags=tags)


def gauges() -> None:
    """Send how the pipeline is: lanes, stages, cache. Called on a timer by one worker."""
    from workers.stages import STAGES

    if not settings().datadog:
        return
    client, statsd = resources.valkey(), _statsd()
    seconds, microseconds = client.time()
    now = seconds * 1000 + microseconds // 1000
    oldest = client.zrange(lua.PENDING, 0, 0, withscores=True)
    statsd.gauge("memlane.lane.oldest_age", max(0.0, (now - oldest[0][1]) / 1000) if oldest else 0.0)
    statsd.gauge("memlane.lane.pending_groups", client.zcard(lua.PENDING))
    with resources.ledger().read() as connection:
        known = groups(connection)
        today = spending.on(connection, spending.day_of(datetime.now(UTC)))
        pending = lag(
            connection,
            {stage.name: stage.follows for stage in STAGES.values() if isinstance(stage, Follower) and stage.on},
        )
    for kind, count in client.hgetall(lua.RECOVERED).items():
        statsd.gauge("memlane.recovered", int(count), tags=[f"kind:{kind.decode()}"])
    for queue, count in client.hgetall(lua.DISCARDED).items():
        statsd.gauge("memlane.discarded", int(count), tags=[f"queue:{queue.decode()}"])
    statsd.gauge("memlane.model.away", int(client.exists(lua.MODEL_AWAY)))
    statsd.gauge("memlane.embedding.away", int(client.exists(lua.EMBEDDING_AWAY, lua.QUESTION_AWAY) > 0))
    for group, stages in today.items():
        for name, counts in stages.items():
            for way in ("in", "out"):
                tags = [f"group:{group}", f"stage:{name}", f"way:{way}"]
                statsd.gauge("memlane.model.tokens_today", counts[f"tokens_{way}"], tags=tags)
    for name, count in pending.items():
        statsd.gauge("memlane.stage.pending", count, tags=[f"stage:{name}"])
    for group in known:
        tags = [f"group:{group}"]
        for term, count in _books(client, group).items():
            statsd.gauge(f"memlane.books.{term}", count, tags=tags)
        hits, misses = lua.run(client, "unsent", [lua.recall_counters(group)], [])
        if hits:
            statsd.increment("opencode.memory.cache_hit", hits, tags=tags)
        if misses:
            statsd.increment("opencode.memory.cache_miss", misses, tags=tags)


def _books(client: redis.Redis, group: str) -> dict[str, int]:
    """The terms of a group's books, as `memlane status` shows them; `spooled` as far as producers have told."""
    counters = {name.decode(): int(count) for name, count in client.hgetall(lua.captured(group)).items()}
    refused = counters.pop("refused", 0)
    told: dict[bytes, bytes] = client.hgetall(lua.spools(group))
    spooled = sum(int(count) for name, count in told.items() if name.endswith(b":waiting"))
    with resources.ledger().read() as connection:
        found = of_group(connection, group, quick=True)
    accepted = [max(counters.get(name, 0), found.captured.get(name, 0)) for name in counters | found.captured]
    return {
        "captured": sum(accepted) + spooled + refused,
        "recorded": found.recorded,
        "duplicates": found.duplicates,
        "pending": int(client.xlen(lua.lane(group))),
        "spooled": spooled,
        "dead": found.dead,
        "refused": refused,
        "lost": found.lost,
    }


def _error(event: Event, tags: list[str]) -> None:
    """The one place where content of an event leaves for Datadog; `Settings.datadog_error_text` closes it."""
    name, severity = _short(event.data.get("name") or "error"), _short(event.data.get("severity"))
    text = _short(event.data.get("message")) if settings().datadog_error_text else ""
    _statsd().event(
        "OpenCode Error",
        text or (f"{name} ({severity})" if severity else name),
        alert_type="error",
        # One incident in Datadog for the same error of a group, however often it happens.
        aggregation_key=hashlib.sha256(f"{event.group}:{name}:{text[:200]}".encode()).hexdigest()[:32],
        date_happened=int(event.time.timestamp()),
        source_type_name="opencode",
        tags=tags,
    )


def _short(content: object) -> str:
    """Text of an event as it may be sent. Redacted before it is cut: half a secret is not recognised as one."""
    text = redact_text("" if content is None else str(content))
    return text.encode("utf-8")[:EVENT_TEXT_BYTES].decode("utf-8", "ignore")


@resources.one_a_process
def _statsd() -> Statsd:
    """The client: one a process, since it may not be shared across a fork."""
    from workers.statsd import Statsd

    return Statsd()
