"""Rebuilding what is made of the ledger: a stage begins again, and the workers do the work, as ever.

A stage is held by its lease and a new fencing token while what it has made is taken away and its cursor goes back to
the beginning, with its counts. So nothing is done twice, events that come meanwhile have their turn, and the books
balance all the time. No model is asked: what one has answered is in the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from redis.exceptions import RedisError

from memory import lua
from memory.cache import Cache
from memory.extraction.replay import replay
from memory.graph.fingerprint import Fingerprint, fingerprint
from memory.ledger import books, cursors, extractions, forgettings, sessions
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
#: Groups that are named, of those that were not rebuilt.
SHOWN_GROUPS = 10


class RebuildStalled(Exception):
    """Workers don't go on with a stage; the message says which."""


class RebuildStopped(Exception):
    """Nobody waits for it any more; `lines` say what goes on by itself, what was not done, and what does it."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.lines = lines

    def __str__(self) -> str:
        return "; ".join(self.lines)


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
    """Rebuild parts of groups, and wait until it is done. All are begun before the first is waited for.

    Args:
        parts: keys of `PARTS`, those that are possible.
        progress: told how many events the stages have dealt with, and how many there are.

    Raises:
        NoSuchGroup: nothing was begun.
        RebuildStopped: by Ctrl-C, or because workers don't go on; its cause says which.
        LedgerUnavailable, redis.RedisError, GraphUnavailable, DependencyDown: a stage that was begun again goes on when
            its servers are back.
    """
    stages = [name for part in parts for name in PARTS[part]]
    with resources.ledger().read() as connection:
        for group in groups:
            books.exists(connection, group)
    # By how far they have come.
    left, begun, done = list(groups), list[Rebuilt](), list[Rebuilt]()
    heads: dict[tuple[str, str], int] = {}
    unfinished: dict[str, forgettings.Begun] = {}
    try:
        while left:
            group = left[0]
            with resources.ledger().read() as connection:
                if "graph" in parts and (found := forgettings.of(connection, group)):
                    unfinished[group] = found
                head = cursors.position(connection, "record", group)
            for name in stages:
                heads[name, group] = head
                _begin_again(name, group)
            begun.append(Rebuilt(left.pop(0), head, parts=list(parts)))
        _wait(heads, progress)
        while begun:
            rebuilt = begun[0]
            # Also answers that were made meanwhile, of what there was.
            _drop_answers(rebuilt.group)
            if "graph" in parts:
                replay(resources.ledger(), resources.graph(), rebuilt.group)
                rebuilt.graph = fingerprint(resources.graph(), rebuilt.group)
                if rebuilt.group in unfinished:
                    finish(unfinished[rebuilt.group], rebuilt.notes)
            done.append(begun.pop(0))
    except (KeyboardInterrupt, RebuildStalled) as error:
        for group in {group for _, group in heads}:
            with suppress(RedisError):
                _drop_answers(group)
        why = str(error) if isinstance(error, RebuildStalled) else "nobody waits for it any more"
        raise RebuildStopped([why, *_left_to_do(parts, done, begun, left, unfinished)]) from error
    return done


def _drop_answers(group: str) -> None:
    Cache(resources.valkey(), group).drop([lua.WHOLE_GROUP])


def _left_to_do(
    parts: Sequence[str],
    done: Sequence[Rebuilt],
    begun: Sequence[Rebuilt],
    left: Sequence[str],
    unfinished: Collection[str],
) -> Iterator[str]:
    """What becomes of each group where nobody waits any more, a line each: what was done, what workers go on with, and
    what a command has to be run for.

    Args:
        begun: those whose stages have all begun again, and no more.
        left: those that have not begun, or not with all stages.
        unfinished: those in which forgetting had not come to its end.
    """
    going = [one.group for one in begun]
    if not any(PARTS[part] for part in parts):
        going, left = [], [*going, *left]
    if done:
        yield f"done: {_some([one.group for one in done])}"
    if going:
        yield f"workers go on by themselves with {_some(going)}: `memlane status` shows how far they are"
        yield (
            "answers until then are made of what is there: those that are kept go by "
            f"{_commands('cache', going)} once nothing is pending"
        )
    if "graph" in parts:
        with resources.ledger().read() as connection:
            told = [group for group in going if extractions.stored(connection, group)]
        if told:
            yield (
                f"what a model found in prose was not put back into the graph of {_some(told)}: run "
                f"{_commands('graph', told)}"
            )
        if behind := [group for group in going if group in unfinished]:
            yield f"forgetting has not come to its end in {_some(behind)}: run {_commands('graph', behind)}"
    if left:
        yield f"not begun: {_some(left)}: run {_commands(parts[0] if len(parts) == 1 else 'all', left)}"


def _some(groups: Sequence[str]) -> str:
    more = f" and {len(groups) - SHOWN_GROUPS:,} more" if len(groups) > SHOWN_GROUPS else ""
    return ", ".join(groups[:SHOWN_GROUPS]) + more


def _commands(what: str, groups: Sequence[str]) -> str:
    name, each = (groups[0], "") if len(groups) == 1 else ("GROUP", " for each")
    return f"`memlane rebuild {what} --group {name}`{each}"


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
