"""The event: one thing that happened in an agent, as a CloudEvents 1.0 JSON object.

`Event` is the envelope; `DATA` says what each known type carries. Unknown `data` fields are kept; unknown types are
recorded and otherwise ignored. The JSON Schema (`python -m memory.events`) is generated from these models.

Source: CloudEvents 1.0, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import posixpath
import re
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ulid import ULID

from memory.privacy import redact

#: Largest event, as UTF-8 JSON, in bytes. A larger one is refused.
MAX_EVENT_BYTES = 256 * 1024
#: A text field of `data` above this many UTF-8 bytes is clipped by the producer.
MAX_TEXT_BYTES = 32 * 1024
#: Most levels of objects and lists in each other. A fixed number, so that all that read an event agree.
MAX_DEPTH = 64
#: Largest count: the largest integer that is exact in every language.
MAX_COUNT = 2**53 - 1

GROUP_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
#: RFC 3339, which is narrower than what pydantic takes for a time (seconds since 1970, a date alone).
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"

#: Attributes that are never redacted: made by machines, or checked by a pattern.
_PLAIN = frozenset({"specversion", "id", "source", "type", "time", "group", "session"})

#: Older spellings of types, accepted on input.
ALIASES = {
    "on_session_start": "session.start",
    "on_session_end": "session.end",
    "on_context_warning": "context.warning",
    "on_user_request": "user.request",
    "chat:start": "chat.start",
    "file:write": "file.write",
    "experimental.session.compacting": "session.compacting",
}

_TIME = re.compile(TIME_PATTERN)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOO_DEEP = f"event: nested deeper than {MAX_DEPTH} levels"
_NO_NUMBER = "event: holds a number that JSON can't (infinite, or not a number)"
_WINDOWS = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\)")


class EventInvalid(ValueError):
    """An event can't be accepted. The message names the field and never holds the event's content."""


def _no_constant(name: str) -> Any:
    raise EventInvalid(f"event: {name} is not valid JSON")


# Made once: `json.loads` makes one each time.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _known_spelling(name: object) -> object:
    return ALIASES.get(name, name) if isinstance(name, str) else name


def _rfc3339(time: object) -> object:
    if isinstance(time, datetime) or (isinstance(time, str) and _TIME.match(time)):
        return time
    raise PydanticCustomError("time", "Input should be a time as RFC 3339 has it, with its offset from UTC")


def _utc_milliseconds(time: datetime) -> datetime:
    """The time as it is encoded, so that an event that was sent equals the one that arrives."""
    try:
        time = time.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "Input should be a time that is in the years 1 to 9999 in UTC") from None
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


Group = Annotated[str, StringConstraints(pattern=GROUP_PATTERN)]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_utc_milliseconds),
    Field(json_schema_extra={"pattern": TIME_PATTERN}),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class _Data(BaseModel):
    """What one type's `data` carries. Unknown fields are kept. Strict: a "4" where a number belongs is refused."""

    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)


class SessionStart(_Data):
    parent: str | None = None
    title: str | None = None
    model: str | None = None


class SessionEnd(_Data):
    reason: str | None = None
    messages: Count | None = None


class ContextWarning(_Data):
    context_size: Count
    limit: Count
    percentage: float | None = None
    level: str | None = None


class UserRequest(_Data):
    request: Text
    action: Literal["remember", "query", "forget"] | None = None


class ChatStart(_Data):
    query: str


class ChatMessage(_Data):
    role: Text
    text: str
    message: str | None = None
    tokens: Count | None = None


class FileWrite(_Data):
    path: Text
    tool: str | None = None
    additions: Count | None = None
    deletions: Count | None = None
    summary: str | None = None


class ToolCall(_Data):
    tool: Text
    status: Text
    duration_ms: Annotated[float, Field(ge=0)] | None = None
    path: str | None = None
    summary: str | None = None


class Todo(_Data):
    content: str
    status: str | None = None
    priority: str | None = None


class TodoUpdated(_Data):
    todos: list[Todo]


class VcsCommit(_Data):
    sha: Text
    message: str
    author: str | None = None
    paths: list[str] | None = None


class Error(_Data):
    message: str
    name: str | None = None
    severity: str | None = None


class Completion(_Data):
    task: Text
    duration: Annotated[float, Field(ge=0)] | None = None
    tokens: Count | None = None


class Compaction(_Data):
    auto: bool | None = None
    overflow: bool | None = None
    summary: str | None = None
    tokens_before: Count | None = None
    tokens_after: Count | None = None


class CheckpointCreated(_Data):
    checkpoint: Text
    tokens_before: Count | None = None
    tokens_after: Count | None = None


class PartHidden(_Data):
    part: Text
    replacement: str | None = None


#: Known types and what their `data` holds.
DATA: dict[str, type[_Data]] = {
    "session.start": SessionStart,
    "session.end": SessionEnd,
    "context.warning": ContextWarning,
    "user.request": UserRequest,
    "chat.start": ChatStart,
    "chat.message": ChatMessage,
    "file.write": FileWrite,
    "tool.call": ToolCall,
    "todo.updated": TodoUpdated,
    "vcs.commit": VcsCommit,
    "error": Error,
    "completion": Completion,
    "session.compacting": Compaction,
    "session.compacted": Compaction,
    "checkpoint.created": CheckpointCreated,
    "part.hidden": PartHidden,
    "part.shown": PartHidden,
}


class Event(BaseModel):
    """The envelope: CloudEvents' attributes and Memlane's extension attributes `group` to `project`.

    `data.path` and `data.paths` are stored relative to `project`, POSIX, `.` and `..` resolved lexically;
    absolute where they lie outside of it. `subject` is a copy of `data.path`.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    source: Name
    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$"), BeforeValidator(_known_spelling)]
    time: Time
    group: Group
    session: Name | None = None
    agent: Name | None = None
    user: Name | None = None
    project: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    subject: str | None = None
    data: dict[str, Any]

    @model_validator(mode="after")
    def _normalise(self) -> Self:
        path, paths = self.data.get("path"), self.data.get("paths")
        if isinstance(path, str) and path:
            self.data["path"] = self.subject = normal_path(path, self.project)
        if isinstance(paths, list):
            self.data["paths"] = [normal_path(p, self.project) if isinstance(p, str) else p for p in paths]
        return self

    @property
    def paths(self) -> list[str]:
        """Paths the event is about, in their stored form, each once."""
        found = [self.data.get("path"), *(self.data.get("paths") or [])]
        return list(dict.fromkeys(p for p in found if isinstance(p, str) and p))

    def encode(self) -> bytes:
        """The event as UTF-8 JSON: keys in the envelope's order, absent attributes left out, time in UTC to the ms.

        Raises:
            EventInvalid: larger than `MAX_EVENT_BYTES`, or not expressible as JSON.
        """
        # Pydantic keeps attributes there in the envelope's order.
        fields = {name: value for name, value in self.__dict__.items() if value is not None}
        fields["time"] = self.time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
        data = fields.pop("data")
        fields.update((name, value) for name, value in (self.model_extra or {}).items() if value is not None)
        fields["data"] = data
        try:
            raw = orjson.dumps(fields)
        except TypeError:
            raise EventInvalid("data: holds something that JSON can't: use strings, numbers, lists, objects") from None
        if len(raw) > MAX_EVENT_BYTES:
            raise EventInvalid(
                f"event: {len(raw)} bytes of JSON are above the limit of {MAX_EVENT_BYTES}: shorten the fields of data"
            )
        return raw


def parse(source: bytes | str | dict[str, Any]) -> Event:
    """Check and normalise one event, from JSON or from a dictionary.

    Raises:
        EventInvalid: not JSON, not an object, JSON larger than `MAX_EVENT_BYTES` (a dictionary is measured when it
            is encoded, after clipping), or a field is missing or wrong; the message names every such field and holds
            none of the content.
    """
    return _checked(_clean(source) if isinstance(source, dict) else json_object(source))


def create(fields: dict[str, Any], *, source: str, group: str) -> Event:
    """Make an event from what a producer knows: fills in id (a ULID), time, source and group, and clips long text.

    Raises:
        EventInvalid: as `parse` and `Event.encode`.
    """
    return create_encoded(fields, source=source, group=group)[0]


def create_encoded(fields: dict[str, Any], *, source: str, group: str) -> tuple[Event, bytes]:
    """`create`, and the event's encoding, which it has to make anyway."""
    filled = {"id": str(ULID()), "time": datetime.now(UTC), "source": source, "group": group}
    filled.update((name, value) for name, value in fields.items() if value is not None)
    # Before anything is clipped: a secret that is cut in half is not recognised any more.
    filled = redacted(filled)
    try:
        event = _checked(filled)
        raw = event.encode()
        # orjson refuses what must be cleaned, but for NUL, numbers that aren't (they become null), and deep nesting.
        clean = len(raw) <= MAX_TEXT_BYTES and b"\\u0000" not in raw and b"null" not in raw and not _may_be_deep(raw)
    except EventInvalid:
        clean = False
    if not clean:
        event = _checked(_clean(filled))
        clip(event)
        raw = event.encode()
    return event, raw


def redacted(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event without secrets and private text, wherever in them people or programs may have put some.
    The same dictionary if there are none. See `memory.privacy`.
    """
    free = {name: value for name, value in fields.items() if name not in _PLAIN}
    clean: dict[str, Any] = redact(free)
    if clean is free:
        return fields
    return {name: value for name, value in fields.items() if name in _PLAIN} | clean


def native_id(source: str, session: str, type: str, native: str, status: str | None = None) -> str:
    """Id of an event for which the agent has an id of its own, so that a live event and its later import are one.

    Returns:
        26 characters: the first 128 bits of the SHA-256 of `source:session:type:native[:status]`, in base32.
    """
    parts = [source, session, type, native] + ([status] if status is not None else [])
    digest = hashlib.sha256(":".join(parts).encode("utf-8", "replace")).digest()
    return base64.b32encode(digest[:16]).decode("ascii").rstrip("=")


def normal_path(path: str, project: str | None = None) -> str:
    """A path in the form in which it is stored: see `Event`. Normalising it again changes nothing.

    Whether backslashes separate is decided by the project, else by the path. A project that isn't absolute says
    nothing about where paths are.
    """
    if project and not (project.startswith("/") or _WINDOWS.match(project)):
        project = None
    windows = _WINDOWS.match(project or path) is not None
    root = _lexical(project, windows) if project else None
    if root and not (path.startswith("/") or (windows and _WINDOWS.match(path))):
        path = f"{root}/{path}"
    path = _lexical(path, windows)
    if root is None:
        return path
    if path == root:
        return "."
    inside = root if root.endswith("/") else root + "/"
    return path.removeprefix(inside)


def _lexical(path: str, windows: bool) -> str:
    """The path with `.`, `..` and doubled slashes resolved, and POSIX separators."""
    drive = ""
    if windows:
        path = path.replace("\\", "/")
        if path[1:3] == ":/":
            drive, path = path[:2], path[2:]
    path = posixpath.normpath(path)
    # POSIX leaves the meaning of exactly two leading slashes open, so `normpath` keeps them.
    return drive + (path[1:] if path.startswith("//") else path)


def clip(event: Event) -> None:
    """Shorten text above `MAX_TEXT_BYTES`, in place; `data.clipped` says how many bytes each such field had."""
    clipped: dict[str, int] = {}

    def shorten(value: Any, where: str) -> Any:
        if isinstance(value, str) and len(value) > MAX_TEXT_BYTES // 4:
            raw = value.encode("utf-8")
            if len(raw) > MAX_TEXT_BYTES:
                clipped[where] = len(raw)
                return raw[:MAX_TEXT_BYTES].decode("utf-8", "ignore")
        elif isinstance(value, dict):
            return {k: shorten(v, f"{where}.{k}" if where else k) for k, v in value.items()}
        elif isinstance(value, list):
            return [shorten(v, f"{where}.{n}" if where else str(n)) for n, v in enumerate(value)]
        return value

    event.data = shorten(event.data, "")
    if clipped:
        event.data["clipped"] = {**clipped_of(event.data), **clipped}
        if "path" in clipped:
            event.subject = event.data["path"]


def clipped_of(data: dict[str, Any]) -> dict[str, Any]:
    """Which fields of an event's data hold only the beginning of a text, and how many bytes that had, as its producer
    says. Of events that were made elsewhere it may hold anything."""
    found = data.get("clipped")
    return found if isinstance(found, dict) else {}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an event: the envelope, and the `data` of each known type."""
    envelope = Event.model_json_schema()
    definitions = {name: shape.model_json_schema(ref_template="#/$defs/{model}") for name, shape in DATA.items()}
    shared: dict[str, Any] = {}
    for definition in definitions.values():
        shared.update(definition.pop("$defs", {}))
    envelope["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    envelope["$defs"] = {**shared, **definitions}
    envelope["allOf"] = [
        {
            "if": {"properties": {"type": {"enum": [name, *(old for old, new in ALIASES.items() if new == name)]}}},
            "then": {"properties": {"data": {"$ref": f"#/$defs/{name}"}}},
        }
        for name in DATA
    ]
    return envelope


def json_object(raw: bytes | str) -> dict[str, Any]:
    """The JSON object that the text holds.

    Raises:
        EventInvalid: not JSON, not an object, or larger than `MAX_EVENT_BYTES`.
    """
    size = len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "surrogatepass"))
    if size > MAX_EVENT_BYTES:
        raise EventInvalid(f"event: {size} bytes are above the limit of {MAX_EVENT_BYTES}: shorten the fields of data")
    try:
        fields = orjson.loads(raw)
        # NUL, as surrogates, can only come escaped.
        clean = (b"\\u" if isinstance(raw, bytes) else "\\u") not in raw and not _may_be_deep(raw)  # type: ignore[operator]
    except orjson.JSONDecodeError:
        # Lone surrogates are refused there, and cleaned here; and this says what is wrong with it.
        fields, clean = _decoded(raw), False
    if not isinstance(fields, dict):
        raise EventInvalid("event: not a JSON object")
    return fields if clean else _clean(fields)


def _decoded(raw: bytes | str) -> Any:
    try:
        # Decoded here, since `json.loads` would also take UTF-16 and UTF-32 for JSON.
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        return _DECODER.decode(text)
    except EventInvalid:
        raise
    except RecursionError:
        raise EventInvalid(_TOO_DEEP) from None
    except UnicodeDecodeError:
        raise EventInvalid("event: not valid UTF-8") from None
    except ValueError as error:
        where = f" (line {error.lineno} column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise EventInvalid(f"event: not valid JSON{where}") from None


def _checked(fields: dict[str, Any]) -> Event:
    """The event that the fields make.

    Raises:
        EventInvalid: a field is missing or wrong; the message names every such field.
    """
    try:
        event = Event.model_validate(fields)
        shape = DATA.get(event.type)
        if shape is not None:
            shape.model_validate(event.data)
    except ValidationError as error:
        raise EventInvalid(_explain(error)) from None
    return event


def _may_be_deep(raw: bytes | str) -> bool:
    """Whether JSON has enough brackets to be nested deeper than `MAX_DEPTH`."""
    if isinstance(raw, bytes):
        return raw.count(b"{") + raw.count(b"[") > MAX_DEPTH
    return raw.count("{") + raw.count("[") > MAX_DEPTH


def _clean(value: Any, depth: int = 0) -> Any:
    """The value without what SQLite, PostgreSQL and other languages read differently: NUL, lone surrogates, integers
    above 64 bits (which become floats, as in JavaScript).

    Raises:
        EventInvalid: nested deeper than `MAX_DEPTH`, a number that JSON can't hold, or a key that isn't a string.
    """
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, dict | list | tuple) and depth >= MAX_DEPTH:
        raise EventInvalid(_TOO_DEEP)
    if isinstance(value, dict):
        cleaned = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise EventInvalid("event: holds a key that isn't a string")
            cleaned[_clean_text(key)] = _clean(item, depth + 1)
        return cleaned
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value]
    if type(value) is int and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            raise EventInvalid(_NO_NUMBER) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise EventInvalid(_NO_NUMBER)
    return value


def _clean_text(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return text
    return _SURROGATE.sub("\ufffd", text).replace("\x00", "\ufffd")


def _explain(error: ValidationError) -> str:
    """One line that names each wrong field, without what was in it."""
    of_data = error.title != Event.__name__
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"]) or "event"
        lines.append(f"{'data.' if of_data else ''}{where}: {problem['msg']}")
    return "; ".join(lines)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
