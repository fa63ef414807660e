"""Reads an OpenCode database: what its sessions did before Memlane was there, as events, in the order of time.

    for event in read_events(database_path(), group_for=lambda folder: group_of(Path(folder))):
        publisher.publish(event)

The database is only read, also while OpenCode has it open. What events come of it, and their ids, is the subject of
`producers.opencode_events`; reading the same database twice yields the same events.

"""

from __future__ import annotations

import heapq
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from memory.events import Event, EventInvalid
from producers.opencode_events import (
    Conversation,
    Draft,
    Message,
    Session,
    milliseconds,
    started,
    todos_of,
    todos_updated,
)
from producers.opencode_sqlite import (
    Database,
    DatabaseNotFound,
    DatabaseUnreadable,
    NotOpenCodeDatabase,
    OpenCodeDatabaseError,
)
from producers.opencode_tools import as_dict, as_list, as_text

__all__ = [
    "DatabaseNotFound",
    "DatabaseUnreadable",
    "NotOpenCodeDatabase",
    "OpenCodeDatabaseError",
    "SkippedRow",
    "count",
    "database_path",
    "read_events",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that no event could be made of, and why. Holds none of its content."""

    table: str
    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.reason}"


def database_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where OpenCode has its database: `OPENCODE_DB` (relative to its data folder), else `opencode.db` in there."""
    data = Path(environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "opencode"
    return data / (environ.get("OPENCODE_DB") or "opencode.db")


def count(path: Path) -> int:
    """Messages in the database: what the progress that `read_events` reports adds up to.

    Raises:
        OpenCodeDatabaseError: as `read_events`.
    """
    with closing(Database(path)) as database:
        return int(database.rows("SELECT COUNT(*) FROM message")[0][0])


def read_events(
    path: Path,
    *,
    group_for: Callable[[str], str],
    sessions: Collection[str] | None = None,
    messages: Collection[str] | None = None,
    on_skipped: Callable[[SkippedRow], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[Event]:
    """All events of all sessions, in the order of their times. Memory use doesn't grow with what was said.

    Args:
        path: see `database_path`.
        group_for: group of a session, by its folder; called once for each folder.
        sessions: ids of the sessions to be read; default: all.
        messages: ids of the messages to be read, at most 30,000; default: all. What an event tells of messages before
            it (a completion's task, sizes at a compaction) is then wanting.
        on_skipped: told of each row that is left out; it is logged as well.
        on_progress: told how many messages have been read.

    Raises:
        DatabaseNotFound, DatabaseUnreadable, NotOpenCodeDatabase: see there.
    """

    def skipped(row: SkippedRow) -> None:
        log.warning("row skipped table=%s id=%s reason=%r", row.table, row.id, row.reason)
        if on_skipped:
            on_skipped(row)

    group_of_folder = cache(group_for)
    with closing(Database(path)) as database:
        only = _Only(sessions, messages)
        for draft in _Reading(database, skipped, on_progress or (lambda _: None), only).drafts():
            try:
                event = draft.event(group_of_folder(draft.session.directory))
            except EventInvalid as error:
                skipped(SkippedRow(draft.table, draft.row, str(error)))
            else:
                yield event


def sessions_of(database: Database, skipped: Callable[[SkippedRow], None] = lambda _: None) -> Iterator[Session]:
    """All sessions, in the order in which they began.

    Args:
        skipped: told of each row that is left out.
    """
    roots = {id: _roots(worktree, sandboxes) for id, worktree, sandboxes in database.table("project")}
    for row in database.table("session", "time_created, id"):
        id, directory, created, project, parent, title, model, agent = row
        if not (isinstance(id, str) and id and isinstance(directory, str) and directory and "\0" not in directory):
            skipped(SkippedRow("session", str(id), "has no id or no folder"))
            continue
        yield Session(
            id=id,
            directory=directory,
            project=_project(directory, roots.get(project, [])),
            created=milliseconds(created) or 0,
            parent=as_text(parent) or None,
            title=as_text(title) or None,
            model=_model(model),
            agent=as_text(agent) or None,
        )


@dataclass(frozen=True, slots=True)
class _Only:
    """What is to be read: ids of sessions and of messages; None for all."""

    sessions: Collection[str] | None
    messages: Collection[str] | None

    def condition(self) -> tuple[str, list[str]]:
        """For table `message`, with its parameters."""
        conditions: list[str] = ["1"]
        parameters: list[str] = []
        for column, ids in (("session_id", self.sessions), ("id", self.messages)):
            if ids is not None:
                conditions.append(f"{column} IN ({', '.join('?' * len(ids))})")
                parameters += ids
        return " AND ".join(conditions), parameters


class _Reading:
    """One pass over the database."""

    def __init__(
        self,
        database: Database,
        skipped: Callable[[SkippedRow], None],
        progress: Callable[[int], object],
        only: _Only,
    ) -> None:
        self._database = database
        self._skipped = skipped
        self._progress = progress
        self._only = only
        self._conversations = {session.id: Conversation(session) for session in self._sessions()}

    def drafts(self) -> Iterator[Draft]:
        """Drafts in the order of their times.

        Messages are read in the order in which they began; a draft waits until all that began before it ended.
        """
        waiting: list[tuple[int, int, Draft]] = []
        pushed = 0
        for begun, drafts in self._batches():
            while waiting and waiting[0][0] < begun:
                draft = heapq.heappop(waiting)[2]
                if not self._accounted_for(draft):
                    yield draft
            for draft in drafts:
                # The number keeps those of one time in the order in which they were read.
                pushed += 1
                heapq.heappush(waiting, (draft.time, pushed, draft))
        yield from (draft for _, _, draft in sorted(waiting) if not self._accounted_for(draft))

    def _batches(self) -> Iterator[tuple[int, list[Draft]]]:
        """Drafts, by the time in epoch ms before which nothing more will come."""
        yield 0, [started(conversation.session) for conversation in self._conversations.values()]
        yield 0, list(self._todo_lists())
        condition, parameters = self._only.condition()
        query = f"SELECT id, session_id, time_created FROM message WHERE {condition} ORDER BY time_created, id"
        rows = self._database.rows(query, *parameters)
        for number, (id, session, created) in enumerate(rows, 1):
            conversation = self._conversations.get(session)
            if conversation is None or not isinstance(id, str):
                self._skipped(SkippedRow("message", str(id), "has no id, or no session that was read"))
            elif message := self._message(id, session, created):
                yield message.created, list(conversation.read(message))
            self._progress(number)

    def _accounted_for(self, draft: Draft) -> bool:
        return draft.table == "todo" and draft.native in self._conversations[draft.session.id].todo_lists

    def _sessions(self) -> Iterator[Session]:
        for session in sessions_of(self._database, self._skipped):
            if self._only.sessions is None or session.id in self._only.sessions:
                yield session

    def _todo_lists(self) -> Iterator[Draft]:
        found: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        for session, _, content, status, priority, time in self._database.table("todo", "session_id, position"):
            latest, todos = found.get(session, (0, []))
            todos.append({"content": content, "status": status, "priority": priority})
            found[session] = max(latest, milliseconds(time) or 0), todos
        for session, (time, todos) in found.items():
            if conversation := self._conversations.get(session):
                yield todos_updated(conversation.session, time, todos_of(todos))

    def _message(self, id: str, session: str, created: Any) -> Message | None:
        rows = self._database.rows("SELECT data FROM message WHERE id = ?", id)
        info = self._decoded("message", id, rows[0][0]) if rows else None
        if info is None:
            return None
        parts = []
        for part_id, data in self._database.rows("SELECT id, data FROM part WHERE message_id = ? ORDER BY id", id):
            part = self._decoded("part", part_id, data)
            if part is not None and isinstance(part_id, str):
                parts.append((part_id, part))
        begun = milliseconds(as_dict(info.get("time")).get("created")) or milliseconds(created) or 0
        message = Message(id, begun, info, parts)
        if message.role == "assistant" and (message.completed is None or info.get("summary") is True):
            message.next_info = self._next_answer(session, created, id)
        return message

    def _next_answer(self, session: str, created: Any, id: str) -> dict[str, Any] | None:
        later = "session_id = ? AND (time_created, id) > (?, ?)"
        query = f"SELECT data FROM message WHERE {later} ORDER BY time_created, id LIMIT 20"
        for (data,) in self._database.rows(query, session, created, id):
            info = _json_object(data)
            if info and info.get("role") == "assistant":
                return info
        return None

    def _decoded(self, table: str, id: str, data: Any) -> dict[str, Any] | None:
        found = _json_object(data)
        if found is None:
            self._skipped(SkippedRow(table, str(id), "data is no JSON object"))
        return found


def _json_object(data: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(data) if isinstance(data, str | bytes) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _roots(worktree: Any, sandboxes: Any) -> list[str]:
    """Roots of a project's working trees: the main one and, as OpenCode calls them, its sandboxes."""
    try:
        others = as_list(json.loads(sandboxes)) if isinstance(sandboxes, str) else []
    except (ValueError, RecursionError):
        others = []
    return [root for root in (worktree, *others) if isinstance(root, str) and root]


def _project(directory: str, roots: list[str]) -> str:
    """The innermost root that the folder lies in; outside of git, where OpenCode's root is `/`, the folder itself."""

    def inside(path: str) -> str:
        return path.replace("\\", "/").rstrip("/") + "/"

    within = [root for root in roots if root != "/" and inside(directory).startswith(inside(root))]
    return max(within, key=len, default=directory)


def _model(model: Any) -> str | None:
    """`provider/model`, of OpenCode's JSON."""
    found = _json_object(model) or {}
    return "/".join(filter(None, (as_text(found.get("providerID")), as_text(found.get("id"))))) or None
