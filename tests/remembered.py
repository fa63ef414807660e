"""A ledger with events in it, recorded and indexed as the stages do it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from memory.events import Event, create
from memory.graph.kinds import text_of
from memory.ledger import Ledger, cursors
from memory.ledger.log import Entry, record
from memory.ledger.search import index
from memory.recall import Answer, Question, answer
from memory.recall.facts import Facts

GROUP = "shop"
#: When the first event of a test happens; each one after it a minute later.
BEGAN = datetime(2026, 11, 1, 10, tzinfo=UTC)


def said(text: str, session: str = "s1", agent: str = "build", **more: Any) -> dict[str, Any]:
    return {"type": "chat.message", "session": session, "agent": agent, "data": {"role": "user", "text": text}, **more}


def wrote(path: str, summary: str | None = None, session: str = "s1", **more: Any) -> dict[str, Any]:
    data = {"path": path} | ({"summary": summary} if summary else {})
    return {"type": "file.write", "session": session, "agent": "build", "data": data, **more}


def committed(message: str, paths: Sequence[str], agent: str = "dana", **more: Any) -> dict[str, Any]:
    data = {"sha": hashlib.sha256(message.encode()).hexdigest(), "message": message, "paths": list(paths)}
    return {"type": "vcs.commit", "agent": agent, "data": data, **more}


def remember(ledger: Ledger, drafts: Sequence[dict[str, Any]], group: str = GROUP, batch: int = 500) -> list[Event]:
    """Record and index events; ids are `e1`, `e2`, … of the group, times a minute apart, where none are given."""
    with ledger.read() as connection:
        known = cursors.position(connection, "record", group)
    events = [
        create(
            {"id": f"{group}-e{number}", "time": BEGAN + timedelta(minutes=number), **draft}, source="test", group=group
        )
        for number, draft in enumerate(drafts, start=known + 1)
    ]
    token = cursors.take_token(ledger, "record", group)
    for start in range(0, len(events), batch):
        some = events[start : start + batch]
        entries = [Entry(f"{known + start + n}-1", event, "") for n, event in enumerate(some, start=1)]
        with ledger.write() as connection:
            record(ledger, connection, group, token, entries, text_of)
        with ledger.write() as connection:
            first = known + start + 1
            index(ledger, connection, group, range(first, first + len(some)))
    return events


def ask(ledger: Ledger, text: str, *, group: str = GROUP, graph: Facts | None = None, **question: Any) -> Answer:
    return answer(ledger, group, Question(text, question.pop("tokens", 4_000), **question), graph)


def found(ledger: Ledger, text: str, *, group: str = GROUP, **question: Any) -> list[str]:
    """Ids of what is recalled, without the group, best first."""
    return [item.match.id.removeprefix(f"{group}-") for item in ask(ledger, text, group=group, **question).items]


def minute(number: int) -> int:
    """When event `e{number}` happened, ms since 1970."""
    return round((BEGAN + timedelta(minutes=number)).timestamp() * 1000)
