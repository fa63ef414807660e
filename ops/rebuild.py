"""Rebuilding what is made of the ledger: a stage begins again, and the workers do the work, as ever.

A stage is held by its lease and a new fencing token while what it has made is taken away and its cursor goes back to
the beginning, with its counts. So nothing is done twice, events that come meanwhile have their turn, and the books
balance all the time. No model is asked: what one has answered is in the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from memory import lua
from memory.cache import Cache
from memory.extraction.replay import replay
from memory.graph.fingerprint import Fingerprint, fingerprint
from memory.ledger import books, cursors, forgettings, sessions
from memory.settings import settings
from ops import clients
from ops.forgetting import clean_files
from workers import resources
from workers.lease import Lease
from workers.stage import Follower
from workers.stages import STAGES
from workers.wake import wake

#: The stages that each part is made by; the cache is made by those who ask.
PARTS: dict[str, tuple[str, ...]] = {
    "index": ("index",),
    "graph": ("episodes",),
    "embeddings": ("embedding",),
    "cache": (),
}
#: How long a worker may take to come to the end of its turn, and how long nothing may go on, s.
LEASE_SECONDS, STALLED_SECONDS = 60.0, 60.0
PAUSE_SECONDS = 0.1


class RebuildStalled(Exception):
    """Workers don't go on with a stage; the message says which. What was begun goes on when they do."""


@dataclass
class Rebuilt:
    """What was rebuilt of one group: its events, and the graph that came of them."""

    group: str
    events: int
    graph: Fingerprint | None = None
    parts: list[str] = field(default_factory=list)
    #: What the operator should know.
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def possible(part: str) -> bool:
    """Whether there is such a part: what is made by stages that are off is not."""
    return all(STAGES[name].on for name in PARTS[part])


def rebuild(
    parts: Sequence[str], groups: Sequence[str], progress: Callable[[int, int], object] = lambda done, total: None
) -> list[Rebuilt]:
    """Rebuild parts of groups, and wait until it is done.

    Args:
        parts: keys of `PARTS`, those that are possible.
        progress: told how many events the stages have dealt with, and how many there are.

    Raises:
        NoSuchGroup, RebuildStalled
        LedgerUnavailable, redis.RedisError, GraphUnavailable, DependencyDown: a stage that was begun again goes on when
            its servers are back.
    """
    stages = [name for part in parts for name in PARTS[part]]
    result = []
    heads: dict[tuple[str, str], int] = {}
    begun: dict[str, forgettings.Begun | None] = {}
    for group in groups:
        with resources.ledger().read() as connection:
            books.exists(connection, group)
            begun[group] = forgettings.of(connection, group) if "graph" in parts else None
            head = cursors.position(connection, "record", group)
        result.append(Rebuilt(group, head, parts=list(parts)))
        for name in stages:
            _begin_again(name, group)
            heads[name, group] = head
    _wait(heads, progress)
    for rebuilt in result:
        # Also answers that were made meanwhile, of what there was.
        Cache(resources.valkey(), rebuilt.group).drop([lua.WHOLE_GROUP])
        if "graph" in parts:
            replay(resources.ledger(), resources.graph(), rebuilt.group)
            rebuilt.graph = fingerprint(resources.graph(), rebuilt.group)
            if left := begun[rebuilt.group]:
                finish(left, rebuilt.notes)
    return result


def finish(left: forgettings.Begun, notes: list[str]) -> None:
    """Do what forgetting that did not come to its end has left to be done, now that the graph is made anew.

    Raises:
        LedgerUnavailable, redis.RedisError, GraphUnavailable
    """
    ledger = resources.ledger()
    with ledger.write() as connection:
        sessions.recount(ledger, connection, left.group, sessions.uncounted(connection, left.group))
    with clients.queue() as queue:
        if clean_files(left.group, queue, ledger, resources.graph(), notes):
            forgettings.end(ledger, left)


def _begin_again(name: str, group: str) -> None:
    stage = STAGES[name]
    assert isinstance(stage, Follower)
    lease = Lease(resources.valkey(), name, group, settings().lease_seconds)
    end = time.monotonic() + LEASE_SECONDS
    while not lease.take():
        if time.monotonic() > end:
            raise RebuildStalled(f"a worker holds stage {name} of group {group} for {LEASE_SECONDS:g} s: try again")
        time.sleep(PAUSE_SECONDS)
    try:
        with lease:
            token = cursors.take_token(resources.ledger(), name, group)
            with resources.ledger().write() as connection:
                cursors.claim(connection, name, group, token)
                stage.clear(connection, group)
                cursors.restart(connection, name, group)
            stage.clear_outside(group)
    finally:
        lease.let_go()
    wake(name, group)


def _wait(heads: dict[tuple[str, str], int], progress: Callable[[int, int], object]) -> None:
    total = sum(heads.values())
    best, since = -1, time.monotonic()
    while True:
        with resources.ledger().read() as connection:
            at = {key: min(cursors.position(connection, *key), head) for key, head in heads.items()}
        done = sum(at.values())
        progress(done, total)
        if done >= total:
            return
        if done > best:
            best, since = done, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            name, group = next(key for key, head in heads.items() if at[key] < head)
            raise RebuildStalled(
                f"nothing goes on with stage {name} of group {group} for {STALLED_SECONDS:g} s: see `memlane status` "
                "and `memlane doctor`; it goes on when a worker serves its queue"
            )
        time.sleep(PAUSE_SECONDS)
