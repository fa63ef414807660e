"""A group's history that tests look at, recorded and indexed as the stages do it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from memory.events import Event, parse
from memory.graph.kinds import text_of
from memory.ledger import Ledger, cursors, sessions
from memory.ledger.log import Entry, Slice, read, record
from memory.ledger.search import index

BEGAN = datetime(2026, 11, 21, 10, tzinfo=UTC)
#: 2026-11-21 10:00 UTC, ms.
BEGAN_MS = 1_795_255_200_000


def event(number: int, type: str, session: str | None, data: dict[str, Any], **more: Any) -> Event:
    """Event number `number` of a group, that many minutes after it began."""
    known = {"id": f"e{number}", "source": "test", "group": "shop", "project": "/home/dev/shop"}
    time = BEGAN + timedelta(minutes=number)
    return parse({**known, "type": type, "session": session, "time": time, "data": data, **more})


def said(
    number: int, session: str, text: str, role: str = "user", *, project: str = "/home/dev/shop", **more: Any
) -> Event:
    return event(number, "chat.message", session, {"role": role, "text": text, **more}, project=project)


def put(ledger: Ledger, events: Sequence[Event], group: str = "shop", batch: int = 500) -> None:
    """Record events, and deal with them as stage `index` does."""
    for start in range(0, len(events), batch):
        entries = [
            Entry(f"{start + n}-1", found, found.encode().decode())
            for n, found in enumerate(events[start : start + batch], 1)
        ]
        token = cursors.take_token(ledger, "record", group)
        with ledger.write() as connection:
            record(ledger, connection, group, token, entries, text_of)
        token = cursors.take_token(ledger, "index", group)
        with ledger.write() as connection:
            after = cursors.claim(connection, "index", group, token).seq
            seqs = list(range(after + 1, after + len(entries) + 1))
            index(ledger, connection, group, seqs)
            sessions.count(ledger, connection, group, Slice(list(events[start : start + batch]), seqs, seqs[-1]))
            cursors.advance(connection, "index", group, seqs[-1], len(seqs))


def index_again(ledger: Ledger, group: str = "shop") -> None:
    """Have stage `index` deal with all events that it stands before."""
    token = cursors.take_token(ledger, "index", group)
    with ledger.write() as connection:
        after = cursors.claim(connection, "index", group, token).seq
        found = read(connection, group, after, cursors.position(connection, "record", group), None, 10_000)
        index(ledger, connection, group, found.seqs)
        sessions.count(ledger, connection, group, found)
        cursors.advance(connection, "index", group, found.upto, len(found.seqs))
