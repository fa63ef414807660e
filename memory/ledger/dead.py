"""Dead letters: events that could not be dealt with, whole, with what went wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from memory.events import Event
from memory.ledger.schema import dead_letters


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
    """Delete a dead letter.

    Raises:
        NoSuchLetter: somebody else has.
    """
    if connection.execute(delete(dead_letters).where(dead_letters.c.n == letter.n)).rowcount != 1:
        raise NoSuchLetter(f"dead letter {letter.n} is gone: somebody else dealt with it")


def letters(connection: Connection, *, group: str | None, stage: str | None, limit: int) -> list[Letter]:
    """Dead letters, newest first, of one group and one stage where these are given."""
    query = select(dead_letters).order_by(dead_letters.c.n.desc()).limit(limit)
    if group is not None:
        query = query.where(dead_letters.c.group_id == group)
    if stage is not None:
        query = query.where(dead_letters.c.stage == stage)
    return [Letter(*row) for row in connection.execute(query)]


def letter(connection: Connection, number: int) -> Letter:
    """One dead letter.

    Raises:
        NoSuchLetter: see there.
    """
    row = connection.execute(select(dead_letters).where(dead_letters.c.n == number)).one_or_none()
    if row is None:
        raise NoSuchLetter(f"there is no dead letter {number}: `memlane dead list` shows those there are")
    return Letter(*row)
