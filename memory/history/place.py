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


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation gives: Markdown for an agent, bounded in tokens, and the same as data."""

    text: str
    data: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "data": self.data}


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
        query = self._rows(types).where(events.c.session.in_(names))
        return self._read(query.order_by(events.c.seq))

    def event(self, seq: int, types: Collection[str]) -> Row | None:
        """The event of this number."""
        found = self._read(self._rows(types).where(events.c.seq == seq))
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
