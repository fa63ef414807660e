"""What OpenCode's messages and their parts say, as events. Pure: rows in, drafts out; `opencode_db` reads the rows.

An event's id comes from OpenCode's own ids, so that a live capture and a later import make the same event. Native ids,
each of which a plugin knows too (vectors: tests/vectors/ids.json):

    session.start      session id
    chat.message       message id
    file.write         part id of the tool call, status; further files of the same call: `PART.1`, `PART.2`, …, status
    tool.call          part id, status (`completed` or `error`)
    error              of a tool: part id; of the model: message id (in `message.updated`; `session.error` has none)
    completion         id of the assistant message that ends the turn
    todo.updated       part id of the `todowrite` call; for a list that no call accounts for: `native_of_todos`
    session.compacted  id of the assistant message that holds the summary

Times are those of the end of what happened. Text is bounded to what a reader of memory needs: the end of a command's
output, where its failure is, and the beginning of all else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from memory.events import Event, create, native_id
from producers.opencode_tools import (
    HEAD,
    OWN,
    WRITERS,
    absolute,
    as_dict,
    as_list,
    as_text,
    head,
    summary_of,
    writes_of,
)

SOURCE = "opencode"
#: Longest task of a completion, in characters.
TASK = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000 = 253_402_300_800_000


@dataclass(frozen=True, slots=True)
class Session:
    """A row of table `session`. `project` is the root of the project that its folder belongs to; time in epoch ms."""

    id: str
    directory: str
    project: str
    created: int
    parent: str | None = None
    title: str | None = None
    model: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is checked. `row` is the row of `table` that it was read from; time in epoch ms."""

    session: Session
    type: str
    time: int
    native: str
    data: dict[str, Any]
    table: str
    row: str
    status: str | None = None
    agent: str | None = None

    def event(self, group: str) -> Event:
        """
        Raises:
            memory.events.EventInvalid: the row holds what no event can.
        """
        return create(
            {
                "id": native_id(SOURCE, self.session.id, self.type, self.native, self.status),
                "type": self.type,
                "time": _EPOCH + timedelta(milliseconds=self.time),
                "session": self.session.id,
                "agent": self.agent or self.session.agent,
                "project": self.session.project,
                "data": {name: value for name, value in self.data.items() if value is not None},
            },
            source=SOURCE,
            group=group,
        )


def started(session: Session) -> Draft:
    """The session's `session.start`."""
    data = {"parent": session.parent, "title": session.title, "model": session.model}
    return Draft(session, "session.start", session.created, session.id, data, "session", session.id)


def todos_updated(session: Session, time: int, todos: list[dict[str, str]]) -> Draft:
    """A todo list as table `todo` has it, for which no `todowrite` call is known."""
    return Draft(session, "todo.updated", time, native_of_todos(todos), {"todos": todos}, "todo", session.id)


def native_of_todos(todos: list[dict[str, str]]) -> str:
    """`todos.` and the SHA-256, in hex, of the list as JSON without spaces: `[[content,status,priority],…]`."""
    rows = [[todo["content"], todo["status"], todo["priority"]] for todo in todos]
    raw = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return f"todos.{hashlib.sha256(raw).hexdigest()}"


def context_tokens(tokens: Any) -> int | None:
    """Size of the context, in tokens, that an assistant message's `tokens` tell; None if nothing was counted.

    Source: OpenCode's own rule of when to compact.
    """
    tokens = as_dict(tokens)
    cache = as_dict(tokens.get("cache"))
    parts = (tokens.get("input"), tokens.get("output"), cache.get("read"), cache.get("write"))
    return _whole(tokens.get("total")) or sum(_whole(part) for part in parts) or None


@dataclass(slots=True)
class Message:
    """A row of table `message`, its JSON decoded. `parts` are (id, JSON decoded) in order of their ids."""

    id: str
    created: int
    info: dict[str, Any]
    parts: list[tuple[str, dict[str, Any]]]
    #: The next assistant message of the session, if there is one.
    next_info: dict[str, Any] | None = None

    @property
    def role(self) -> str:
        return as_text(self.info.get("role"))

    @property
    def completed(self) -> int | None:
        return milliseconds(as_dict(self.info.get("time")).get("completed"))

    @property
    def text(self) -> str:
        """What was said: not what OpenCode itself put in (`synthetic`) nor what the model doesn't get (`ignored`)."""
        said = [
            as_text(part.get("text"))
            for _, part in self.parts
            if part.get("type") == "text" and not part.get("synthetic") and not part.get("ignored")
        ]
        return "\n\n".join(text for text in said if text.strip())


@dataclass(slots=True)
class Conversation:
    """Reads one session's messages, in their order, and knows what later ones refer to."""

    session: Session
    #: The latest request: its text and its time in epoch ms.
    request: tuple[str, int] | None = None
    #: Tokens used since that request.
    used: int = 0
    #: Size of the context after the latest assistant message, in tokens.
    context: int | None = None
    #: Parts that ask for a compaction, by the id of their message.
    compactions: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: `native_of_todos` of each list that a call of `todowrite` accounts for.
    todo_lists: set[str] = field(default_factory=set)

    def read(self, message: Message) -> Iterator[Draft]:
        """Events of one message.

        Those of an assistant message that is still being written are left for a later import. If the next one has
        begun, it never will be finished (OpenCode was killed), and counts as it is.
        """
        if message.role == "user":
            yield from self._asked(message)
        elif message.role == "assistant" and (message.completed is not None or message.next_info is not None):
            yield from self._answered(message)

    def _asked(self, message: Message) -> Iterator[Draft]:
        for _, part in message.parts:
            if part.get("type") == "compaction":
                self.compactions[message.id] = part
        if text := message.text:
            self.request, self.used = (text, message.created), 0
            yield self._draft(message, "chat.message", message.created, _said(message, text))

    def _answered(self, message: Message) -> Iterator[Draft]:
        ended = message.completed or message.created
        for part_id, part in message.parts:
            if part.get("type") == "tool":
                yield from self._called(message, part_id, part, ended)
        tokens = context_tokens(message.info.get("tokens"))
        error = message.info.get("error")
        if error:
            yield self._draft(message, "error", ended, _failure(as_dict(error)))
        if message.info.get("summary") is True:
            if not error:
                yield self._draft(message, "session.compacted", ended, self._compacted(message))
            return
        self.used += tokens or 0
        self.context = tokens or self.context
        if text := message.text:
            yield self._draft(message, "chat.message", ended, {**_said(message, text), "tokens": tokens})
        if message.info.get("finish") == "stop" and not error and self.session.parent is None:
            yield self._draft(message, "completion", ended, self._completed(message, ended))

    def _called(self, message: Message, part_id: str, part: dict[str, Any], ended: int) -> Iterator[Draft]:
        state, tool = as_dict(part.get("state")), as_text(part.get("tool"))
        status = as_text(state.get("status"))
        if status not in ("completed", "error") or tool in OWN:
            return
        times = as_dict(state.get("time"))
        start, end = milliseconds(times.get("start")), milliseconds(times.get("end"))
        where = self.session.directory

        def draft(type: str, data: dict[str, Any], native: str = part_id, state: str | None = None) -> Draft:
            time = ended if end is None else end
            agent = as_text(message.info.get("agent")) or None
            return Draft(self.session, type, time, native, data, "part", part_id, status=state, agent=agent)

        if status == "completed" and tool in WRITERS:
            for number, write in enumerate(writes_of(tool, state, where)):
                native = f"{part_id}.{number}" if number else part_id
                yield draft("file.write", {**write, "tool": tool}, native, status)
        file = as_text(as_dict(state.get("input")).get("filePath"))
        path = absolute(file, where) if file else None
        call = {
            "tool": tool,
            "status": status,
            "duration_ms": max(0, end - start) if start is not None and end is not None else None,
            "path": path,
            "exit": as_dict(state.get("metadata")).get("exit"),
            "summary": summary_of(tool, state) or None,
        }
        yield draft("tool.call", call, state=status)
        if status == "error":
            message_text = head(as_text(state.get("error")), HEAD) or f"{tool} failed"
            failed = {"message": message_text, "name": "ToolError", "severity": "high", "tool": tool, "path": path}
            yield draft("error", failed)
        elif tool == "todowrite":
            todos = todos_of(as_dict(state.get("input")).get("todos"))
            self.todo_lists.add(native_of_todos(todos))
            yield draft("todo.updated", {"todos": todos})

    def _compacted(self, message: Message) -> dict[str, Any]:
        asked = self.compactions.get(as_text(message.info.get("parentID")), {})
        after = context_tokens((message.next_info or {}).get("tokens"))
        return {
            "auto": _flag(asked.get("auto")),
            "overflow": _flag(asked.get("overflow")),
            "summary": message.text,
            "tokens_before": self.context,
            "tokens_after": after,
        }

    def _completed(self, message: Message, ended: int) -> dict[str, Any]:
        task, asked = self.request or (self.session.title or "", message.created)
        return {
            "task": head(task.strip(), TASK) or "(untitled)",
            "duration": max(0, ended - asked) / 1000,
            "tokens": self.used or None,
        }

    def _draft(self, message: Message, type: str, time: int, data: dict[str, Any]) -> Draft:
        agent = as_text(message.info.get("agent")) or None
        return Draft(self.session, type, time, message.id, data, "message", message.id, agent=agent)


def todos_of(value: Any) -> list[dict[str, str]]:
    """A todo list as the event has it; entries without content are left out."""
    return [
        {name: as_text(todo.get(name)) for name in ("content", "status", "priority")}
        for todo in as_list(value)
        if isinstance(todo, dict) and as_text(todo.get("content"))
    ]


def milliseconds(value: Any) -> int | None:
    """A time in epoch ms; None if it isn't one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _YEAR_10000:
        return None
    return int(value)


def _said(message: Message, text: str) -> dict[str, Any]:
    return {"role": message.role, "text": text, "message": message.id}


def _failure(error: dict[str, Any]) -> dict[str, Any]:
    name = as_text(error.get("name")) or "Error"
    # Stopping an answer is the user's wish, no failure of the model's.
    severity = "low" if name == "MessageAbortedError" else "high"
    said = as_text(as_dict(error.get("data")).get("message"))
    return {"message": head(said, HEAD) or name, "name": name, "severity": severity}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
