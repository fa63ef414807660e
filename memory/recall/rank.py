"""The best events for a question."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, text

from memory.ledger import postings
from memory.ledger.embeddings import Vector
from memory.ledger.search import Match, allowed, match_of, rows_of, top
from memory.recall.features import features
from memory.recall.question import Question

#: How many are ranked for the context.
CANDIDATES = 60
#: Where times are limited, so many events are looked at first; then four times as many, and so on.
_FIRST_LOOK = 4 * CANDIDATES
#: Most seqs in one query: SQLite takes 32,766 parameters.
_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Ranked:
    """An event, and the parts that its score is the sum of."""

    match: Match
    features: dict[str, float]


def rank(
    connection: Connection, group: str, question: Question, vector: Callable[[], Vector | None] = lambda: None
) -> list[Ranked]:
    """At most `CANDIDATES` events, best first; without forgotten and hidden ones. `vector`: see `features`."""
    known = postings.events_of(connection, group)
    if not known.events:
        return []
    mask = allowed(connection, group, known, types=question.kinds or None, agent=question.agent)
    parts = features(connection, group, question, known, mask, vector)
    if not parts:
        return []
    total = np.sum(list(parts.values()), axis=0, dtype=np.float32)
    total *= mask
    hidden = _hidden(connection, group, known)
    found: list[Ranked] = []
    for seqs in _looks(connection, group, question, total):
        rows = rows_of(connection, group, seqs)
        for seq in seqs:
            if seq in rows and not _is_hidden(rows[seq], hidden):
                said = {name: float(part[seq]) for name, part in parts.items() if part[seq]}
                found.append(Ranked(match_of(rows[seq], float(total[seq])), said))
                if len(found) == CANDIDATES:
                    return found
    return found


def _looks(connection: Connection, group: str, question: Question, total: Any) -> Any:
    """Seqs within the limits of time, best first, a few at a time until all were given."""
    timed = question.since is not None or question.end is not None
    given, limit = 0, _FIRST_LOOK if timed else CANDIDATES
    while True:
        seqs = top(total, limit)
        fresh = seqs[given:]
        if timed:
            fresh = _within(connection, group, question, fresh)
        for start in range(0, len(fresh), CANDIDATES):
            yield fresh[start : start + CANDIDATES]
        if len(seqs) < limit:
            return
        given, limit = limit, limit * 4


def _within(connection: Connection, group: str, question: Question, seqs: list[int]) -> list[int]:
    query = text(
        "SELECT seq FROM events WHERE group_id = :group AND seq IN :seqs AND time BETWEEN :since AND :until"
    ).bindparams(bindparam("seqs", expanding=True))
    times = {
        "since": question.since if question.since is not None else -(2**62),
        "until": question.end if question.end is not None else 2**62,
    }
    kept: set[int] = set()
    for start in range(0, len(seqs), _CHUNK):
        chunk = seqs[start : start + _CHUNK]
        kept.update(connection.execute(query, {"group": group, "seqs": chunk, **times}).scalars())
    return [seq for seq in seqs if seq in kept]


def _hidden(connection: Connection, group: str, known: postings.Events) -> set[tuple[str | None, str]]:
    """Sessions and parts that are hidden from models now."""
    blocks = postings.blocks_of(known)
    told = postings.read(connection, group, blocks, {"#part.hidden", "#part.shown"})
    seqs = sorted(int(seq) for found in told.values() for seq in found.seqs)
    hidden: set[tuple[str | None, str]] = set()
    query = text(
        "SELECT type, session, data FROM events WHERE group_id = :group AND seq IN :seqs ORDER BY seq"
    ).bindparams(bindparam("seqs", expanding=True))
    for start in range(0, len(seqs), _CHUNK):
        for row in connection.execute(query, {"group": group, "seqs": seqs[start : start + _CHUNK]}):
            part = row.session, str(json.loads(row.data).get("part"))
            if row.type == "part.hidden":
                hidden.add(part)
            else:
                hidden.discard(part)
    return hidden


def _is_hidden(row: Row[Any], hidden: set[tuple[str | None, str]]) -> bool:
    if not hidden:
        return False
    data = json.loads(row.data)
    return any((row.session, data.get(name)) in hidden for name in ("part", "message"))
