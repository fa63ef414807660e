"""Does everything flow: workers, lanes, stages, books."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator

import redis
from kombu.exceptions import OperationalError
from sqlalchemy import func, select

from memory import lua
from memory.ledger import Ledger
from memory.ledger.books import StageBooks
from memory.ledger.schema import stage_cursors
from ops.doctor.finding import Finding, failure, ok, warning
from ops.status import Status
from ops.text import counted
from producers.publisher import QueueUnavailable
from workers.app import QUEUES, app
from workers.stages import STAGES

#: A lane whose oldest event waits longer than this is behind, s.
SLOW_SECONDS = 15.0
#: What has work and does not move for this long is stuck, s.
STUCK_SECONDS = 3.0
#: Pause between two looks at the cursors, s.
LOOK_SECONDS = 0.25
#: How long workers may take to say what they serve, s.
ANSWER_SECONDS = 2.0
#: Groups that a message names.
NAMED = 3


def workers() -> Generator[Finding, None, set[str]]:
    """Does every worker answer, and is every queue served?

    Returns:
        The queues that some worker serves now.

    Raises:
        QueueUnavailable: the broker can't be used.
    """
    try:
        known = _registered()
        answers = app.control.inspect(timeout=ANSWER_SECONDS, limit=len(known) or None).active_queues() or {}
    except OperationalError as error:
        raise QueueUnavailable(f"Celery can't use the queue server: {error}") from error
    served = {queue["name"] for queues in answers.values() for queue in queues}
    if silent := sorted(known - set(answers)):
        message = f"no answer within {ANSWER_SECONDS:g} s from {', '.join(silent)}: hangs, or was killed"
        yield warning("workers", message, "see its log; end it with SIGKILL if it hangs, and start it again")
    if missing := [queue for queue in _needed() if queue not in served]:
        remedy = f"`memlane up` runs them all; by hand: celery -A workers.app worker -Q {','.join(missing)}"
        yield failure("workers", f"no worker serves: {', '.join(missing)}", remedy)
    elif not silent:
        yield ok("workers", f"{counted(len(answers), 'worker')}, every queue is served")
    return served


def _needed() -> list[str]:
    """Queues that somebody must serve: all but those of stages that are off."""
    off = {stage.queue for stage in STAGES.values() if not stage.on}
    return [queue for queue in QUEUES if queue not in off]


def lanes(queue: redis.Redis, ledger: Ledger | None, served: set[str]) -> Iterator[Finding]:
    """Do lanes come into the ledger?"""
    oldest = queue.zrange(lua.PENDING, 0, 0, withscores=True)
    if not oldest:
        yield ok("lanes", "all are drained")
        return
    seconds, microseconds = queue.time()
    group, age = oldest[0][0].decode(), max(0.0, seconds + microseconds / 1e6 - oldest[0][1] / 1000)
    if age < SLOW_SECONDS and "record" in served:
        yield ok("lanes", f"draining; the oldest event waits {age:.1f} s")
    elif "record" in served and ledger is not None and not _stuck(ledger, ["record"]):
        message = f"they drain, but more slowly than events come: the oldest one waits {age:.0f} s"
        yield warning("lanes", message, "start more workers with -Q record (`memlane up --workers 2`)")
    else:
        message = f"the lane of {group} has waited for {age:.0f} s: {_why(queue, 'record', group, served)}"
        yield failure("lanes", message, "see the log of the workers that serve record")


def stages(queue: redis.Redis, ledger: Ledger, status: Status, served: set[str]) -> Iterator[Finding]:
    """Does each stage get on that has something to do?"""
    waiting: dict[str, list[StageBooks]] = {}
    for stage in (stage for group in status.groups for stage in group.stages if stage.pending):
        waiting.setdefault(stage.stage, []).append(stage)
    stuck = _stuck(ledger, waiting)
    for name, groups in waiting.items():
        if getattr(STAGES[name], "follows", None) in waiting:
            continue  # it can't get on before that one does
        check, server = f"stage {name}", STAGES[name].queue
        events = counted(sum(group.pending for group in groups), "event")
        if name not in stuck:
            yield ok(check, f"at work, {events} to go")
            continue
        message = f"{events} of {counted(len(groups), 'group')} wait: {_why(queue, name, groups[0].group, served)}"
        remedy = f"see the log of the workers that serve {server}"
        if server not in served:
            remedy = f"start one: celery -A workers.app worker -Q {server}"
        yield failure(check, message, remedy)
    if not waiting:
        yield ok("stages", "all have dealt with everything")


def books(status: Status) -> Iterator[Finding]:
    """Is everything that was captured accounted for?"""
    off = [group.group for group in status.groups if not group.balanced]
    if not off:
        yield ok("books", "they balance")
        return
    names = ", ".join(off[:NAMED]) + (" …" if len(off) > NAMED else "")
    message = f"those of {counted(len(off), 'group')} do not balance: {names}"
    yield failure("books", message, "`memlane status` shows by how much; what is missing may be published again")


def _registered() -> set[str]:
    """Names of the workers that listen for commands, or did until they were killed."""
    with app.connection_for_read() as connection:
        table = connection.default_channel.get_table("celery.pidbox")
    return {queue.removesuffix(".celery.pidbox") for *_, queue in table}


def _stuck(ledger: Ledger, names: Collection[str]) -> set[str]:
    """Those of the stages that have work, and whose cursors do not move for a while."""
    before = _positions(ledger)
    stuck = set(names)
    end = time.monotonic() + STUCK_SECONDS
    while stuck and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        now = _positions(ledger)
        stuck = {name for name in stuck if now.get(name, 0) == before.get(name, 0)}
    return stuck


def _positions(ledger: Ledger) -> dict[str, int]:
    """For each stage, how many events it has passed, in all groups."""
    query = select(stage_cursors.c.stage, func.sum(stage_cursors.c.seq)).group_by(stage_cursors.c.stage)
    with ledger.read() as connection:
        return {stage: int(passed) for stage, passed in connection.execute(query)}


def _why(queue: redis.Redis, stage: str, group: str, served: set[str]) -> str:
    if STAGES[stage].queue not in served:
        return f"no worker serves the queue {STAGES[stage].queue}"
    lease = queue.get(lua.lease(stage, group))
    if lease == b"resting":
        return "a server that it needs was away, and it tries again by itself"
    if lease == b"queued":
        return "its wake-up waits for a free worker"
    if lease:
        return "a worker holds its lease: it works, hangs, or died a few seconds ago"
    return "its wake-up was lost, or it fails again and again; the next sweep wakes it"
