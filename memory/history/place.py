"""Where an operation looks: one group of a ledger, on behalf of who asks. Never beyond that group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from memory.history.operations import HistoryError
from memory.ledger import Ledger, sessions
from memory.ledger.schema import events
from memory.ledger.sessions import Session

#: Sessions that are named where a beginning fits several.
_NAMED = 5
#: Most digits of a number that a database can hold.
_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Row:
    """One event as history shows it; time in ms since 1970."""

    seq: int
    id: str
    type: str
    session: str
    agent: str | None
    path: str | None
    time: int
    data: str


@dataclass(frozen=True, slots=True)
class Place:
    """One group, in one snapshot; session and project folder are those of who asks, as far as they are known."""

    ledger: Ledger
    connection: Connection
    group: str
    session: str | None = None
    project: str | None = None

    def find(self, name: str | None, argument: str = "sessionId") -> Session:
        """The session of this id, or whose id begins so; without one, the asker's own.

        Raises:
            HistoryError: it is not known, or several are meant.
        """
        if name is None and self.session is None:
            raise HistoryError(f"{argument}: name a session, `sessions` lists them")
        wanted = name or self.session or ""
        found = sessions.get(self.connection, self.group, [wanted])
        if not found and name:
            found = sessions.beginning(self.connection, self.group, name, _NAMED)
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(each.session for each in found)
            raise HistoryError(f"{argument}: several sessions begin with {name!r}: {several}; give more of its id")
        if name is None:
            raise HistoryError(f"{argument}: of your own session nothing is known yet; name one, `sessions` lists them")
        raise HistoryError(f"{argument}: there is no session {name[:60]!r} in {self.group}, `sessions` lists them")

    def events(
        self,
        session: str,
        types: Collection[str],
        limit: int,
        *,
        before: int | None = None,
    ) -> list[Row]:
        """The latest events of a session, of these types, newest first."""
        query = self._rows(types).where(events.c.session == session)
        if before is not None:
            query = query.where(events.c.seq < before)
        return self._read(query.order_by(events.c.seq.desc()).limit(limit))

    def all_events(self, names: Collection[str], types: Collection[str]) -> list[Row]:
        """All events of some sessions, of these types, oldest first."""
        # One query a session: for several at once, SQLite would rather go through the whole group than sort.
        found = [row for name in sorted(names) for row in self._read(self._rows(types).where(events.c.session == name))]
        return sorted(found, key=lambda row: row.seq)

    def event(self, named: str, types: Collection[str]) -> Row | None:
        """The event of this number, or of this id."""
        numbered = named.isascii() and named.isdecimal() and len(named) <= _DIGITS
        wanted = events.c.seq == int(named) if numbered else events.c.id == named
        found = self._read(self._rows(types).where(wanted))
        return found[0] if found else None

    def events_at(self, seqs: Sequence[int]) -> dict[int, Row]:
        """Events by their numbers."""
        columns = [events.c[name] for name in Row.__dataclass_fields__]
        query = select(*columns).where(events.c.group_id == self.group, events.c.seq.in_(seqs))
        return {row.seq: row for row in self._read(query)}

    def _rows(self, types: Collection[str]) -> Any:
        columns = [events.c[name] for name in Row.__dataclass_fields__]
        return select(*columns).where(events.c.group_id == self.group, events.c.type.in_(sorted(types)))

    def _read(self, query: Any) -> list[Row]:
        # Of what was forgotten only its place is left: no session, no data.
        return [Row(*row) for row in self.connection.execute(query) if row.data != "{}"]
