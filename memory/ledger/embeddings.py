"""Vectors of events' texts, made by an embedding model, and the search for the nearest; the same on both databases.

A vector is kept with a signed byte a dimension, by its event. Besides, the signs of all vectors of a group, a bit a
dimension, are packed in blocks of events: a question compares these with its own, for all events at once, and reads the
vectors of the few hundred events with which it shares most.
Source of the idea: Charikar, "Similarity estimation techniques from rounding algorithms" (2002).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, delete, select, text

from memory.ledger.embedding_models import model_of
from memory.ledger.engine import Ledger
from memory.ledger.schema import embedding_codes, embedding_models, embeddings

#: Events whose signs are in one row: fewer than of postings, since each is larger, and a row is written as a whole.
BLOCK = 512
#: Signs are compared 64 at once.
_WORD = 8
#: Vectors that are read to know how alike any two texts are.
SAMPLE = 200

type Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Vector:
    """What a text means: `values` of length 1, and whose they are (`Settings.embeddings`)."""

    model: str
    values: Values


@dataclass(frozen=True, slots=True)
class Nearest:
    """Events with their cosine to a vector, and the mean cosine of the group's events."""

    seqs: NDArray[np.int64]
    cosines: Values
    mean: float


def store(ledger: Ledger, connection: Connection, group: str, model: str, vectors: Mapping[int, Values]) -> None:
    """Keep vectors of a group's events, by seq, in place of those there were; all of a group are of one model, and of
    as many dimensions."""
    if not vectors:
        return
    dimensions = len(next(iter(vectors.values())))
    row = {"group_id": group, "model": model, "dimensions": dimensions}
    connection.execute(ledger.insert(embedding_models).values(row).on_conflict_do_nothing())
    insert = ledger.insert(embeddings)
    replace = insert.on_conflict_do_update(index_elements=["group_id", "seq"], set_={"data": insert.excluded.data})
    rows = [{"group_id": group, "seq": seq, "data": _bytes(values)} for seq, values in vectors.items()]
    connection.execute(replace, rows)
    _write_codes(ledger, connection, group, {seq: _signs(values) for seq, values in vectors.items()})


def pack(ledger: Ledger, connection: Connection, group: str, seqs: Collection[int]) -> None:
    """Pack the signs of the vectors of these events, as far as they have one."""
    found = _read(connection, group, seqs)
    _write_codes(ledger, connection, group, {seq: _signs(values) for seq, values in found.items()})


def stored(connection: Connection, group: str, seqs: Collection[int]) -> set[int]:
    """Those of the events that have a vector."""
    query = select(embeddings.c.seq).where(embeddings.c.group_id == group, embeddings.c.seq.in_(seqs))
    return set(connection.execute(query).scalars())


def forget(ledger: Ledger, connection: Connection, group: str, seqs: Collection[int]) -> None:
    """Delete the vectors of events."""
    known = model_of(connection, group)
    if known is None:
        return
    connection.execute(delete(embeddings).where(embeddings.c.group_id == group, embeddings.c.seq.in_(seqs)))
    _write_codes(ledger, connection, group, dict.fromkeys(seqs, bytes(_width(known[1]))), grow=False)


def unpack(connection: Connection, group: str) -> None:
    """Delete the packed signs of a group; its vectors stay."""
    connection.execute(delete(embedding_codes).where(embedding_codes.c.group_id == group))


def clear(connection: Connection, group: str) -> None:
    """Delete all vectors of a group."""
    for table in (embeddings, embedding_codes, embedding_models):
        connection.execute(delete(table).where(table.c.group_id == group))


def nearest(
    connection: Connection, group: str, vector: Vector, allowed: NDArray[np.bool_], most: int
) -> Nearest | None:
    """The events that are nearest to a vector, as far as signs tell, at most `most`; None where the group has no
    vectors of its model.

    Args:
        allowed: which events may be found, by seq.
    """
    known = model_of(connection, group)
    if known != (vector.model, len(vector.values)):
        return None
    codes = _codes(connection, group, known[1])[: len(allowed)]
    differing = np.bitwise_count(codes ^ np.frombuffer(_signs(vector.values), "<u8"))
    # As a product, since summing over so few is slow.
    distances = differing.astype(np.float32) @ np.ones(codes.shape[1], np.float32)
    seqs = np.flatnonzero(allowed[: len(codes)])
    sample = seqs[:: -(-len(seqs) // SAMPLE) or 1]
    distances = distances[seqs]
    if len(seqs) > most:
        seqs = seqs[np.argpartition(distances, most)[:most]]
    found = _read(connection, group, [int(seq) for seq in np.union1d(seqs, sample)])
    if not found:
        return None
    cosines = dict(zip(found, np.stack(list(found.values())) @ vector.values, strict=True))
    kept = [int(seq) for seq in seqs if int(seq) in found]
    drawn = [cosines[int(seq)] for seq in sample if int(seq) in found]
    return Nearest(
        seqs=np.array(kept, np.int64),
        cosines=np.array([cosines[seq] for seq in kept], np.float32),
        mean=float(np.mean(drawn)) if drawn else 0.0,
    )


def _bytes(values: Values) -> bytes:
    rounded: bytes = np.round(values * (127 / np.abs(values).max())).astype(np.int8).tobytes()
    return rounded


def _width(dimensions: int) -> int:
    """Bytes of the signs of a vector."""
    return -(-dimensions // (8 * _WORD)) * _WORD


def _signs(values: Values) -> bytes:
    packed: bytes = np.packbits(values > 0).tobytes()
    return packed.ljust(_width(len(values)), b"\0")


def _read(connection: Connection, group: str, seqs: Collection[int]) -> dict[int, Values]:
    """Vectors, of length 1, by seq."""
    query = text("SELECT seq, data FROM embeddings WHERE group_id = :group AND seq IN :seqs").bindparams(
        bindparam("seqs", expanding=True)
    )
    rows = connection.execute(query, {"group": group, "seqs": list(seqs)}).all()
    if not rows:
        return {}
    values = np.frombuffer(b"".join(row.data for row in rows), np.int8).reshape(len(rows), -1).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return dict(zip((row.seq for row in rows), values, strict=True))


def _codes(connection: Connection, group: str, dimensions: int) -> NDArray[np.uint64]:
    """The signs of all vectors of a group, by seq; zeros where there is none."""
    query = text("SELECT block, data FROM embedding_codes WHERE group_id = :group ORDER BY block")
    rows = connection.execute(query, {"group": group}).all()
    size = _width(dimensions) * BLOCK
    packed = bytearray(size * (rows[-1].block + 1) if rows else 0)
    for block, data in rows:
        packed[block * size : block * size + len(data)] = data
    return np.frombuffer(packed, "<u8").reshape(-1, size // BLOCK // _WORD)


def _write_codes(
    ledger: Ledger, connection: Connection, group: str, codes: Mapping[int, bytes], *, grow: bool = True
) -> None:
    """Put signs into their blocks; without `grow` only where there are some."""
    blocks: dict[int, list[int]] = {}
    for seq in codes:
        blocks.setdefault(seq // BLOCK, []).append(seq)
    column = embedding_codes.c
    insert = ledger.insert(embedding_codes)
    replace = insert.on_conflict_do_update(index_elements=["group_id", "block"], set_={"data": insert.excluded.data})
    for block, seqs in sorted(blocks.items()):
        query = select(column.data).where(column.group_id == group, column.block == block)
        data = bytearray(connection.execute(query).scalar() or b"")
        for seq in seqs:
            code, start = codes[seq], seq % BLOCK * len(codes[seq])
            if len(data) < start + len(code):
                if not grow:
                    continue
                data.extend(bytes(start + len(code) - len(data)))
            data[start : start + len(code)] = code
        if data:
            connection.execute(replace, {"group_id": group, "block": block, "data": bytes(data)})
