"""At a session's end: store what it did, as a checkpoint that recall finds later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from memory.mechanisms.given import Publish, count, published
from memory.plugin_adapter import HookEvent, MemoryPluginHook, PluginContext

#: Entries of each list that a summary names.
NAMED = 20


class SnapshotMechanism(MemoryPluginHook):
    """Publishes `checkpoint.created` with a summary of what the context tells of the session."""

    def __init__(self, publish: Publish | None = None) -> None:
        self._publish = publish

    @property
    def name(self) -> str:
        return "snapshot"

    @property
    def trigger_event(self) -> str:
        return HookEvent.ON_SESSION_END

    async def _execute_impl(self, context: PluginContext) -> dict[str, Any]:
        """
        Returns:
            `event` (id of what was published), `checkpoint`, `summary`.

        Raises:
            NotGiven: there is no `publish`.
        """
        data: dict[str, Any] = {
            "checkpoint": f"{context.session_id} {context.timestamp}",
            "summary": summary_of(context),
            "messages": messages_of(context),
            "tokens_before": count(context.metadata.get("tokens")),
        }
        data = {name: value for name, value in data.items() if value is not None}
        id = await published(self._publish, context, "checkpoint.created", data)
        return {"event": id, "checkpoint": data["checkpoint"], "summary": data["summary"], "message": "snapshot stored"}


def summary_of(context: PluginContext) -> str:
    """What the session did, in words: its own `summary` if it has one, else put together from `title`, `reason`,
    `messages`, `files` or `paths`, `completed`, `errors` and `todos`."""
    known = context.metadata
    if isinstance(known.get("summary"), str) and known["summary"].strip():
        return str(known["summary"]).strip()
    title, reason, messages = known.get("title"), known.get("reason"), messages_of(context)
    first = f"Session {context.session_id}" + (f" ({title})" if title else "") + " ended"
    first += (f": {reason}" if reason else "") + (f", after {messages} messages" if messages is not None else "")
    todos = [todo for todo in _list(known.get("todos")) if isinstance(todo, dict) and todo.get("content")]
    lists = {
        "Files": _list(known.get("files")) or _list(known.get("paths")),
        "Completed": [
            *_list(known.get("completed")),
            *(todo["content"] for todo in todos if todo.get("status") == "completed"),
        ],
        "Errors": _list(known.get("errors")),
        "Open": [todo["content"] for todo in todos if todo.get("status") not in ("completed", "cancelled")],
    }
    return "\n".join([first, *(f"{name}: {_named(entries)}" for name, entries in lists.items() if entries)])


def messages_of(context: PluginContext) -> int | None:
    """How many messages the session had: agents tell their number, or hand over the messages themselves."""
    messages = context.metadata.get("messages")
    return len(messages) if isinstance(messages, list | tuple) else count(messages)


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict) else []


def _named(entries: list[Any]) -> str:
    more = f", and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
    return ", ".join(str(entry) for entry in entries[:NAMED]) + more
