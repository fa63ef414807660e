"""What mechanisms are given to work with, and how they use it.

A callable may be a coroutine function or a plain one, which runs in another thread: it must be safe there, as
`Publisher` and `Recall` of `producers` are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memory.calling import call
from memory.plugin_adapter import PluginContext

#: Takes an event as a dictionary, as `producers.Publisher.publish` does, and returns its id.
Publish = Callable[[dict[str, Any]], Any]
#: Takes a question and options (`tokens`, `paths`), as `producers.recall.Recall.ask` does; returns a dictionary with
#: `context`, `tokens`, `items`.
Recall = Callable[..., Any]
#: Takes what to forget, in words, and the option `session`; returns a dictionary that says what was forgotten.
Forget = Callable[..., Any]


class NotGiven(Exception):
    """The mechanism lacks a callable; the message says which."""


async def used(what: str, function: Callable[..., Any] | None, *args: Any, **options: Any) -> Any:
    """What a given callable returns.

    Raises:
        NotGiven: it was not given.
    """
    if function is None:
        raise NotGiven(f"no `{what}` callable was given: {what}=… when the mechanism is made")
    return await call(function, *args, **options)


async def published(publish: Publish | None, context: PluginContext, type: str, data: dict[str, Any]) -> str:
    """Publish an event of the context's session.

    The event that a worker runs a hook for comes at least once. What is then published has an id that follows from its
    id, so that it is there once.

    Returns:
        Its id.

    Raises:
        NotGiven: `publish` was not given.
    """
    event: dict[str, Any] = {"type": type, "session": context.session_id or None, "user": context.user_id}
    if context.project_root:
        event["project"] = str(context.project_root)
    for name in ("group", "agent"):
        if context.metadata.get(name):
            event[name] = context.metadata[name]
    if cause := context.metadata.get("event_id"):
        from memory.events import native_id

        event["id"] = native_id("memlane", context.session_id, type, str(cause))
    filled = {name: value for name, value in event.items() if value is not None}
    return str(await used("publish", publish, {**filled, "data": data}))


def count(value: object) -> int | None:
    """A number of tokens or of events, as events have them; None if it is none."""
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if known and isinstance(value, int) else None
