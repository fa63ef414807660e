"""Checkpoints in the ledger: one for each range of a session's events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from memory.compaction.checkpoint import SOURCE, Checkpoint
from memory.compaction.content import Content
from memory.events import Event
from memory.ledger.engine import Ledger
from memory.ledger.schema import checkpoints, events

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def latest(connection: Connection, group: str, session: str) -> Checkpoint | None:
    """The last checkpoint of a session."""
    query = select(checkpoints).where(*_of(group, session)).order_by(checkpoints.c.last_seq.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return _checkpoint(row) if row else None


def ending_at(connection: Connection, group: str, session: str, seq: int) -> Checkpoint | None:
    """The checkpoint that the event with this seq was the reason for."""
    query = select(checkpoints).where(*_of(group, session), checkpoints.c.last_seq == seq)
    row = connection.execute(query).one_or_none()
    return _checkpoint(row) if row else None


def of_session(connection: Connection, group: str, session: str) -> list[Checkpoint]:
    """All checkpoints of a session, oldest first."""
    query = select(checkpoints).where(*_of(group, session)).order_by(checkpoints.c.last_seq)
    return [_checkpoint(row) for row in connection.execute(query)]


def insert(ledger: Ledger, connection: Connection, checkpoint: Checkpoint) -> bool:
    """Store a checkpoint; False, and nothing is stored, where another one begins or ends at the same event."""
    statement = ledger.insert(checkpoints).values(_row(checkpoint)).on_conflict_do_nothing()
    return bool(connection.execute(statement.returning(checkpoints.c.id)).one_or_none())


def forget(connection: Connection, group: str, sessions: Collection[str]) -> int:
    """Delete the checkpoints of sessions of which something is to be forgotten: each may tell of it.

    Returns:
        How many there were.
    """
    found = delete(checkpoints).where(checkpoints.c.group_id == group, checkpoints.c.session.in_(sorted(sessions)))
    return connection.execute(found).rowcount


def tell_of(connection: Connection, group: str, sessions: Collection[str], seq: int) -> list[int]:
    """Seqs of the events by which workers have told of checkpoints of these sessions, behind `seq`, in order."""
    query = select(events.c.seq).where(
        events.c.group_id == group,
        events.c.session.in_(sorted(sessions)),
        events.c.seq > seq,
        events.c.type == "checkpoint.created",
        events.c.source == SOURCE,
        events.c.forgotten.is_(None),
    )
    return list(connection.execute(query.order_by(events.c.seq)).scalars())


def withdrawn(connection: Connection, group: str, found: Sequence[Event], head: int) -> set[str]:
    """Ids of those of these events, not yet recorded, that tell of checkpoints which were forgotten since they were
    published. That of an imported one is made elsewhere, of other events, and is none of ours.

    Args:
        head: the last seq in the ledger.
    """
    ours = [event for event in found if event.type == "checkpoint.created" and event.source == SOURCE]
    if not ours:
        return set()
    query = select(checkpoints.c.id, checkpoints.c.summary).where(checkpoints.c.id.in_([event.id for event in ours]))
    stored = {row.id: row.summary for row in connection.execute(query)}
    gone: set[str] = set()
    for event in ours:
        last = _last_of(event, head)
        if last is None or stored.get(event.id) == event.data.get("summary"):
            continue
        of_group = events.c.group_id == group
        trigger = select(events.c.time).where(of_group, events.c.seq == last)
        forgot = select(events.c.seq).where(of_group, events.c.seq <= last, events.c.forgotten.is_not(None)).limit(1)
        if connection.execute(trigger).scalar() == _milliseconds(event.time) and connection.execute(forgot).first():
            gone.add(event.id)
    return gone


def _last_of(event: Event, head: int) -> int | None:
    """The last seq that a checkpoint covers, as its event tells; None where that is no event of the ledger."""
    match event.data.get("range"):
        case [_, int(last)] if 0 < last <= head:
            return last
    return None


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)


def _of(group: str, session: str) -> tuple[Any, Any]:
    return checkpoints.c.group_id == group, checkpoints.c.session == session


def _row(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "group_id": checkpoint.group,
        "session": checkpoint.session,
        "first_seq": checkpoint.first_seq,
        "last_seq": checkpoint.last_seq,
        "trigger_id": checkpoint.trigger,
        "reason": checkpoint.reason,
        "strategy": checkpoint.strategy,
        "written_by": checkpoint.written_by,
        "tokens_before": checkpoint.tokens_before,
        "tokens_after": checkpoint.tokens_after,
        "time": _milliseconds(checkpoint.time),
        "agent": checkpoint.agent,
        "user_id": checkpoint.user,
        "project": checkpoint.project,
        "content": checkpoint.content.model_dump_json(exclude_defaults=True),
        "summary": checkpoint.summary,
    }


def _checkpoint(row: Row[Any]) -> Checkpoint:
    return Checkpoint(
        id=row.id,
        group=row.group_id,
        session=row.session,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        trigger=row.trigger_id,
        reason=row.reason,
        strategy=row.strategy,
        written_by=row.written_by,
        tokens_before=row.tokens_before,
        tokens_after=row.tokens_after,
        time=_EPOCH + timedelta(milliseconds=row.time),
        agent=row.agent,
        user=row.user_id,
        project=row.project,
        content=Content.model_validate_json(row.content),
        summary=row.summary,
    )
