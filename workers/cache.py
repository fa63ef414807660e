"""Stage `cache`: drops the paths that events touch, each time before the new state can be missed.

An edit drops its path when it is published. An answer begun after that, but before the edit could be found, would be
cached without it. So the path is dropped again behind each stage that makes the edit findable: `record`, `index`
(full text) and `episodes` (graph), each with a cursor of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from memory.cache import Cache as Answers
from memory.events import Event
from memory.ledger.log import Slice
from memory.lua import WHOLE_GROUP
from workers import resources
from workers.stage import Follower

#: What an event makes void, by type.
_DROPS: dict[str, Callable[[Event], list[str]]] = {
    "file.write": lambda event: event.paths,
    "vcs.commit": lambda event: event.paths,
    "error": lambda event: [*event.paths, *_session(event)],
    "user.request": lambda event: [WHOLE_GROUP] if event.data.get("action") in ("remember", "forget") else [],
    "part.hidden": lambda event: [WHOLE_GROUP],
    "part.shown": lambda event: [WHOLE_GROUP],
    "session.end": lambda event: _session(event),
    "session.compacted": lambda event: _session(event),
    "checkpoint.created": lambda event: _session(event),
}


class Cache(Follower):
    queue = "cache"
    types = frozenset(_DROPS)

    def __init__(self, name: str, *, follows: str) -> None:
        self.name = name
        self.follows = follows

    def before(self, group: str, events: Slice) -> None:
        paths = {path for event in events.events for path in _DROPS[event.type](event)}
        Answers(resources.valkey(), group).drop(paths)


def _session(event: Event) -> list[str]:
    return [f"session:{event.session}"] if event.session else []
