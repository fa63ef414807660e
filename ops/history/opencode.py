"""History straight from an OpenCode database, without any server: it is only read, and never made.

What an operation needs is read as the importer reads it, into a ledger in memory, and answered from there. So no
operation reads more than it must: a list of sessions only those that it shows, a search only what may match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from memory.context_window import Thresholds
from memory.history import overview, router
from memory.history.answer import Answer, help_on
from memory.history.operations import (
    Compactions,
    Compare,
    Context,
    HistoryError,
    Messages,
    Search,
    Sessions,
    Summary,
    checked,
)
from memory.history.place import Place
from memory.history.scratch import holding
from memory.ledger import sessions as ledger_sessions
from memory.ledger.words import question_words
from producers.opencode_db import read_events, sessions_of
from producers.opencode_events import Session
from producers.opencode_sqlite import Database

#: Group of the ledger in memory.
GROUP = "opencode"
#: Messages that a search looks at: the latest of those in which a word may be.
MOST_SEARCHED = 5_000
#: What single messages tell.
_CONVERSATION = frozenset({"chat.message", "session.compacted"})
#: Sessions whose compactions are listed.
_MOST_COMPACTED = 100
#: Text parts that are neither OpenCode's own nor kept from the model.
_SAID = (
    "json_valid(data) AND json_extract(data, '$.type') = 'text' AND coalesce(json_extract(data, '$.synthetic'), 0) = 0 "
    "AND coalesce(json_extract(data, '$.ignored'), 0) = 0 AND trim(json_extract(data, '$.text')) <> ''"
)
#: Messages that a compaction made.
_SUMMARY = (
    "json_valid(data) AND json_extract(data, '$.role') = 'assistant' AND json_extract(data, '$.summary') = 1 "
    "AND json_extract(data, '$.error') IS NULL"
)


def answer(
    path: Path,
    tool: str,
    args: object = None,
    *,
    project: str | None = None,
    thresholds: Thresholds | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Answer:
    """Carry out an operation on a database.

    Args:
        path: see `producers.opencode_db.database_path`.
        tool, args, project, thresholds: as for `memory.history.router.answer`.
        on_progress: told how many messages were read, and how many are to be.

    Raises:
        HistoryError: as `memory.history.router.answer`.
        OpenCodeDatabaseError: the database can't be read.
    """
    arguments = checked(tool, args)
    look = _Look(path, project, thresholds, on_progress)
    try:
        match arguments:
            case Summary():
                return look.summary()
            case Sessions():
                return look.sessions(arguments)
            case Messages():
                return look.within(tool, arguments, [arguments.session_id])
            case Context():
                return look.within(tool, arguments, [arguments.session_id])
            case Compare():
                return look.within(tool, arguments, [arguments.session_id, arguments.other_session_id])
            case Compactions():
                return look.compactions(arguments)
            case Search():
                return look.search(arguments)
    finally:
        look.close()
    return help_on(arguments.model_dump()["tool"])


class _Look:
    """A look at one database."""

    def __init__(
        self,
        path: Path,
        project: str | None,
        thresholds: Thresholds | None,
        on_progress: Callable[[int, int], object],
    ) -> None:
        self._path = path
        self._database = Database(path)
        self._project = project
        self._thresholds = thresholds
        self._on_progress = on_progress
        #: All sessions, the one that was active last first, each with the time of its last message, ms.
        self._sessions = self._by_activity()

    def close(self) -> None:
        self._database.close()

    def summary(self) -> Answer:
        """Counted in the database itself: to read all of it would take a minute for each gigabyte."""
        states = dict(self._rows("SELECT coalesce(status, ''), count(*) FROM todo GROUP BY 1")) if self._todos else {}
        done = sum(states.get(state, 0) for state in ("completed", "done", "cancelled"))
        times = [(session.created, active) for session, active in self._sessions]
        return overview.counted_up(
            GROUP,
            {
                "sessions": len(self._sessions),
                "projects": len({session.project for session, _ in self._sessions}),
                "started": min((created for created, _ in times), default=0),
                "active": max((active for _, active in times), default=0),
                "messages": self._one(
                    f"SELECT count(DISTINCT message_id) FROM part WHERE {_SAID} "
                    f"AND message_id NOT IN (SELECT id FROM message WHERE {_SUMMARY})"
                ),
                "compactions": self._one(f"SELECT count(*) FROM message WHERE {_SUMMARY}"),
                "todos_open": sum(states.values()) - done,
                "todos_done": done,
            },
        )

    def sessions(self, arguments: Sessions) -> Answer:
        wanted = self._project if arguments.project_path == "." else arguments.project_path
        wanted = (wanted.rstrip("/") or "/") if wanted else None
        listed = [session.id for session, _ in self._sessions if wanted in (None, session.project)]
        total = len(listed)
        if arguments.before is not None:
            behind = self._named(arguments.before, "before")
            # It is read as well, since the others come behind it.
            listed = listed[listed.index(behind) :] if behind in listed else []
        shown = listed[: arguments.limit + (arguments.before is not None)]
        return self._answer("sessions", arguments, sessions=shown, total=total)

    def within(self, tool: str, arguments: Messages | Context | Compare, names: Collection[str | None]) -> Answer:
        """What is told of some sessions."""
        if isinstance(arguments, Messages) and arguments.read is not None and arguments.session_id is None:
            raise HistoryError("read: name the session, too (sessionId): messages are numbered within it")
        if None in names:
            raise HistoryError("sessionId: name a session, `sessions` lists them")
        first, *others = [self._named(name, "sessionId") for name in names if name]
        return self._answer(tool, arguments, sessions=[first, *others])

    def compactions(self, arguments: Compactions) -> Answer:
        if arguments.session_id is not None:
            return self._answer("compactions", arguments, sessions=[self._named(arguments.session_id, "sessionId")])
        found = self._rows(
            f"SELECT session_id, max(time_created), count(*) FROM message WHERE {_SUMMARY} GROUP BY 1 ORDER BY 2 DESC"
        )
        answer = self._answer("compactions", arguments, sessions=[row[0] for row in found[:_MOST_COMPACTED]])
        if arguments.read is None:
            answer.data["total"] = sum(row[2] for row in found)
        return answer

    def search(self, arguments: Search) -> Answer:
        named = self._named(arguments.session_id, "sessionId") if arguments.session_id else None
        # Stemming may change the last letter (carry, carri): that words begin alike is what the database can tell.
        beginnings = [word[: max(3, len(word) - 1)] for word in question_words(arguments.query)]
        found: list[tuple[Any, ...]] = []
        if beginnings:
            holds = " OR ".join(["json_extract(data, '$.text') LIKE ? ESCAPE '\\'"] * len(beginnings))
            patterns = ["%" + re.sub(r"([%_\\])", r"\\\1", beginning) + "%" for beginning in beginnings]
            found = self._rows(
                f"SELECT DISTINCT message_id FROM part WHERE {_SAID} AND ({holds}) ORDER BY 1 DESC LIMIT ?",
                *patterns,
                MOST_SEARCHED,
            )
        answer = self._answer(
            "search", arguments, sessions=[named] if named else None, messages=[message for (message,) in found]
        )
        for result in answer.data["results"]:
            # Messages are numbered within their session, and here only some of each were read.
            result["number"] = None
        return answer

    def _answer(
        self,
        tool: str,
        arguments: Any,
        *,
        sessions: Collection[str] | None = None,
        messages: Collection[str] | None = None,
        total: int | None = None,
    ) -> Answer:
        """From a ledger that holds these sessions, or of them these messages."""
        count = len(messages) if messages is not None else self._count(sessions or ())
        events = read_events(
            self._path,
            group_for=lambda _: GROUP,
            sessions=sessions,
            messages=messages,
            on_progress=lambda done: self._on_progress(done, count),
        )
        if messages is not None:
            # By themselves they tell what was said, and not of which request they were the completion.
            events = (event for event in events if event.type in _CONVERSATION)
        given = json.loads(arguments.model_dump_json(by_alias=True))
        with holding(events, GROUP) as ledger:
            if isinstance(arguments, Sessions):
                with ledger.read() as connection:
                    place = Place(ledger, connection, GROUP, project=self._project)
                    behind = place.find(arguments.before, "before") if arguments.before and sessions else None
                    found = ledger_sessions.latest(connection, GROUP, arguments.limit, behind=behind)
                    return overview.listed(place, arguments, found, total or 0)
            return router.answer(ledger, GROUP, tool, given, project=self._project, thresholds=self._thresholds)

    def _by_activity(self) -> list[tuple[Session, int]]:
        last = dict(self._rows("SELECT session_id, max(time_created) FROM message GROUP BY 1"))
        found = [(session, max(session.created, last.get(session.id) or 0)) for session in sessions_of(self._database)]
        return sorted(found, key=lambda each: (each[1], each[0].id), reverse=True)

    def _named(self, name: str, argument: str) -> str:
        ids = [session.id for session, _ in self._sessions]
        found = [name] if name in ids else [id for id in ids if id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(sorted(found)[:5])
            raise HistoryError(f"{argument}: several sessions begin with {name!r}: {several}; give more of its id")
        raise HistoryError(f"{argument}: there is no session {name[:60]!r} in {self._path}, `sessions` lists them")

    def _count(self, sessions: Collection[str]) -> int:
        places = ", ".join("?" * len(sessions))
        return self._one(f"SELECT count(*) FROM message WHERE session_id IN ({places})", *sessions)

    @property
    def _todos(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'todo'"))

    def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._database.rows(query, *parameters)

    def _one(self, query: str, *parameters: object) -> int:
        return int(self._rows(query, *parameters)[0][0])
