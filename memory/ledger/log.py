"""Writing the log (stage `record`), and reading it (the stages that follow)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, Row, insert, select, text, update

from memory.events import Event
from memory.ledger import checkpoints, cursors, generations
from memory.ledger.engine import Ledger
from memory.ledger.schema import dead_letters, events, stage_cursors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a lane: the event, or what was found instead and why it is not one; and the generation of the queue
    server that accepted it, empty where no producer of ours put it there."""

    stream_id: str
    event: Event | None
    raw: str
    error: str = ""
    attempts: int = 1
    generation: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch of lane entries."""

    recorded: int
    duplicates: int
    dead: int


@dataclass(frozen=True, slots=True)
class Known:
    """The group that an id is recorded in, and whether the event's content was forgotten."""

    group: str
    forgotten: bool


class KnownIds(Exception):
    """Some of these ids are in the ledger, so the seqs that were given have gaps: roll back, and look them up first."""


def record(
    ledger: Ledger,
    connection: Connection,
    group: str,
    token: int,
    entries: Sequence[Entry],
    describe: Callable[[Event], str],
    look_up: bool = False,
) -> Recorded:
    """Put lane entries into the log, each once, in their order, with dense seqs; unreadable ones to the dead letters.

    One that tells of a checkpoint that was forgotten meanwhile is recorded without its content, as if it had been
    forgotten itself.

    An entry that the ledger has was dealt with by a worker that died before it could delete it, or the queue server
    has forgotten since that it was deleted. Each is counted as dealt with once, by the generation that accepted it.

    Args:
        connection: a writing transaction; nothing else may have been done in it.
        describe: gives the event's text for episodes and search.
        look_up: leave out ids that are in the ledger. Mostly none is, so it is first tried without.

    Raises:
        cursors.Fenced: another worker has taken over.
        KnownIds: see there. With `look_up` only if another group recorded one of them at the same moment.
    """
    cursor = cursors.claim(connection, "record", group, token)
    entries = _not_dealt_with(connection, group, cursor, entries)
    if not entries:
        return Recorded(0, 0, 0)

    fresh = _distinct(connection, entries, look_up)
    readable = sum(entry.event is not None for entry in entries)
    now = milliseconds(datetime.now(UTC))
    gone = checkpoints.withdrawn(connection, group, [entry.event for entry in fresh if entry.event], cursor.seq)
    rows, paths = [], []
    for seq, entry in enumerate(fresh, start=cursor.seq + 1):
        event = entry.event
        assert event is not None
        row = row_of(event, group, seq, entry.stream_id, now, describe(event))
        if event.id in gone:
            row |= emptied(now)
        else:
            paths += [{"group_id": group, "path": path, "seq": seq} for path in event.paths]
        rows.append(row)
    if rows and _insert(ledger, connection, "events", rows) != len(rows):
        raise KnownIds(f"group {group}: some of {len(rows)} ids are in the ledger")
    if paths:
        _insert(ledger, connection, "event_paths", paths)

    dead = [_dead(entry, group, now) for entry in entries if entry.event is None]
    if dead:
        connection.execute(insert(dead_letters), dead)

    duplicates = readable - len(rows)
    connection.execute(
        update(stage_cursors)
        .where(stage_cursors.c.group_id == group, stage_cursors.c.stage == "record")
        .values(
            seq=cursor.seq + len(rows),
            done=stage_cursors.c.done + len(rows),
            duplicates=stage_cursors.c.duplicates + duplicates,
            stream_id=entries[-1].stream_id,
            generation=entries[-1].generation,
        )
    )
    generations.count_dealt(ledger, connection, group, Counter(entry.generation for entry in entries))
    return Recorded(len(rows), duplicates, len(dead))


@dataclass(frozen=True, slots=True)
class Slice:
    """Events that a stage cares about, in order, and the seq up to which it is done once they are dealt with.

    `forgotten` are the ids of those among them whose content is no more: there is nothing to be done with them.
    """

    events: list[Event]
    seqs: list[int]
    upto: int
    forgotten: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many events these are, the forgotten ones included."""
        return len(self.events) + len(self.forgotten)

    def without(self, ids: Collection[str]) -> Slice:
        """The same without the events of these ids, which were forgotten since it was read."""
        if not ids:
            return self
        gone = set(ids)
        kept = [(event, seq) for event, seq in zip(self.events, self.seqs, strict=True) if event.id not in gone]
        return Slice([event for event, _ in kept], [seq for _, seq in kept], self.upto, (*self.forgotten, *ids))


def read(connection: Connection, group: str, after: int, upto: int, types: Collection[str] | None, limit: int) -> Slice:
    """The next events with `after < seq <= upto` whose type is in `types` (None: all), at most `limit`."""
    query = (
        select(events)
        .where(events.c.group_id == group, events.c.seq > after, events.c.seq <= upto)
        .order_by(events.c.seq)
        .limit(limit)
    )
    if types is not None:
        query = query.where(events.c.type.in_(sorted(types)))
    rows = connection.execute(query).all()
    end = rows[-1].seq if len(rows) == limit else upto
    there = [row for row in rows if row.forgotten is None]
    gone = tuple(row.id for row in rows if row.forgotten is not None)
    return Slice([_event(row) for row in there], [row.seq for row in there], end, gone)


def pages(
    ledger: Ledger,
    group: str,
    types: Collection[str] | None = None,
    *,
    after: int = 0,
    upto: int | None = None,
    limit: int = 500,
) -> Iterator[Slice]:
    """All events of a group, as `read`, a transaction for each `limit` of them: none is held open for long.

    Args:
        after: the seq behind which to begin.
        upto: the last seq that is read; default: the last one there is now.
    """
    with ledger.read() as connection:
        head = cursors.position(connection, "record", group) if upto is None else upto
    while after < head:
        with ledger.read() as connection:
            found = read(connection, group, after, head, types, limit)
        yield found
        after = found.upto


def forgotten_since(connection: Connection, group: str, found: Slice) -> list[str]:
    """Ids of those of the events that were forgotten since they were read."""
    if not found.seqs:
        return []
    query = select(events.c.id).where(
        events.c.group_id == group,
        events.c.seq.between(found.seqs[0], found.seqs[-1]),
        events.c.forgotten.is_not(None),
        events.c.id.in_([event.id for event in found.events]),
    )
    return list(connection.execute(query).scalars())


def forgotten_ids(connection: Connection, group: str, since: int) -> list[str]:
    """Ids of all events of a group whose content was forgotten since then, ms since 1970."""
    query = select(events.c.id).where(
        events.c.group_id == group, events.c.forgotten.is_not(None), events.c.forgotten >= since
    )
    return list(connection.execute(query).scalars())


def ids_of(connection: Connection, group: str, types: Collection[str], upto: int) -> Iterator[tuple[int, str]]:
    """Seqs and ids of all events of a group with `seq <= upto` whose type is in `types`, in order, without those that
    were forgotten."""
    query = select(events.c.seq, events.c.id).where(
        events.c.group_id == group,
        events.c.seq <= upto,
        events.c.type.in_(sorted(types)),
        events.c.forgotten.is_(None),
    )
    return ((row.seq, row.id) for row in connection.execute(query.order_by(events.c.seq)))


def events_at(connection: Connection, group: str, seqs: Collection[int]) -> list[Event]:
    """The events of these seqs, in order, without those that were forgotten."""
    query = select(events).where(events.c.group_id == group, events.c.seq.in_(seqs), events.c.forgotten.is_(None))
    return [_event(row) for row in connection.execute(query.order_by(events.c.seq))]


def ids_between(connection: Connection, group: str, first: int, last: int, types: Collection[str]) -> list[str]:
    """Ids of the events with `first <= seq <= last` whose type is in `types`, forgotten ones included."""
    query = select(events.c.id).where(
        events.c.group_id == group, events.c.seq.between(first, last), events.c.type.in_(sorted(types))
    )
    return list(connection.execute(query).scalars())


def known(connection: Connection, ids: Sequence[str]) -> dict[str, Known]:
    """What the ledger knows of each of these ids, as far as it has them."""
    query = select(events.c.id, events.c.group_id, events.c.forgotten).where(events.c.id.in_(ids))
    return {row.id: Known(row.group_id, row.forgotten is not None) for row in connection.execute(query)}


def of_session(
    connection: Connection,
    group: str,
    session: str,
    after: int,
    upto: int,
    limit: int | None = None,
    types: Collection[str] | None = None,
) -> Slice:
    """As `read`, of one session; without a limit all of them."""
    query = (
        select(events)
        .where(events.c.group_id == group, events.c.session == session, events.c.seq > after, events.c.seq <= upto)
        .order_by(events.c.seq)
        .limit(limit)
    )
    if types is not None:
        query = query.where(events.c.type.in_(sorted(types)))
    rows = connection.execute(query).all()
    return Slice([_event(row) for row in rows], [row.seq for row in rows], rows[-1].seq if rows else upto)


def _not_dealt_with(
    connection: Connection, group: str, cursor: cursors.Cursor, entries: Sequence[Entry]
) -> Sequence[Entry]:
    """Entries of which the ledger knows nothing. Stream ids go up within a generation, so there only those at or before
    the cursor's can be known; those of another are looked for by their own stream ids."""
    last = _position(cursor.stream_id)
    earlier, others = [], []
    for entry in entries:
        if entry.generation != cursor.generation:
            others.append(entry)
        elif _position(entry.stream_id) <= last:
            earlier.append(entry)
    if not earlier and not others:
        return entries
    unreadable = dead_letters.c
    query = select(unreadable.stream_id).where(
        unreadable.group_id == group,
        unreadable.stage == "record",
        unreadable.stream_id.in_([entry.stream_id for entry in (*earlier, *others) if entry.event is None]),
    )
    dead = set(connection.execute(query).scalars())
    known = _known(connection, [entry.event.id for entry in earlier if entry.event is not None])
    ids = [entry.event.id for entry in others if entry.event is not None]
    query = select(events.c.stream_id).where(events.c.id.in_(ids), events.c.group_id == group)
    placed = set(connection.execute(query).scalars())
    done = {e.stream_id for e in earlier if (e.event.id in known if e.event is not None else e.stream_id in dead)}
    done |= {e.stream_id for e in others if e.stream_id in (placed if e.event is not None else dead)}
    return [entry for entry in entries if entry.stream_id not in done]


def _distinct(connection: Connection, entries: Sequence[Entry], look_up: bool) -> list[Entry]:
    """Entries whose event's id is not earlier in the batch and, with `look_up`, not in the ledger."""
    by_id: dict[str, Entry] = {}
    for entry in entries:
        if entry.event is not None:
            by_id.setdefault(entry.event.id, entry)
    if not look_up:
        return list(by_id.values())
    known = _known(connection, list(by_id))
    return [entry for id, entry in by_id.items() if id not in known]


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids that the ledger has, in whatever group."""
    return set(connection.execute(select(events.c.id).where(events.c.id.in_(ids))).scalars())


def _insert(ledger: Ledger, connection: Connection, table: str, rows: list[dict[str, Any]]) -> int:
    """Insert rows, leaving out those that conflict with what is there.

    Returns:
        How many were inserted.
    """
    columns = ", ".join(rows[0])
    if ledger.is_sqlite:
        places = ", ".join(f":{column}" for column in rows[0])
        statement = text(f"INSERT INTO {table} ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING")
        return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount
    # One statement with one parameter: PostgreSQL takes rows one by one in three times the time.
    statement = text(
        f"INSERT INTO {table} ({columns}) "
        f"SELECT {columns} FROM json_populate_recordset(NULL::{table}, CAST(:rows AS json)) ON CONFLICT DO NOTHING"
    )
    return connection.execute(statement, {"rows": json.dumps(rows, ensure_ascii=False)}).rowcount


def row_of(event: Event, group: str, seq: int, stream_id: str, now: int, said: str) -> dict[str, Any]:
    """The row of table `events` for an event; `now` in ms, `said` is its text."""
    return {
        "id": event.id,
        "group_id": group,
        "seq": seq,
        "stream_id": stream_id,
        "type": event.type,
        "source": event.source,
        "session": event.session,
        "agent": event.agent,
        "user_id": event.user,
        "project": event.project,
        "path": event.subject,
        "time": milliseconds(event.time),
        "recorded": now,
        "text": said,
        "data": json.dumps(event.data, ensure_ascii=False, separators=(",", ":")),
        "extensions": json.dumps(event.model_extra, ensure_ascii=False) if event.model_extra else None,
        "forgotten": None,
    }


def emptied(now: int) -> dict[str, Any]:
    """What becomes of a row of table `events` whose content is forgotten; `now` in ms."""
    nothing = dict.fromkeys(("session", "agent", "user_id", "project", "path", "extensions"), None)
    return {**nothing, "text": "", "data": "{}", "forgotten": now}


def _event(row: Row[Any]) -> Event:
    """The event back from its row; it was checked before it was recorded."""
    extensions = json.loads(row.extensions) if row.extensions else {}
    return Event.model_construct(
        specversion="1.0",
        id=row.id,
        source=row.source,
        type=row.type,
        time=_EPOCH + timedelta(milliseconds=row.time),
        group=row.group_id,
        session=row.session,
        agent=row.agent,
        user=row.user_id,
        project=row.project,
        subject=row.path,
        data=orjson.loads(row.data),
        **extensions,
    )


def _dead(entry: Entry, group: str, now: int) -> dict[str, Any]:
    return {
        "group_id": group,
        "stage": "record",
        "event_id": None,
        "seq": None,
        "stream_id": entry.stream_id,
        "error": entry.error,
        "attempts": entry.attempts,
        "event": entry.raw,
        "time": now,
    }


def _position(stream_id: str) -> tuple[int, int]:
    """A stream id `ms-n` in a form that sorts."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)


def milliseconds(time: datetime) -> int:
    """A time in ms since 1970."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
