"""Forgetting on this system: waits for events that are under way, forgets, and cleans the servers' files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis

from memory import lua
from memory.cache import Cache
from memory.forget import Chosen, Forgotten, GraphBehind, forget
from memory.graph.writer import GraphWriter
from memory.ledger import Ledger, books, forgettings
from memory.ledger.cleaning import clean
from memory.settings import settings
from ops.home import Home

#: How long to wait for the lane, and for others to let go of the database's files, s.
LANE_SECONDS, CLEAN_SECONDS = 30.0, 60.0
PAUSE_SECONDS = 0.1


@dataclass
class Outcome:
    """What was forgotten in a group, and what the operator should know."""

    group: str
    forgotten: Forgotten
    dry_run: bool = False
    #: Events that were not in the ledger yet, and so were not looked at.
    pending: int = 0
    spooled: int = 0
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What `memlane forget --json` prints."""
        return {
            "group": self.group,
            "dry_run": self.dry_run,
            **self.forgotten.as_json(),
            "pending": self.pending,
            "spooled": self.spooled,
            "notes": self.notes,
        }


def under_way(outcome: Outcome, client: redis.Redis, home: Home, ledger: Ledger, seconds: float = LANE_SECONDS) -> None:
    """Wait until what the lane holds now is in the ledger, and note what is not.

    Raises:
        redis.RedisError, LedgerUnavailable
    """
    group = outcome.group
    newest = client.xrevrange(lua.lane(group), count=1)
    end = time.monotonic() + seconds
    while newest:
        with ledger.read() as connection:
            last = books.last_stream_id(connection, group) or "0-0"
        # All of them only to be counted: a lane may be long.
        late = time.monotonic() >= end
        outcome.pending = len(client.xrange(lua.lane(group), f"({last}", newest[0][0], count=None if late else 1))
        if not outcome.pending or late:
            break
        time.sleep(PAUSE_SECONDS)
    outcome.spooled = home.spooled(client, group)
    if outcome.pending:
        outcome.notes.append(
            f"{outcome.pending:,} events wait in the lane: once workers have recorded them, forget again"
        )
    if outcome.spooled:
        outcome.notes.append(
            f"{outcome.spooled:,} events wait in spools: once they are sent (`memlane spool flush`), forget again"
        )


def forget_in(
    outcome: Outcome,
    client: redis.Redis,
    ledger: Ledger,
    chosen: Chosen,
    progress: Callable[[int], object],
    graph_progress: Callable[[int, int], object],
) -> None:
    """Forget, and clean the files of the ledger, the queue server and the graph server; also what an earlier run has
    left to be done. Files also where nothing was found: what was forgotten before may have come in again since, and
    stand in them though it was recorded nowhere.

    Args:
        progress: told how many events were emptied just now.
        graph_progress: told how many were taken out of the graph just now, and of how many in all.

    Raises:
        LedgerUnavailable, redis.RedisError, GraphUnavailable: see `memory.forget`.
        GraphBehind: all but the graph is done, cleaning included.
    """
    group = outcome.group
    with ledger.read() as connection:
        before = forgettings.of(connection, group)
    if before:
        outcome.notes.append(
            "an earlier forgetting in this group had not come to its end: what it had left was done too"
        )
    graph = GraphWriter(settings().graph)
    behind: GraphBehind | None = None
    try:
        try:
            outcome.forgotten = forget(
                ledger, group, chosen, graph=graph, client=client, progress=progress, graph_progress=graph_progress
            )
        except GraphBehind as error:
            behind, outcome.forgotten = error, error.forgotten
        with ledger.read() as connection:
            begun = forgettings.of(connection, group)
        if before and before.prose:
            outcome.notes.append(
                "what a model had found in what was forgotten before may be in the graph still: "
                f"`memlane rebuild graph --group {group}`"
            )
        cleaned = clean_files(group, client, ledger, None if behind else graph, outcome.notes)
        if behind:
            raise behind
        if begun and cleaned and not (before and before.prose):
            forgettings.end(ledger, begun)
    finally:
        graph.close()


def clean_files(group: str, client: redis.Redis, ledger: Ledger, graph: GraphWriter | None, notes: list[str]) -> bool:
    """Write the files of the ledger, the queue server and the graph server anew, without what was deleted.

    Args:
        graph: None where it can't be reached.
        notes: what the operator should know is added here.

    Returns:
        Whether nothing is left to be done.

    Raises:
        redis.RedisError, GraphUnavailable
    """
    cleaned = clean(ledger, CLEAN_SECONDS)
    if not cleaned:
        notes.append(
            "the database's files may still hold deleted text, since others use them: forget anything once more, "
            "or vacuum the database, when less is going on"
        )
    # They are void, but would be written into the queue server's log again.
    Cache(client, group).delete()
    # Their logs hold every command until they are written anew, and one that is being written was begun before.
    servers: list[tuple[str, Callable[[], bool]]] = [("queue", lambda: _rewrite_log(client))]
    if graph:
        servers.append(("graph", partial(graph.rewrite_log, group)))
    for name, rewrite in servers:
        end = time.monotonic() + CLEAN_SECONDS
        while not (begun := rewrite()) and time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
        if not begun:
            notes.append(
                f"the {name} server does not write its log anew when told to: deleted text stays in it until it does "
                "so by itself, or its administrator has it do so (BGREWRITEAOF)"
            )
    return cleaned


def _rewrite_log(client: redis.Redis) -> bool:
    try:
        client.bgrewriteaof()
    except redis.ResponseError:
        return False
    return True
