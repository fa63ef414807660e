"""Which event says what: one row an event type, easy to read and to extend.

Pure, without Graphiti, and fast: `text_of` is called for every event that is recorded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from memory.events import Event

#: What an attribute may be: FalkorDB holds no nested maps.
type Flat = str | int | float | bool
type Data = Mapping[str, Any]

#: Longest text of an attribute, in characters.
ATTRIBUTE_LIMIT = 1_000

_FAILED = frozenset({"error", "failed", "failure", "denied", "rejected", "timeout"})
_DONE = frozenset({"completed", "done"})


@dataclass(frozen=True, slots=True)
class Thing:
    """Something an event names; `identity` is its canonical name where that differs from the shown one."""

    label: str
    name: str
    identity: str = ""
    attributes: dict[str, Flat] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A kind of fact: `(subject)-[relation]->(thing)` for each thing found, said "{subject} {verb} {thing}"."""

    relation: str
    verb: str
    things: Callable[[Data], Iterable[Thing]]
    #: None: the event's session.
    subject: Callable[[Data], Thing] | None = None
    #: Said again, it is still one fact: its identity is free of the event.
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """How events of one type are remembered."""

    text: Callable[[Data], str]
    links: tuple[Link, ...] = ()
    source: Literal["text", "message", "json"] = "text"
    #: Constant attributes of the episode.
    tags: Mapping[str, Flat] = field(default_factory=dict)
    #: Fields of `data` that become attributes of the episode and of the facts that aren't lasting.
    keep: tuple[str, ...] = ()
    #: Fields of `data` that become attributes of the session.
    session: tuple[str, ...] = ()
    #: Which events become episodes; the others have a text only.
    when: Callable[[Data], bool] = lambda data: True


def _file(path: str, **attributes: Flat) -> Thing:
    return Thing("File", path, attributes=attributes)


def _files(field_name: str) -> Callable[[Data], Iterator[Thing]]:
    def found(data: Data) -> Iterator[Thing]:
        value = data.get(field_name)
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str):
                yield _file(path)

    return found


def _error(data: Data) -> Iterator[Thing]:
    line = first_line(data.get("message"))
    # An error's own `name` would overwrite the name that Graphiti searches by.
    yield Thing("Error", line, attributes=flat(error=data.get("name"), severity=data.get("severity", "high")))


def _tool(data: Data) -> Iterator[Thing]:
    yield Thing("Tool", first_line(data.get("tool")))


def is_turn(data: Data) -> bool:
    """Whether a completion tells that a turn of the conversation ended, and how long it took: its task is what the user
    said then, a question perhaps. That is told by the message itself, and nobody says that anything was completed."""
    return data.get("turn") is True


def _completed(data: Data) -> str:
    return "" if is_turn(data) else _said("Completed", "task")(data)


def _task(data: Data) -> Iterator[Thing]:
    yield Thing("Task", first_line(data.get("task")), attributes={"status": "completed"})


def _todos(done: bool) -> Callable[[Data], Iterator[Thing]]:
    def found(data: Data) -> Iterator[Thing]:
        for todo in _dicts(data.get("todos")):
            if (_text(todo.get("status")) in _DONE) == done:
                attributes = flat(status=todo.get("status"), priority=todo.get("priority"))
                yield Thing("Task", first_line(todo.get("content")), attributes=attributes)

    return found


def _commit(data: Data) -> Thing:
    sha = first_line(data.get("sha"))
    attributes = flat(sha=sha, author=data.get("author"))
    return Thing("Commit", f"{sha[:12]} {first_line(data.get('message'))}".strip(), sha, attributes)


def _checkpoint(data: Data) -> Iterator[Thing]:
    attributes = flat(tokens_before=data.get("tokens_before"), tokens_after=data.get("tokens_after"))
    yield Thing("Checkpoint", first_line(data.get("checkpoint")), attributes=attributes)


def _parent(data: Data) -> Iterator[Thing]:
    yield Thing("Session", first_line(data.get("parent")))


def _said(what: str, *fields: str) -> Callable[[Data], str]:
    """`what: text` with the first of the fields that holds something; `what` alone if none does."""

    def text(data: Data) -> str:
        return ": ".join([what, *[found for name in fields if (found := _text(data.get(name)))][:1]])

    return text


def _modified(data: Data) -> str:
    return _lines(f"Modified: {_text(data.get('path'))}", data.get("summary"))


def _called(data: Data) -> str:
    verb = "Failed" if _failed(data) else "Called"
    path = _text(data.get("path"))
    return _lines(f"{verb}: {_text(data.get('tool'))}{path and ' on '}{path}", data.get("summary"))


def _failed(data: Data) -> bool:
    """A tool that did not work, or a command that ended with an exit code other than 0."""
    return _text(data.get("status")).lower() in _FAILED or data.get("exit") not in (None, 0)


def _requested(data: Data) -> str:
    # What is to be forgotten must not come back as the memory of its being forgotten.
    return "" if data.get("action") == "forget" else _text(data.get("request"))


def _planned(data: Data) -> str:
    todos = (
        f"[{_text(todo.get('status')) or 'pending'}] {_text(todo.get('content'))}" for todo in _dicts(data.get("todos"))
    )
    return _lines("Todos:", *todos)


KINDS: dict[str, Kind] = {
    "session.start": Kind(
        text=_said("Session started", "title"),
        tags={"type": "session_start"},
        session=("title", "model"),
        links=(Link("CHILD_OF", "is a child of session", _parent, lasting=True),),
    ),
    "session.end": Kind(
        text=_said("Session ended", "reason"), tags={"type": "session_end"}, session=("reason", "messages")
    ),
    "user.request": Kind(
        text=_requested,
        tags={"type": "request"},
        keep=("action",),
        when=lambda data: data.get("action") in (None, "remember"),
    ),
    "chat.start": Kind(text=_said("user", "query"), source="message", tags={"type": "question"}),
    "chat.message": Kind(
        text=lambda data: f"{_text(data.get('role'))}: {_text(data.get('text'))}",
        source="message",
        tags={"type": "message"},
        keep=("role", "message", "tokens"),
    ),
    "file.write": Kind(
        text=_modified,
        tags={"type": "file_edit"},
        keep=("path", "tool", "additions", "deletions"),
        links=(Link("MODIFIED", "modified", _files("path")),),
    ),
    "tool.call": Kind(
        text=_called,
        tags={"type": "tool_failure"},
        keep=("tool", "status", "exit", "duration_ms", "path"),
        when=_failed,
        links=(
            Link("FAILED_CALL", "failed to call", _tool),
            Link("FAILED_ON", "failed on", _files("path"), subject=lambda data: next(_tool(data))),
        ),
    ),
    "todo.updated": Kind(
        text=_planned,
        tags={"type": "todos"},
        links=(
            Link("PLANNED", "planned", _todos(done=False), lasting=True),
            Link("COMPLETED", "completed", _todos(done=True), lasting=True),
        ),
    ),
    "vcs.commit": Kind(
        text=lambda data: f"Commit {_text(data.get('sha'))[:12]}: {_text(data.get('message'))}",
        tags={"type": "commit"},
        keep=("sha", "author"),
        links=(
            Link("COMMITTED", "committed", lambda data: [_commit(data)], lasting=True),
            Link("CHANGED", "changed", _files("paths"), subject=_commit, lasting=True),
        ),
    ),
    "error": Kind(
        text=_said("Error", "message"),
        tags={"type": "error", "severity": "high"},
        keep=("severity",),
        links=(Link("HIT_ERROR", "hit error", _error),),
    ),
    "completion": Kind(
        text=_completed,
        tags={"type": "success"},
        keep=("duration", "tokens"),
        when=lambda data: not is_turn(data),
        links=(Link("COMPLETED", "completed", _task),),
    ),
    "session.compacted": Kind(
        text=_said("Session compacted", "summary"),
        tags={"type": "compaction"},
        keep=("tokens_before", "tokens_after"),
    ),
    "checkpoint.created": Kind(
        text=_said("Checkpoint", "summary", "checkpoint"),
        tags={"type": "checkpoint"},
        keep=("range", "tokens_before", "tokens_after"),
        links=(Link("REACHED", "reached checkpoint", _checkpoint),),
    ),
}

#: Event types that the stage `episodes` cares about.
TYPES: frozenset[str] = frozenset(KINDS)


def text_of(event: Event) -> str:
    """The text by which an event is found: an episode's content, the full-text index's entry; "" if it has none."""
    kind = KINDS.get(event.type)
    return kind.text(event.data) if kind else ""


def flat(**values: object) -> dict[str, Flat]:
    """Attributes a graph can hold: absent ones left out, everything else than text and numbers as JSON."""
    return {name: _flat_value(value) for name, value in values.items() if value is not None}


def _flat_value(value: object) -> Flat:
    if isinstance(value, str):
        return value[:ATTRIBUTE_LIMIT]
    # FalkorDB's integers have 64 bits, and silently keep the nearest.
    if isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)[:ATTRIBUTE_LIMIT]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _lines(*parts: object) -> str:
    return "\n".join(text for part in parts if (text := _text(part)))


def first_line(value: object) -> str:
    return _text(value).strip().partition("\n")[0].rstrip()


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
