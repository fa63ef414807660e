"""Full text over the log: BM25 over postings of our own, the same ranking on SQLite and PostgreSQL.

Filled by stage `index`, in the same transaction as its cursor, so each event is indexed exactly once. All counts are
the group's own: memories do not influence one another.

What an event is found by, each a term; words hold letters and digits only, so no term is another kind's:

    cart        a word of its text, stemmed          /cart         a word of one of its paths
    @caroline   a word of its agent's name           =src/cart.py  one of its paths
    #error      its type
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, bindparam, text

from memory.injected import without_injected
from memory.ledger import postings
from memory.ledger.engine import Ledger
from memory.ledger.postings import ASKS, INDEXED, Batch, Blocks, Postings
from memory.ledger.words import name_words, question_words, words_of

#: BM25: how soon a word that is repeated says nothing new, and how much long texts are held against it.
K1, B = 0.9, 0.5
#: More words than these of a question are not looked for.
MAX_WORDS = 64
#: Most postings that are read for one question: the commonest terms, which tell the least, are left out beyond.
MOST_POSTINGS = 2_000_000
#: A group with fewer events than this, times the terms, is small enough not to ask first how common each term is.
SMALL = 4 * MOST_POSTINGS
#: What is said. It follows on what was said before it; all else follows on what was done before it.
TALK = frozenset({"chat.message", "chat.start", "user.request"})
#: A longer path is known by its hash: a key has its limits.
_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True)
class Match:
    """One event found by its text. Time in ms since 1970; a higher score is a better match."""

    seq: int
    id: str
    type: str
    session: str | None
    agent: str | None
    path: str | None
    time: int
    text: str
    score: float


def index(ledger: Ledger, connection: Connection, group: str, seqs: Sequence[int]) -> None:
    """Add events of a group, given by their seqs, to the full-text index. Those without text are found by type only."""
    if not seqs:
        return
    rows = _rows(connection, group, seqs[0], seqs[-1])
    wanted = set(seqs)
    batch = Batch()
    blocks = Blocks(connection, group)
    follows = _Follows(connection, group)
    for row in rows:
        if row.seq not in wanted:
            continue
        said = _Said(row)
        for prefix, terms, length in said.fields():
            batch.add(row.seq, terms.items(), length, prefix)
        block, place = blocks.of(row.seq)
        if said.text:
            block.events += 1
            block.words += len(said.words)
            block.path_words += len(said.path_words)
            block.rows[place] = (*follows.after(row), INDEXED | ASKS * said.text.endswith("?"))
    postings.append(ledger, connection, group, batch)
    blocks.write()


def forget(connection: Connection, group: str, seqs: Collection[int]) -> None:
    """Take events out of the index. To be called before their rows are emptied: it is by these that they are found."""
    places: list[tuple[int, str]] = []
    blocks = Blocks(connection, group)
    for seq in sorted(seqs):
        for row in _rows(connection, group, seq, seq):
            block, place = blocks.of(seq)
            said = _Said(row)
            places += [(seq, prefix + term) for prefix, terms, _ in said.fields() for term in terms]
            if block.rows[place][2] & INDEXED:
                block.events -= 1
                block.words -= len(said.words)
                block.path_words -= len(said.path_words)
                block.rows[place] = (0, 0, 0)
    postings.remove(connection, group, postings.by_block(places))
    blocks.write()


def join(connection: Connection, group: str, gaps: Mapping[str, int], upto: int) -> None:
    """Close the gaps that forgotten events have left in their sessions: those behind follow on those before, and a
    session of which the first event is gone is known by the one that is first now.

    Args:
        gaps: seq of the first event that was forgotten, by session. Nothing behind `upto` is indexed yet.
    """
    blocks = Blocks(connection, group)
    follows = _Follows(connection, group)
    query = text(
        "SELECT seq, type, session FROM events "
        "WHERE group_id = :group AND session = :session AND seq BETWEEN :after AND :upto ORDER BY seq"
    )
    for session, gap in gaps.items():
        after = gap if first_of(connection, group, session) < gap else 0
        key = {"group": group, "session": session, "after": after, "upto": upto}
        for row in connection.execute(query, key).all():
            block, place = blocks.of(row.seq)
            flags = block.rows[place][2]
            if flags & INDEXED:
                block.rows[place] = (*follows.after(row), flags)
    blocks.write()


def clear(connection: Connection, group: str) -> None:
    """Take all events of a group out of the index."""
    for table in ("search_postings", "search_blocks"):
        connection.execute(text(f"DELETE FROM {table} WHERE group_id = :group"), {"group": group})


def search(
    ledger: Ledger,
    connection: Connection,
    group: str,
    question: str,
    limit: int,
    *,
    types: Collection[str] | None = None,
    session: str | None = None,
) -> list[Match]:
    """Events of a group that hold any of the question's words, best first; among equals the newest.

    Args:
        types: only events of these types.
        session: only events of this session.
    """
    known = postings.events_of(connection, group)
    words = question_words(question)[:MAX_WORDS]
    found = within_budget(connection, group, known, words)
    scores = np.zeros(known.size, np.float32)
    for of_word in found.values():
        scores[of_word.seqs] += bm25(of_word, known.events, known.words)
    scores *= allowed(connection, group, known, types=types, session=session)
    best = top(scores, limit)
    rows = rows_of(connection, group, best)
    return [match_of(rows[seq], float(scores[seq])) for seq in best if seq in rows]


def within_budget(
    connection: Connection, group: str, known: postings.Events, terms: Sequence[str]
) -> dict[str, Postings]:
    """The postings of terms, rarest first until they are `MOST_POSTINGS`; of what there is, at least the rarest."""
    blocks = postings.blocks_of(known)
    if known.size * len(terms) <= SMALL:
        return postings.read(connection, group, blocks, terms)
    frequencies = postings.frequencies(connection, group, blocks, terms)
    wanted: list[str] = []
    total = 0
    for term in sorted(frequencies, key=lambda term: (frequencies[term], term)):
        total += frequencies[term]
        if total > MOST_POSTINGS and wanted:
            break
        wanted.append(term)
    return postings.read(connection, group, blocks, wanted)


def bm25(found: Postings, events: int, total_length: int, *, b: float = B) -> NDArray[np.float32]:
    """What a term tells of each event that holds it, by how rare it is in the group, how often the event holds it, and
    how long the event is (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009).

    Args:
        events: how many there are.
        total_length: of the field, all events together.
    """
    average = max(total_length / max(events, 1), 1.0)
    norm = K1 * (1 - b + b * found.lengths / average)
    score = found.counts * ((K1 + 1) * rarity(len(found.seqs), events)) / (found.counts + norm)
    return score.astype(np.float32)


def rarity(holders: int, all_of_them: int) -> float:
    """The inverse document frequency of BM25, never below 0."""
    return math.log((max(all_of_them, holders) + 1) / (holders + 0.5))


def allowed(
    connection: Connection,
    group: str,
    known: postings.Events,
    *,
    types: Collection[str] | None = None,
    session: str | None = None,
    agent: str | None = None,
) -> NDArray[np.bool_]:
    """Which events may be found, by seq."""
    mask: NDArray[np.bool_] = (known.flags & INDEXED) > 0
    blocks = postings.blocks_of(known)
    if types is not None:
        of_types = np.zeros(known.size, bool)
        for found in postings.read(connection, group, blocks, {f"#{type}" for type in types}).values():
            of_types[found.seqs] = True
        mask &= of_types
    if session is not None:
        first = first_of(connection, group, session)
        mask &= (known.session == first) & (first > 0)
    if agent is not None:
        mask &= named(connection, group, known, name_words(agent)) >= 1
    return mask


def named(connection: Connection, group: str, known: postings.Events, words: Collection[str]) -> NDArray[np.float32]:
    """Which share of the words of its agent's name are among these, by event."""
    share = np.zeros(known.size, np.float32)
    blocks = postings.blocks_of(known)
    for found in postings.read(connection, group, blocks, {f"@{word}" for word in words}).values():
        share[found.seqs] += 1 / np.maximum(np.round(found.lengths), 1)
    return share


def top(scores: NDArray[np.float32], limit: int) -> list[int]:
    """Seqs with a score above 0, at most `limit`, highest first, among equals the newest."""
    seqs = np.flatnonzero(scores > 0)
    if len(seqs) > limit:
        least = np.partition(scores[seqs], len(seqs) - limit)[len(seqs) - limit]
        seqs = seqs[scores[seqs] >= least]
    order = np.lexsort((-seqs, -scores[seqs]))
    return [int(seq) for seq in seqs[order][:limit]]


def rows_of(connection: Connection, group: str, seqs: Collection[int]) -> dict[int, Row[Any]]:
    """Rows of `events` by seq, without those that were forgotten."""
    query = text(
        "SELECT seq, id, type, session, agent, path, time, text, data FROM events "
        "WHERE group_id = :group AND seq IN :seqs AND text <> ''"
    ).bindparams(bindparam("seqs", expanding=True))
    return {row.seq: row for row in connection.execute(query, {"group": group, "seqs": list(seqs)})}


def texts_of(connection: Connection, group: str, seqs: Collection[int]) -> dict[int, str]:
    """What those of the events say that can be found, by seq, in order."""
    said = ((seq, without_injected(row.text).rstrip()) for seq, row in rows_of(connection, group, seqs).items())
    return {seq: text for seq, text in sorted(said) if text}


def match_of(row: Row[Any], score: float) -> Match:
    return Match(row.seq, row.id, row.type, row.session, row.agent, row.path, row.time, row.text, score)


def path_term(path: str) -> str:
    """The term of a path."""
    return f"={_path_name(path)}"


class _Said:
    """What an event is found by."""

    def __init__(self, row: Row[Any]) -> None:
        self._row = row
        self.text = _own_text(row)
        self.words = words_of(self.text)
        self.paths = _paths(row)
        self.path_words = [word for path in self.paths for word in words_of(path)]

    def fields(self) -> Iterator[tuple[str, dict[str, int], int]]:
        """Each kind of terms: their first character, how often each is there, and the length of the field."""
        yield "#", {self._row.type: 1}, 0
        if self.text:
            yield "", Counter(self.words), len(self.words)
            yield "/", Counter(self.path_words), len(self.path_words)
            yield "=", dict.fromkeys(map(_path_name, self.paths), 1), len(self.paths)
            name = name_words(self._row.agent or "")
            yield "@", dict.fromkeys(name, 1), len(name)


class _Follows:
    """Which event each one follows on, within its session."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection, self._group = connection, group
        self._first: dict[str, int] = {}
        self._last: dict[tuple[str, bool], int] = {}

    def after(self, row: Row[Any]) -> tuple[int, int]:
        """The seq of its session's first event, and that of the event that it follows on; 0: none."""
        if row.session is None:
            return 0, 0
        if row.session not in self._first:
            self._first[row.session] = first_of(self._connection, self._group, row.session)
        chain = row.session, row.type in TALK
        if chain not in self._last:
            self._last[chain] = self._before(row)
        previous, self._last[chain] = self._last[chain], row.seq
        return self._first[row.session], previous

    def _before(self, row: Row[Any]) -> int:
        if self._first[row.session] == row.seq:
            return 0
        talk = "IN" if row.type in TALK else "NOT IN"
        query = text(
            "SELECT seq, text FROM events WHERE group_id = :group AND session = :session AND seq < :seq AND text <> '' "
            f"AND type {talk} :talk ORDER BY seq DESC LIMIT 1"
        ).bindparams(bindparam("talk", expanding=True))
        key = {"group": self._group, "session": row.session, "seq": row.seq, "talk": sorted(TALK)}
        while (found := self._connection.execute(query, key).one_or_none()) and not _own_text(found):
            key["seq"] = found.seq
        return found.seq if found else 0


def _own_text(row: Row[Any]) -> str:
    """What an event says, without what recall itself has put into it."""
    return without_injected(row.text).rstrip()


def _path_name(path: str) -> str:
    return path if len(path) <= _LONGEST_PATH else hashlib.sha256(path.encode("utf-8", "replace")).hexdigest()


def first_of(connection: Connection, group: str, session: str) -> int:
    """Seq of a session's first event, 0 where there is none: what the session is known by in the index."""
    query = text("SELECT min(seq) FROM events WHERE group_id = :group AND session = :session")
    return connection.execute(query, {"group": group, "session": session}).scalar() or 0


def _rows(connection: Connection, group: str, first: int, last: int) -> Iterable[Row[Any]]:
    query = text(
        "SELECT seq, type, session, agent, path, text, data FROM events "
        "WHERE group_id = :group AND seq BETWEEN :first AND :last ORDER BY seq"
    )
    return connection.execute(query, {"group": group, "first": first, "last": last}).all()


def _paths(row: Row[Any]) -> list[str]:
    """As `Event.paths`: the row's own, and those in its data."""
    found = [row.path]
    if '"paths"' in row.data:
        paths = json.loads(row.data).get("paths")
        found += paths if isinstance(paths, list) else []
    return list(dict.fromkeys(path for path in found if isinstance(path, str) and path))
