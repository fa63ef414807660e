"""What is wrong, in words, and what to do: the checks behind `memlane doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import redis
from redis.exceptions import RedisError

from memory import lua
from memory.ledger import Ledger, LedgerUnavailable, books, cursors, migrate
from memory.ledger.dead import letters
from memory.settings import NotConfigured, settings
from ops import clients
from producers.publisher import MEMORY_SHARE, QueueUnavailable
from workers.app import QUEUES, app
from workers.stage import Follower
from workers.stages import STAGES

#: A lane whose oldest event waits longer than this is not draining, s.
SLOW_SECONDS = 15.0
#: How long workers may take to say what they serve, s.
ANSWER_SECONDS = 2.0
#: Free disk space below this is too little, bytes.
DISK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `ok`, a `warning` to look at, or a `failure` because of which something does not work."""

    check: str
    state: Literal["ok", "warning", "failure"]
    message: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """All checks, one after the other; those that need a server that is away are left out."""
    yield _home()
    yield from _graph()
    try:
        with clients.queue() as queue:
            yield from _queue(queue)
            served = _served()
            yield from _workers(served)
            yield from _ledger(queue, served)
    except (NotConfigured, QueueUnavailable) as error:
        remedy = "start it with `memlane up`, or see that MEMLANE_VALKEY_URL is right"
        yield Finding("queue server", "failure", str(error), remedy)
        yield from _ledger(None, set())


def _home() -> Finding:
    home = settings().home
    if not home.exists():
        return Finding("home", "warning", f"{home} is not there yet", "`memlane up` makes it; or set MEMLANE_HOME")
    free = shutil.disk_usage(home).free
    if free < DISK_BYTES:
        message = f"only {free / 2**20:,.0f} MiB are free at {home}"
        return Finding("home", "failure", message, "make room: queue, ledger and graph are written there")
    return Finding("home", "ok", f"{home}, {free / 2**30:,.0f} GiB free")


def _queue(queue: redis.Redis) -> Iterator[Finding]:
    try:
        info: dict[str, object] = queue.info()
    except RedisError as error:
        raise QueueUnavailable(f"the queue server does not answer: {error}") from error
    if info.get("cluster_enabled"):
        message, remedy = "the queue server is a Cluster", "use one primary; replicas and Sentinel are fine"
        yield Finding("queue server", "failure", message, remedy)
    if info.get("maxmemory_policy") != "noeviction":
        message = f"maxmemory-policy is {info.get('maxmemory_policy')}: events may be evicted"
        yield Finding("queue server", "failure", message, "set maxmemory-policy noeviction")
    if not info.get("aof_enabled"):
        message = "the append-only file is off: a restart loses what is not yet recorded"
        yield Finding("queue server", "warning", message, "set appendonly yes")
    used, most = int(str(info["used_memory"])), int(str(info["maxmemory"]))
    if most and used > most * MEMORY_SHARE:
        message = f"{used / most:.0%} of its memory are used: nothing more can be published"
        yield Finding("queue server", "failure", message, "have more workers drain it, or raise maxmemory")
    version = info.get("valkey_version") or info.get("redis_version")
    yield Finding("queue server", "ok", f"answers, version {version}, {used / 2**20:,.1f} MiB used")


def _graph() -> Iterator[Finding]:
    try:
        url = settings().graph
    except NotConfigured as error:
        yield Finding("graph server", "failure", str(error), "start it with `memlane up`, or set MEMLANE_GRAPH_URL")
        return
    try:
        with redis.Redis.from_url(url.replace("falkor://", "redis://"), socket_timeout=3) as client:
            loaded = any(b"graph" in module.values() or "graph" in module.values() for module in client.module_list())
    except (RedisError, ValueError) as error:
        message = f"does not answer: {error or type(error).__name__}"
        yield Finding("graph server", "failure", message, "episodes wait until it is back; see that it runs")
        return
    if not loaded:
        message = "answers, but is not FalkorDB: the graph module is not loaded"
        yield Finding("graph server", "failure", message, "set MEMLANE_GRAPH_URL to a FalkorDB")
        return
    yield Finding("graph server", "ok", "answers")


def _served() -> set[str]:
    """Queues that some worker serves now."""
    answers = app.control.inspect(timeout=ANSWER_SECONDS).active_queues() or {}
    return {queue["name"] for queues in answers.values() for queue in queues}


def _workers(served: set[str]) -> Iterator[Finding]:
    missing = [queue for queue in QUEUES if queue not in served]
    if missing:
        message = f"no worker serves: {', '.join(missing)}"
        remedy = f"`memlane up` runs them all; by hand: celery -A workers.app worker -Q {','.join(missing)}"
        yield Finding("workers", "failure", message, remedy)
    else:
        yield Finding("workers", "ok", "every queue is served")


def _ledger(queue: redis.Redis | None, served: set[str]) -> Iterator[Finding]:
    try:
        ledger = Ledger(settings().database)
        migrate(ledger)
        with ledger.read() as connection:
            groups = books.groups(connection)
            dead = letters(connection, group=None, stage=None, limit=1000)
            behind = {
                stage: cursors.behind(connection, stage.name, stage.follows, 1000)
                for stage in STAGES.values()
                if isinstance(stage, Follower)
            }
        ledger.close()
    except LedgerUnavailable as error:
        yield Finding("ledger", "failure", str(error), "lanes wait until it is back; see MEMLANE_DATABASE_URL")
        return
    yield Finding("ledger", "ok", f"{ledger.address}, {len(groups)} groups")
    if dead:
        message = f"{len(dead)}{'+' if len(dead) == 1000 else ''} events went there; the newest: {dead[0].error}"
        yield Finding("dead letters", "warning", message, "`memlane dead list` shows them")
    if queue is None:
        return
    yield from _lanes(queue, served)
    for stage, waiting in behind.items():
        yield from _stage(queue, stage, waiting, served)


def _lanes(queue: redis.Redis, served: set[str]) -> Iterator[Finding]:
    oldest = queue.zrange(lua.PENDING, 0, 0, withscores=True)
    if not oldest:
        yield Finding("lanes", "ok", "all are drained")
        return
    seconds, _ = queue.time()
    group, age = oldest[0][0].decode(), seconds - oldest[0][1] / 1000
    if age < SLOW_SECONDS:
        yield Finding("lanes", "ok", f"draining; the oldest event waits {max(age, 0):.1f} s")
        return
    message = f"the lane of {group} has not drained for {age:.0f} s: {_why(queue, 'record', 'record', group, served)}"
    yield Finding("lanes", "failure", message, "see the worker's log")


def _stage(queue: redis.Redis, stage: Follower, groups: list[str], served: set[str]) -> Iterator[Finding]:
    held = {group: queue.get(lua.lease(stage.name, group)) for group in groups}
    if stage.queue not in served and groups:
        message = f"{len(groups)} groups wait: no worker serves the queue {stage.queue}"
        yield Finding(f"stage {stage.name}", "failure", message, f"start one with -Q {stage.queue}")
    elif resting := [group for group, lease in held.items() if lease == b"resting"]:
        message = f"{len(resting)} groups wait, as a server that it needs was away: {', '.join(resting[:3])}"
        yield Finding(f"stage {stage.name}", "failure", message, "it goes on by itself; see the worker's log for which")


def _why(queue: redis.Redis, stage: str, name: str, group: str, served: set[str]) -> str:
    if name not in served:
        return f"no worker serves the queue {name}"
    lease = queue.get(lua.lease(stage, group))
    if lease == b"resting":
        return "a server that it needs was away, it tries again by itself"
    if lease == b"queued":
        return "its wake-up waits for a free worker: start more"
    if lease:
        return "a worker holds its lease and works, or died a few seconds ago"
    return "its wake-up was lost; the next sweep finds it"
