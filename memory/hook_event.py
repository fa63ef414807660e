"""What hooks wait for, what they are told, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any


class HookEvent(StrEnum):
    """What hooks may wait for. The first four are spelled as agents' hooks are; the others are types of event."""

    ON_SESSION_START = "on_session_start"
    ON_CONTEXT_WARNING = "on_context_warning"
    ON_SESSION_END = "on_session_end"
    ON_USER_REQUEST = "on_user_request"
    CHAT_START = "chat.start"
    CHAT_MESSAGE = "chat.message"
    FILE_WRITE = "file.write"
    TOOL_CALL = "tool.call"
    TODO_UPDATED = "todo.updated"
    VCS_COMMIT = "vcs.commit"
    ERROR = "error"
    COMPLETION = "completion"
    SESSION_COMPACTING = "session.compacting"
    SESSION_COMPACTED = "session.compacted"
    CHECKPOINT_CREATED = "checkpoint.created"
    PART_HIDDEN = "part.hidden"
    PART_SHOWN = "part.shown"
    SWARM_AGENT = "swarm.agent"
    SWARM_TASK = "swarm.task"
    SWARM_RESERVATION = "swarm.reservation"
    SWARM_MESSAGE = "swarm.message"
    SWARM_CONFLICT = "swarm.conflict"


#: What hooks know by another spelling: four types of event, and older spellings of types.
_SPELLED = {
    "session.start": HookEvent.ON_SESSION_START,
    "context.warning": HookEvent.ON_CONTEXT_WARNING,
    "session.end": HookEvent.ON_SESSION_END,
    "user.request": HookEvent.ON_USER_REQUEST,
    "chat:start": HookEvent.CHAT_START,
    "file:write": HookEvent.FILE_WRITE,
    "experimental.session.compacting": HookEvent.SESSION_COMPACTING,
}


def hook_event(name: str) -> str:
    """The name under which hooks wait for an event: a value of `HookEvent`, or the name itself where nobody of ours
    knows it, since agents may have events of their own."""
    return str(_SPELLED.get(name, name))


@dataclass(frozen=True)
class PluginContext:
    """What a hook is told.

    `timestamp` is ISO 8601; `metadata` holds the event's `data`, and in a worker also, as far as known, `event_id`,
    `type`, `group`, `session_id`, `agent`, `user_id`, `project_root` and `path`.
    """

    session_id: str
    project_root: Path | None = None
    user_id: str | None = None
    timestamp: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PluginResult:
    """What became of one hook: `message` names it and says what happened, `data` is what it returned.

    `reason` says why it failed without anything of the event in it, for logs: a kind of error and where it was raised,
    or that it took too long.
    """

    success: bool
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    reason: str = field(default="", compare=False)


def kind_of(value: object) -> str:
    """What a value is, with its article, for messages: "an int", "None"."""
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
