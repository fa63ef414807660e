"""Forgetting that is under way: a row from the transaction that empties a group's first event until the graph and the
files hold nothing of it any more. So what was begun and did not come to its end is known, and can be finished."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from memory.ledger.engine import Ledger
from memory.ledger.schema import forgettings


@dataclass(frozen=True, slots=True)
class Begun:
    """What was begun in a group. Times are ms since 1970."""

    group: str
    #: Not later than `events.forgotten` of any event concerned.
    since: int
    #: Of its last change; each has another.
    latest: int
    #: Whether a model had found something in what was forgotten.
    prose: bool


def begin(ledger: Ledger, connection: Connection, group: str, now: int, *, prose: bool) -> None:
    """Note that events are being emptied; `now` is what they get as `forgotten`."""
    known = of(connection, group)
    values = {
        "since": min(now, known.since) if known else now,
        "latest": max(now, known.latest + 1) if known else now,
        "prose": prose or (known is not None and known.prose),
    }
    statement = ledger.insert(forgettings).values(group_id=group, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["group_id"], set_=values))


def of(connection: Connection, group: str) -> Begun | None:
    """What was begun in a group and is not at its end."""
    return next((found for found in unfinished(connection) if found.group == group), None)


def unfinished(connection: Connection) -> list[Begun]:
    """The same of all groups, by name."""
    rows = connection.execute(select(forgettings).order_by(forgettings.c.group_id))
    return [Begun(row.group_id, row.since, row.latest, bool(row.prose)) for row in rows]


def end(ledger: Ledger, begun: Begun) -> None:
    """It is done, unless more was begun since.

    Raises:
        LedgerUnavailable
    """
    column = forgettings.c
    with ledger.write() as connection:
        connection.execute(delete(forgettings).where(column.group_id == begun.group, column.latest == begun.latest))
