"""Forgetting on this system: waits for events that are under way, forgets, and cleans the servers' files."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.exceptions import RedisError

from memory import lua
from memory.forget import Chosen, Forgotten, forget
from memory.graph.writer import GraphWriter
from memory.ledger import Ledger, books
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
    outcome: Outcome, client: redis.Redis, ledger: Ledger, chosen: Chosen, progress: Callable[[int], object]
) -> None:
    """Forget, and clean the files of the ledger, the queue server and the graph server.

    Raises:
        LedgerUnavailable, redis.RedisError, GraphUnavailable: see `memory.forget`.
    """
    graph = GraphWriter(settings().graph)
    try:
        outcome.forgotten = forget(ledger, outcome.group, chosen, graph=graph, client=client, progress=progress)
        if outcome.forgotten.episodes and not outcome.forgotten.events:
            outcome.notes.append("something forgotten before was still in the graph: that run had not come to its end")
        elif not outcome.forgotten.events and not outcome.forgotten.dead_letters:
            return
        if not clean(ledger, CLEAN_SECONDS):
            outcome.notes.append(
                "the database's files may still hold deleted text, since others use them: forget anything once more, "
                "or vacuum the database, when less is going on"
            )
        # They are void, but would be written into the queue server's log again.
        for key in client.scan_iter(match=lua.context(outcome.group, "*"), count=1_000):
            client.unlink(key)
        with suppress(RedisError):
            # Its log holds every command until it is written anew. Where that is under way, it comes by itself.
            client.bgrewriteaof()
        graph.rewrite_log(outcome.group)
    finally:
        graph.close()
