"""The sweep: whatever has work, but no worker and no wake-up, is woken. It heals lost rings, lost wake-ups and leases
of dead workers."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from memory import lua
from memory.ledger import cursors
from memory.settings import settings
from workers import resources
from workers.app import app
from workers.wake import wake

log = logging.getLogger(__name__)

#: Most groups woken for one stage in one round; the next round goes on.
MOST = 200
#: A lane is left to its own ring for this long, ms.
GRACE_MS = 1_000
#: How often the gauges are sent to Datadog, s.
GAUGES_SECONDS = 10


@dataclass
class Report:
    """What one sweep has woken: stage to number of groups."""

    woken: dict[str, int] = field(default_factory=dict)


def sweep() -> Report | None:
    """One round; None where another dispatcher has just done it.

    Raises:
        redis.RedisError, LedgerUnavailable: lanes are compared first, so that they are woken also without the ledger.
    """
    from workers.stages import STAGES, Follower

    client = resources.valkey()
    every_ms = int(settings().sweep_seconds * 1000)
    if not client.set(lua.SWEEP, "1", nx=True, px=max(every_ms - 100, 100)):
        return None
    report = Report()
    before = time.time() * 1000 - GRACE_MS
    _wake("record", [g.decode() for g in client.zrangebyscore(lua.PENDING, 0, before, start=0, num=MOST)], report)
    if client.set(lua.PREFIX + "gauges", "1", nx=True, ex=GAUGES_SECONDS):
        app.send_task("memlane.gauges", queue="telemetry")
    with resources.ledger().read() as connection:
        behind = {
            stage.name: cursors.behind(connection, stage.name, stage.follows, MOST)
            for stage in STAGES.values()
            if isinstance(stage, Follower)
        }
    for stage, groups in behind.items():
        _wake(stage, groups, report)
    if report.woken:
        log.info("sweep woke %s", " ".join(f"{stage}={count}" for stage, count in report.woken.items()))
    return report


def _wake(stage: str, groups: list[str], report: Report) -> None:
    woken = sum(wake(stage, group) for group in groups)
    if woken:
        report.woken[stage] = woken
