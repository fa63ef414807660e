"""The sweep: whatever has work, but no worker and no wake-up, is woken. It heals lost rings, lost wake-ups, leases of
dead workers, and lanes that `pending` has lost."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import redis

from memory import lua
from memory.events import GROUP_PATTERN
from memory.ledger import cursors, generations
from memory.settings import settings
from workers import resources
from workers.app import app
from workers.stage import drain
from workers.trial import Trial
from workers.wake import NoRoom, wake

log = logging.getLogger(__name__)

#: Most groups that are woken for one stage in one round; the next round goes on behind them.
MOST = 500
#: Most lanes that are compared with `pending` in one round.
MOST_LANES = 1_000
#: A lane is left to its own ring, and a stage to its own wake-up, for this long, ms.
GRACE_MS = 1_000
#: How often the gauges are sent to Datadog, s.
GAUGES_SECONDS = 10


_GROUP = re.compile(GROUP_PATTERN)


class Recovery(StrEnum):
    """Kinds of recovery, by what was wrong."""

    #: A ring or a wake-up was lost, or waited for so long that it was taken for lost.
    WAKE_UP_LOST = "wake-up-lost"
    #: A worker died, hung or was stopped in the middle of its work, and its lease ran out.
    LEASE_EXPIRED = "lease-expired"
    #: A batch or an event had failed, and is tried again.
    FAILED = "failed"
    #: A server that the stage needs was away, and it is tried again.
    RESTED = "rested"
    #: A lane held events though `pending` did not name it.
    LANE_NOT_PENDING = "lane-not-pending"
    #: Celery could not be told, since the queue server is at its memory limit: the sweep drained the lane itself.
    DRAINED_HERE = "drained-here"
    #: The queue server was started anew, failed over or wiped, and no event came since: what is lost is to be counted.
    NEW_GENERATION = "new-generation"


@dataclass
class Report:
    """What one sweep has done."""

    #: Groups woken, by stage.
    woken: dict[str, list[str]] = field(default_factory=dict)
    #: How many recoveries of each kind that was.
    recovered: Counter[Recovery] = field(default_factory=Counter)


def sweep() -> Report | None:
    """One round; None where another dispatcher has just done it.

    Raises:
        redis.RedisError, LedgerUnavailable: lanes are compared first, so that they are woken also without the ledger.
    """
    from workers.stage import Follower
    from workers.stages import STAGES

    client = resources.valkey()
    if not _is_due(client, lua.SWEEP, settings().sweep_seconds - 0.1):
        return None
    report, rounds = Report(), _Rounds(client)
    _wake("record", rounds.pending(), report)
    generation = lua.generation(client)
    with resources.ledger().read() as connection:
        lanes = rounds.page("lanes", MOST_LANES, partial(cursors.groups, connection, MOST_LANES))
        closing = rounds.page("closing", MOST, partial(generations.groups_to_close, connection, generation, MOST))
        behind = {
            stage.name: rounds.page(stage.name, MOST, partial(stage.behind, connection, MOST))
            for stage in STAGES.values()
            if isinstance(stage, Follower) and stage.on
        }
    _wake("record", _lost(client, lanes), report, Recovery.LANE_NOT_PENDING)
    _wake("record", closing, report, Recovery.NEW_GENERATION)
    for name, groups in behind.items():
        _wake(name, groups, report)
    rounds.keep()
    for kind, count in report.recovered.items():
        log.warning("sweep recovered kind=%s count=%s", kind, count)
        client.hincrby(lua.RECOVERED, kind, count)
    if _is_due(client, lua.PREFIX + "gauges", GAUGES_SECONDS):
        app.send_task("memlane.gauges", queue="telemetry")
    return report


class _Rounds:
    """Where each round goes on, so that what can't be woken does not keep the rest from being looked at."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        found: dict[bytes, bytes] = client.hgetall(lua.SWEPT)
        self._after = {what.decode(): mark.decode() for what, mark in found.items()}
        self._kept = dict(self._after)

    def pending(self) -> list[str]:
        """The next lanes in `pending`, oldest first, that were left to their own rings long enough."""
        seconds, microseconds = self._client.time()
        before = seconds * 1000 + microseconds // 1000 - GRACE_MS
        start = int(self._after.get("pending") or 0)
        found = self._client.zrangebyscore(lua.PENDING, 0, before, start=start, num=MOST)
        self._after["pending"] = str(start + MOST) if len(found) == MOST else ""
        # Whoever may publish may write there: what is no group's name is removed.
        names = [group.decode("utf-8", "replace") for group in found]
        if strange := [raw for raw, name in zip(found, names, strict=True) if not _GROUP.fullmatch(name)]:
            self._client.zrem(lua.PENDING, *strange)
        return [name for name in names if _GROUP.fullmatch(name)]

    def page(self, what: str, most: int, find: Callable[[str], list[str]]) -> list[str]:
        """The next groups, at most `most`, that `find` gives behind the last one of the round before."""
        groups = find(self._after.get(what, ""))
        self._after[what] = groups[-1] if len(groups) == most else ""
        return groups

    def keep(self) -> None:
        """Let the next round go on from here."""
        changed = {what: mark for what, mark in self._after.items() if mark != self._kept.get(what, "")}
        if changed:
            self._client.hset(lua.SWEPT, mapping=changed)


def _lost(client: redis.Redis, groups: Sequence[str]) -> list[str]:
    """Those of the groups whose lane holds events though it isn't in `pending`; it is put back there."""
    with client.pipeline(transaction=False) as pipeline:
        for group in groups:
            pipeline.xlen(lua.lane(group))
            pipeline.zscore(lua.PENDING, group)
        found = pipeline.execute()
    lost = [group for group, events, since in zip(groups, found[::2], found[1::2], strict=True) if events and not since]
    # Acknowledging nothing brings `pending` up to date, in one step with a look at the lane.
    return [group for group in lost if lua.run(client, "ack", [lua.lane(group), lua.PENDING], [group])]


def _wake(stage: str, groups: Sequence[str], report: Report, kind: Recovery | None = None) -> None:
    """Wake groups, if nobody is at them. Of what kind the recovery is is found out where it is not known."""
    from workers.stages import STAGES

    for group in groups:
        left_by = Trial(resources.valkey(), stage, group).left_by()
        try:
            if not wake(stage, group):
                continue
        except NoRoom:
            # Celery can't be told. Working off lanes is what makes room, so it is done here.
            if stage != "record":
                return
            drain(STAGES[stage], group)
            report.recovered[Recovery.DRAINED_HERE] += 1
            continue
        report.woken.setdefault(stage, []).append(group)
        if left_by == "paused":
            continue  # as it wanted to be: nothing was recovered
        found = kind or _LEFT_BY.get(left_by) or (Recovery.WAKE_UP_LOST if _overdue(stage, group) else None)
        if found:
            report.recovered[found] += 1


#: What a drain left behind, and the kind of recovery that waking the stage is then.
_LEFT_BY = {"died": Recovery.LEASE_EXPIRED, "failed": Recovery.FAILED, "rested": Recovery.RESTED}


def _overdue(stage: str, group: str) -> bool:
    """Whether a stage should have been woken before: its events may just have come, or be of no interest to it, so that
    only the sweep moves its cursor past them."""
    from workers.stage import Follower
    from workers.stages import STAGES

    follower = STAGES[stage]
    if not isinstance(follower, Follower):
        return True  # `_Rounds.pending` leaves out lanes whose events have just come
    with resources.ledger().read() as connection:
        since = cursors.waiting_since(connection, stage, follower.follows, group, follower.types)
    return since is not None and time.time() * 1000 - since > GRACE_MS


def _is_due(client: redis.Redis, key: str, seconds: float) -> bool:
    """Whether what this key stands for was last done that long ago, by whichever dispatcher. Not by SET: the script
    runs at the memory limit, too."""
    return bool(lua.run(client, "take_lease", [key], ["done", max(int(seconds * 1000), 100)]))
