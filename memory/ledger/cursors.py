"""Cursors: how far each stage of a group has come, and who may move it.

A worker takes a new fencing token before it works. Every transaction first claims the cursor by that token; a worker
that was stopped and came back after another took over finds no row and writes nothing.
Source of the idea: Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from memory.ledger.engine import Ledger
from memory.ledger.schema import dead_letters, events, stage_cursors


class Fenced(Exception):
    """Another worker has taken over this stage of this group; nothing was written."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a stage of a group stands: see `schema.stage_cursors`."""

    seq: int
    stream_id: str
    generation: str


def take_token(ledger: Ledger, stage: str, group: str) -> int:
    """A fencing token newer than all before; makes the cursor on first need."""
    with ledger.write() as connection:
        statement = ledger.insert(stage_cursors).values(group_id=group, stage=stage, token=1)
        token: int = connection.execute(
            statement.on_conflict_do_update(
                index_elements=["group_id", "stage"], set_={"token": stage_cursors.c.token + 1}
            ).returning(stage_cursors.c.token)
        ).scalar_one()
    return token


def claim(connection: Connection, stage: str, group: str, token: int, start: int | None = None) -> Cursor:
    """Lock the cursor for the rest of the transaction.

    Args:
        start: seq at which the caller has found the cursor before, and from which it has worked.

    Raises:
        Fenced: a newer token was taken, or the cursor was moved since.
    """
    cursor = stage_cursors.c
    row = connection.execute(
        update(stage_cursors)
        .where(cursor.group_id == group, cursor.stage == stage, cursor.token == token)
        .values(token=token)
        .returning(cursor.seq, cursor.stream_id, cursor.generation)
    ).one_or_none()
    if row is None:
        raise Fenced(f"stage {stage} of group {group} was taken over by another worker")
    if start is not None and row.seq != start:
        raise Fenced(f"stage {stage} of group {group} was moved from {start} to {row.seq}")
    return Cursor(row.seq, row.stream_id, row.generation)


def hold(connection: Connection, stage: str, group: str) -> None:
    """Lock a cursor for the rest of the transaction, whoever may move it: who forgets waits for it."""
    cursor = stage_cursors.c
    connection.execute(select(cursor.seq).where(cursor.group_id == group, cursor.stage == stage).with_for_update())


def advance(connection: Connection, stage: str, group: str, seq: int, done: int) -> None:
    """Move a claimed cursor to `seq`, having dealt with `done` events of interest."""
    cursor = stage_cursors.c
    connection.execute(
        update(stage_cursors)
        .where(cursor.group_id == group, cursor.stage == stage)
        .values(seq=seq, done=cursor.done + done)
    )


def count_done(connection: Connection, stage: str, group: str) -> None:
    """Count one event of interest as dealt with that is behind the cursor: one that was buried, and retried."""
    cursor = stage_cursors.c
    connection.execute(
        update(stage_cursors).where(cursor.group_id == group, cursor.stage == stage).values(done=cursor.done + 1)
    )


def restart(connection: Connection, stage: str, group: str) -> None:
    """Have a claimed stage begin again, with its counts; what it gave up it tries again."""
    cursor, letter = stage_cursors.c, dead_letters.c
    connection.execute(
        update(stage_cursors).where(cursor.group_id == group, cursor.stage == stage).values(seq=0, done=0, dropped=0)
    )
    connection.execute(delete(dead_letters).where(letter.group_id == group, letter.stage == stage))


def position(connection: Connection, stage: str, group: str) -> int:
    """Seq of the last event that a stage of a group has dealt with; 0 where it has not begun."""
    cursor = stage_cursors.c
    return connection.execute(select(cursor.seq).where(cursor.group_id == group, cursor.stage == stage)).scalar() or 0


def waiting_since(
    connection: Connection, stage: str, follows: str, group: str, types: Collection[str] | None
) -> int | None:
    """When the next event that a stage of a group has to look at came into the ledger, ms; None if there is none.

    Args:
        types: of event that the stage cares about; None: all.
    """
    start, head = position(connection, stage, group), position(connection, follows, group)
    query = select(events.c.recorded).where(events.c.group_id == group, events.c.seq > start, events.c.seq <= head)
    if types is not None:
        query = query.where(events.c.type.in_(types))
    return connection.execute(query.order_by(events.c.seq).limit(1)).scalar()


def groups(connection: Connection, limit: int, after: str = "") -> list[str]:
    """The next groups that the ledger knows, at most `limit`, by name, behind `after`."""
    query = (
        select(stage_cursors.c.group_id)
        .where(stage_cursors.c.stage == "record", stage_cursors.c.group_id > after)
        .order_by(stage_cursors.c.group_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def behind(connection: Connection, stage: str, follows: str, limit: int, after: str = "") -> list[str]:
    """The next groups in which `stage` has not come as far as the stage that it follows: see `groups`."""
    ahead = stage_cursors.alias("ahead")
    own = stage_cursors.alias("own")
    query = (
        select(ahead.c.group_id)
        .outerjoin(own, (own.c.group_id == ahead.c.group_id) & (own.c.stage == stage))
        .where(ahead.c.stage == follows, ahead.c.seq > 0, (own.c.seq.is_(None)) | (own.c.seq < ahead.c.seq))
        .where(ahead.c.group_id > after)
        .order_by(ahead.c.group_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())
