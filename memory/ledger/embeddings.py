"""Vectors of events' texts, made by an embedding model, and the search for the nearest; the same on both databases.

A vector is kept with a signed byte a dimension, by its event. Once a group has more than a few, it is also kept on
which side of their middle each one is, a bit a dimension: its *code*. Codes are packed in blocks of events. A question
compares its own with all of them at once, and reads the vectors of the few hundred events with which it shares most.
The middle matters: with some models all vectors point nearly the same way, and so would be on the same side of zero.
Source of the idea: Charikar, "Similarity estimation techniques from rounding algorithms" (2002).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, delete, func, select, text, update

from memory.ledger.embedding_models import model_of
from memory.ledger.engine import Ledger
from memory.ledger.schema import embedding_codes, embedding_models, embeddings

#: Events whose codes are in one row: fewer than of postings, since each is larger, and a row is written as a whole.
BLOCK = 512
#: Dimensions that a code tells of: the first ones. More find hardly more, and take longer to compare.
BITS = 512
#: Up to so many vectors of a group all are read, and there are no codes.
FEW = 256
#: Codes are compared in words of so many bytes.
_WORD = 8

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
    pack(ledger, connection, group, vectors)


def pack(ledger: Ledger, connection: Connection, group: str, seqs: Collection[int]) -> None:
    """Pack the codes of the vectors of these events, as far as they have one; of all once there are enough."""
    middle = _middle(connection, group)
    if middle is None:
        column = embeddings.c
        count = select(func.count()).where(column.group_id == group)
        if connection.execute(count).scalar_one() <= FEW:
            return
        seqs = connection.execute(select(column.seq).where(column.group_id == group)).scalars().all()
        middle = np.mean(list(_read(connection, group, seqs).values()), axis=0, dtype=np.float32)
        change = update(embedding_models).where(embedding_models.c.group_id == group)
        connection.execute(change.values(middle=middle.astype("<f4").tobytes()))
    found = _read(connection, group, seqs)
    _write_codes(ledger, connection, group, {seq: _code(values, middle) for seq, values in found.items()})


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
    """Delete the codes of a group; its vectors stay."""
    connection.execute(delete(embedding_codes).where(embedding_codes.c.group_id == group))


def clear(connection: Connection, group: str) -> None:
    """Delete all vectors of a group."""
    for table in (embeddings, embedding_codes, embedding_models):
        connection.execute(delete(table).where(table.c.group_id == group))


def nearest(
    connection: Connection, group: str, vector: Vector, allowed: NDArray[np.bool_], most: int
) -> Nearest | None:
    """The events that are nearest to a vector, as far as codes tell, at most `most`; None where the group has no
    vectors of its model.

    Args:
        allowed: which events may be found, by seq.
    """
    if model_of(connection, group) != (vector.model, len(vector.values)):
        return None
    middle = _middle(connection, group)
    if middle is None:
        found = _read(connection, group)
        found = {seq: values for seq, values in found.items() if seq < len(allowed) and allowed[seq]}
    else:
        codes = _codes(connection, group, len(middle))[: len(allowed)]
        differing = np.bitwise_count(codes ^ np.frombuffer(_code(vector.values, middle), "<u8"))
        seqs = np.flatnonzero(allowed[: len(codes)])
        distances = np.einsum("ij->i", differing, dtype=np.uint16)[seqs]
        if len(seqs) > most:
            seqs = seqs[np.argpartition(distances, most)[:most]]
        found = _read(connection, group, seqs.tolist())
    if not found:
        return None
    # By einsum: BLAS would start threads for this little, which wait for one another where the machine is busy.
    cosines = np.einsum("ij,j->i", np.stack(list(found.values())), vector.values)
    mean = float(cosines.mean()) if middle is None else float(np.einsum("i,i->", middle, vector.values))
    return Nearest(np.fromiter(found, np.int64, len(found)), cosines.astype(np.float32), mean)


def _bytes(values: Values) -> bytes:
    rounded: bytes = np.round(values * (127 / np.abs(values).max())).astype(np.int8).tobytes()
    return rounded


def _middle(connection: Connection, group: str) -> Values | None:
    query = select(embedding_models.c.middle).where(embedding_models.c.group_id == group)
    data = connection.execute(query).scalar()
    return None if data is None else np.frombuffer(data, "<f4").astype(np.float32)


def _width(dimensions: int) -> int:
    """Bytes of the code of a vector."""
    return -(-min(dimensions, BITS) // (8 * _WORD)) * _WORD


def _code(values: Values, middle: Values) -> bytes:
    packed: bytes = np.packbits(values[:BITS] > middle[:BITS]).tobytes()
    return packed.ljust(_width(len(values)), b"\0")


def _read(connection: Connection, group: str, seqs: Collection[int] | None = None) -> dict[int, Values]:
    """Vectors, of length 1, by seq; of all events, or of some."""
    those = "" if seqs is None else " AND seq IN :seqs"
    query = text(f"SELECT seq, data FROM embeddings WHERE group_id = :group{those}")
    if seqs is not None:
        query = query.bindparams(bindparam("seqs", list(seqs), expanding=True))
    rows = connection.execute(query, {"group": group}).all()
    if not rows:
        return {}
    values = np.frombuffer(b"".join(row.data for row in rows), np.int8).reshape(len(rows), -1).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return dict(zip((row.seq for row in rows), values, strict=True))


def _codes(connection: Connection, group: str, dimensions: int) -> NDArray[np.uint64]:
    """The codes of a group, by seq; zeros where there is none."""
    size = _width(dimensions) * BLOCK
    pieces: list[bytes] = []
    query = text("SELECT block, data FROM embedding_codes WHERE group_id = :group ORDER BY block")
    for block, data in connection.execute(query, {"group": group}).all():
        pieces += [bytes(size)] * (block - len(pieces))
        pieces.append(data if len(data) == size else data.ljust(size, b"\0"))
    return np.frombuffer(b"".join(pieces), "<u8").reshape(-1, size // BLOCK // _WORD)


def _write_codes(
    ledger: Ledger, connection: Connection, group: str, codes: Mapping[int, bytes], *, grow: bool = True
) -> None:
    """Put codes into their blocks; without `grow` only where there are some."""
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
