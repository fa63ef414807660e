"""Postings: which events hold a term, in blocks of events, the same on both databases.

A row of `search_postings` is a term within a block of `BLOCK` consecutive events of a group. Its data are 32-bit
numbers, one an event: its place in the block (16 bits), how often it holds the term (8), the field's coded length (8).
Blocks come first in the key, so that a batch writes next to what was written last; a question reads (blocks x terms)
rows, and numpy takes their numbers as they are.

A row of `search_blocks` holds what is known of the events themselves: see `OF_EVENT`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, text

from memory.ledger.engine import Ledger

#: Events a block holds. More: fewer rows to read; fewer: less to write again for each event that comes alone.
BLOCK = 4_096
#: What is known of an event: `session` is the seq of its session's first event, `previous` that of the event before it
#: in its session (of its kind: what was said follows on what was said); 0: none. `flags` are those below.
OF_EVENT = np.dtype([("session", "<u4"), ("previous", "<u4"), ("flags", "u1")])
#: The event is found at all; it is hidden from recall; it ends with a question mark.
INDEXED, HIDDEN, ASKS = 1, 2, 4

#: Lengths are kept by their logarithm: off by 2 % at most. Code 255 stands for 62,000 words.
_STEPS = 16
LENGTHS: NDArray[np.float32] = (2 ** (np.arange(256) / _STEPS) - 1).astype(np.float32)

type Key = tuple[int, str]
type Numbers = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Postings:
    """The events of a group that hold a term: parallel arrays, each event once."""

    seqs: NDArray[np.int64]
    counts: NDArray[np.float32]
    lengths: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Events:
    """What is known of a group's events, by seq (index 0 is no event), and totals for averages."""

    session: NDArray[np.intp]
    previous: NDArray[np.intp]
    flags: NDArray[np.uint8]
    events: int
    words: int
    path_words: int

    @property
    def size(self) -> int:
        """One more than the highest seq there may be."""
        return len(self.flags)


def length_code(length: int) -> int:
    """A field's length as a byte: see `LENGTHS`."""
    return min(255, round(_STEPS * math.log2(1 + length)))


class Batch:
    """Postings of a batch of events, until they are appended."""

    def __init__(self) -> None:
        self._blocks: dict[int, dict[str, list[int]]] = {}

    def add(self, seq: int, terms: Iterable[tuple[str, int]], length: int, prefix: str = "") -> None:
        """An event holds these terms, so often each, in a field of so many."""
        block, place = divmod(seq, BLOCK)
        of_block = self._blocks.setdefault(block, {})
        base = place << 16 | length_code(length)
        for term, count in terms:
            number = base | (count if count < 256 else 255) << 8
            key = prefix + term
            if key in of_block:
                of_block[key].append(number)
            else:
                of_block[key] = [number]

    def rows(self) -> list[tuple[int, str, bytes]]:
        """Block, term and data, in the order of their key."""
        return [
            (block, term, struct.pack(f"<{len(numbers)}I", *numbers))
            for block, terms in sorted(self._blocks.items())
            for term, numbers in sorted(terms.items())
        ]


def append(ledger: Ledger, connection: Connection, group: str, batch: Batch) -> None:
    """Append postings to what there is."""
    rows = batch.rows()
    if not rows:
        return
    if ledger.is_sqlite:
        connection.exec_driver_sql(
            "INSERT INTO search_postings (group_id, block, term, data) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (group_id, block, term) DO UPDATE SET data = CAST(data || excluded.data AS BLOB)",
            [(group, *row) for row in rows],
        )
        return
    blocks, terms, data = (list(column) for column in zip(*rows, strict=True))
    connection.exec_driver_sql(
        "INSERT INTO search_postings (group_id, block, term, data) "
        "SELECT %(group)s, * FROM unnest(%(blocks)s::bigint[], %(terms)s::text[], %(data)s::bytea[]) "
        "ON CONFLICT (group_id, block, term) DO UPDATE SET data = search_postings.data || excluded.data",
        {"group": group, "blocks": blocks, "terms": terms, "data": data},
    )


def remove(connection: Connection, group: str, places: Mapping[Key, Collection[int]]) -> None:
    """Take events out of the postings of terms: seqs by block and term."""
    for (block, term), seqs in places.items():
        key = {"group": group, "block": block, "term": term}
        where = "WHERE group_id = :group AND block = :block AND term = :term"
        data = connection.execute(text(f"SELECT data FROM search_postings {where}"), key).scalar()
        if data is None:
            continue
        numbers = np.frombuffer(data, "<u4")
        left = numbers[~np.isin(numbers >> 16, [seq % BLOCK for seq in seqs])]
        if len(left):
            change = text(f"UPDATE search_postings SET data = :data {where}")
            connection.execute(change, {**key, "data": left.tobytes()})
        else:
            connection.execute(text(f"DELETE FROM search_postings {where}"), key)


def frequencies(connection: Connection, group: str, blocks: int, terms: Collection[str]) -> dict[str, int]:
    """In how many events of the group each term is; terms that are in none are left out."""
    if not terms or not blocks:
        return {}
    query = text(
        "SELECT term, sum(length(data)) / 4 FROM search_postings "
        "WHERE group_id = :group AND block IN :blocks AND term IN :terms GROUP BY term"
    ).bindparams(bindparam("blocks", expanding=True), bindparam("terms", expanding=True))
    found = connection.execute(query, {"group": group, "blocks": range(blocks), "terms": sorted(terms)})
    return {term: int(count) for term, count in found}


def read(connection: Connection, group: str, blocks: int, terms: Collection[str]) -> dict[str, Postings]:
    """The postings of terms in a group of so many blocks; terms that are in no event are left out."""
    if not terms or not blocks:
        return {}
    query = text(
        "SELECT term, block, data FROM search_postings WHERE group_id = :group AND block IN :blocks AND term IN :terms"
    ).bindparams(bindparam("blocks", expanding=True), bindparam("terms", expanding=True))
    found: dict[str, tuple[list[int], list[bytes]]] = {}
    for term, block, data in connection.execute(
        query, {"group": group, "blocks": range(blocks), "terms": sorted(terms)}
    ):
        of_term = found.setdefault(term, ([], []))
        of_term[0].append(block)
        of_term[1].append(data)
    return {term: _decoded(*of_term) for term, of_term in found.items()}


def _decoded(blocks: list[int], data: list[bytes]) -> Postings:
    numbers = np.frombuffer(b"".join(data), "<u4")
    first = np.repeat(np.array(blocks, np.int64) * BLOCK, [len(one) // 4 for one in data])
    return Postings(
        seqs=first + (numbers >> 16),
        counts=((numbers >> 8) & 0xFF).astype(np.float32),
        lengths=LENGTHS[numbers & 0xFF],
    )


def blocks_of(known: Events) -> int:
    """How many blocks a group's events are in."""
    return -(-known.size // BLOCK)


def events_of(connection: Connection, group: str) -> Events:
    """What is known of a group's events."""
    query = text(
        "SELECT block, events, words, path_words, data FROM search_blocks WHERE group_id = :group ORDER BY block"
    )
    rows = connection.execute(query, {"group": group}).all()
    if not rows:
        return Events(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.uint8), 0, 0, 0)
    known = np.zeros((rows[-1].block + 1) * BLOCK, OF_EVENT)
    for row in rows:
        of_block = np.frombuffer(row.data, OF_EVENT)
        known[row.block * BLOCK : row.block * BLOCK + len(of_block)] = of_block
    totals = (sum(getattr(row, name) for row in rows) for name in ("events", "words", "path_words"))
    size = (rows[-1].block) * BLOCK + len(rows[-1].data) // OF_EVENT.itemsize
    # As numpy indexes by them: else it would convert them each time.
    session, previous = (known[name][:size].astype(np.intp) for name in ("session", "previous"))
    return Events(session, previous, np.ascontiguousarray(known["flags"][:size]), *totals)


@dataclass(slots=True)
class Block:
    """What is known of the events of a block, while it is changed: one list an event, as in `OF_EVENT`."""

    rows: list[tuple[int, int, int]]
    events: int = 0
    words: int = 0
    path_words: int = 0


class Blocks:
    """Blocks of a group that a transaction changes; `write` puts them back."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection, self._group = connection, group
        self._blocks: dict[int, Block] = {}

    def of(self, seq: int) -> tuple[Block, int]:
        """The block of an event, and its place in it; the block grows to hold it."""
        number, place = divmod(seq, BLOCK)
        block = self._blocks.get(number)
        if block is None:
            query = text(
                "SELECT data, events, words, path_words FROM search_blocks WHERE group_id = :group AND block = :block"
            )
            row = self._connection.execute(query, {"group": self._group, "block": number}).one_or_none()
            known: list[Any] = np.frombuffer(row.data, OF_EVENT).tolist() if row else []
            block = Block(known, *(row[1:] if row else ()))
            self._blocks[number] = block
        if place >= len(block.rows):
            block.rows += [(0, 0, 0)] * (place + 1 - len(block.rows))
        return block, place

    def write(self) -> None:
        statement = text(
            "INSERT INTO search_blocks (group_id, block, events, words, path_words, data) "
            "VALUES (:group, :block, :events, :words, :path_words, :data) "
            "ON CONFLICT (group_id, block) DO UPDATE SET events = excluded.events, words = excluded.words, "
            "path_words = excluded.path_words, data = excluded.data"
        )
        rows = [
            {
                "group": self._group,
                "block": number,
                "events": block.events,
                "words": block.words,
                "path_words": block.path_words,
                "data": np.array(block.rows, OF_EVENT).tobytes(),
            }
            for number, block in self._blocks.items()
        ]
        if rows:
            self._connection.execute(statement, rows)


def by_block(places: Iterable[tuple[int, str]]) -> dict[Key, list[int]]:
    """Seqs and terms, arranged for `remove`."""
    found: dict[Key, list[int]] = {}
    for seq, term in places:
        found.setdefault((seq // BLOCK, term), []).append(seq)
    return found
