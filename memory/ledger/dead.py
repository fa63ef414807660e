"""Dead letters: events that could not be dealt with, whole, with what went wrong."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select

from memory.events import Event
from memory.ledger.engine import Ledger
from memory.ledger.schema import dead_letters, stage_cursors

_letter = dead_letters.c


class NoSuchLetter(LookupError):
    """There is no dead letter of this number."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: see `schema.dead_letters`. Time in ms since 1970."""

    n: int
    group: str
    stage: str
    event_id: str | None
    seq: int | None
    stream_id: str | None
    error: str
    attempts: int
    event: str
    time: int

    def summary(self) -> dict[str, Any]:
        """All but the event itself."""
        return {
            "number": self.n,
            "group": self.group,
            "stage": self.stage,
            "id": self.event_id,
            "seq": self.seq,
            "error": self.error,
            "attempts": self.attempts,
            "time": self.time,
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those for which all that is given holds; all letters where nothing is.

    `ids` are those of events, `error` is a piece of its text in upper or lower case, `before` is ms since 1970.
    """

    numbers: Collection[int] = ()
    ids: Collection[str] = ()
    stage: str | None = None
    group: str | None = None
    error: str | None = None
    before: int | None = None


class Selected:
    """The letters that a selection meant when it was looked up. What is buried later is not among them, so that a
    letter that comes back while all are retried is not retried for ever."""

    def __init__(self, connection: Connection, selection: Selection) -> None:
        """
        Raises:
            NoSuchLetter: one of the numbers is that of none.
        """
        self._where = _where(connection, selection)
        last = connection.execute(select(func.max(_letter.n))).scalar() or 0
        self._where.append(_letter.n <= last)
        #: How many they were.
        self.total: int = connection.execute(
            select(func.count()).select_from(dead_letters).where(*self._where)
        ).scalar_one()

    def newest(self, connection: Connection, limit: int) -> list[Letter]:
        """At most `limit` of them, newest first."""
        query = select(dead_letters).where(*self._where).order_by(_letter.n.desc()).limit(limit)
        return [Letter(*row) for row in connection.execute(query)]

    def following(self, connection: Connection, number: int, limit: int) -> list[Letter]:
        """The next of them with a number above `number`, at most `limit`, oldest first."""
        query = select(dead_letters).where(*self._where, _letter.n > number).order_by(_letter.n).limit(limit)
        return [Letter(*row) for row in connection.execute(query)]

    def numbers(self, connection: Connection, number: int, limit: int) -> list[int]:
        """As `following`, the numbers alone: events may be large."""
        query = select(_letter.n).where(*self._where, _letter.n > number).order_by(_letter.n).limit(limit)
        return list(connection.execute(query).scalars())


def bury(connection: Connection, stage: str, event: Event, seq: int, error: str, attempts: int) -> None:
    """Write an event of the ledger to the dead letters of a stage."""
    connection.execute(
        insert(dead_letters).values(
            group_id=event.group,
            stage=stage,
            event_id=event.id,
            seq=seq,
            error=error,
            attempts=attempts,
            event=event.encode().decode(),
            time=int(time.time() * 1000),
        )
    )


def remove(connection: Connection, letter: Letter) -> None:
    """Delete a dead letter whose event is dealt with in the same transaction.

    Raises:
        NoSuchLetter: somebody else has.
    """
    if connection.execute(delete(dead_letters).where(_letter.n == letter.n)).rowcount != 1:
        raise NoSuchLetter(f"dead letter {letter.n} is gone: somebody else dealt with it")


def drop(ledger: Ledger, connection: Connection, numbers: Sequence[int]) -> list[int]:
    """Delete dead letters for good. They are counted where their stage's cursor is, so that the books stay even.

    Args:
        connection: a writing transaction.
        numbers: at most some thousands.

    Returns:
        Numbers of those that were there.
    """
    statement = delete(dead_letters).where(_letter.n.in_(numbers)).returning(_letter.n, _letter.group_id, _letter.stage)
    rows = connection.execute(statement).all()
    # In a fixed order: two who drop at once would wait for each other.
    for (group, stage), count in sorted(Counter((row.group_id, row.stage) for row in rows).items()):
        counted = ledger.insert(stage_cursors).values(group_id=group, stage=stage, dropped=count)
        connection.execute(
            counted.on_conflict_do_update(
                index_elements=["group_id", "stage"], set_={"dropped": stage_cursors.c.dropped + count}
            )
        )
    return sorted(row.n for row in rows)


def letters(connection: Connection, *, group: str | None, stage: str | None, limit: int) -> list[Letter]:
    """Dead letters, newest first, of one group and one stage where these are given."""
    return Selected(connection, Selection(group=group, stage=stage)).newest(connection, limit)


def letter(connection: Connection, number: int) -> Letter:
    """One dead letter.

    Raises:
        NoSuchLetter: see there.
    """
    row = connection.execute(select(dead_letters).where(_letter.n == number)).one_or_none()
    if row is None:
        raise _none(number)
    return Letter(*row)


def _where(connection: Connection, selection: Selection) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if selection.numbers:
        found.append(_letter.n.in_(selection.numbers))
        there = set(connection.execute(select(_letter.n).where(*found)).scalars())
        for number in selection.numbers:
            if number not in there:
                raise _none(number)
    if selection.ids:
        unread = [number for id in selection.ids for number in _unread(connection, id)]
        found.append(or_(_letter.event_id.in_(selection.ids), _letter.n.in_(unread)))
    if selection.stage is not None:
        found.append(_letter.stage == selection.stage)
    if selection.group is not None:
        found.append(_letter.group_id == selection.group)
    if selection.error is not None:
        found.append(_letter.error.icontains(selection.error, autoescape=True))
    if selection.before is not None:
        found.append(_letter.time < selection.before)
    return found


def _unread(connection: Connection, id: str) -> list[int]:
    """Numbers of letters that were no events, and yet are JSON with this id. Only those that hold it are decoded."""
    query = select(_letter.n, _letter.event).where(
        _letter.event_id.is_(None), _letter.event.contains(id, autoescape=True)
    )
    return [row.n for row in connection.execute(query) if _id_of(row.event) == id]


def _id_of(raw: str) -> object:
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return event.get("id") if isinstance(event, dict) else None


def _none(number: int) -> NoSuchLetter:
    return NoSuchLetter(f"there is no dead letter {number}: `memlane dead list` shows those there are")
