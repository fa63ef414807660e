"""Calls of publish.lua: which events go together, and what goes along with them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memory import lua
from memory.events import Event
from producers.spool import CHUNK_BYTES, CHUNK_EVENTS, Chunk


@dataclass(frozen=True, slots=True)
class Origin:
    """The spool that a call's events come from: how many it had sent before them, and how many wait behind them."""

    spool: str = ""
    before: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One call: events of one group as JSON, in order, and the paths that they write to."""

    group: str
    events: list[bytes]
    written: list[str]
    origin: Origin = Origin()

    @property
    def keys(self) -> list[str]:
        """Keys of publish.lua."""
        return lua.publish_keys(self.group, self.written)

    def arguments(self, lane_events: int) -> list[str | bytes | float]:
        """Arguments of publish.lua."""
        return [
            self.group,
            lane_events,
            lua.MEMORY_SHARE,
            lua.DROPPED_SECONDS,
            _WORD,
            self.origin.spool,
            self.origin.before,
            self.origin.behind,
            *self.events,
        ]


#: A generation that begins with one of this process's calls is named by this word and the time.
_WORD = secrets.token_hex(8)


def calls_of(group: str, found: Sequence[tuple[Event, bytes]]) -> Iterator[Call]:
    """The calls that publish events of one group, given with their JSON, in their order."""
    for chunk in _chunks(found):
        written = dict.fromkeys(path for event, _ in chunk if event.type == "file.write" for path in event.paths)
        yield Call(group, [raw for _, raw in chunk], list(written))


def call_of(group: str, spool: str, chunk: Chunk) -> Call:
    """The call that publishes events from a spool."""
    written = dict.fromkeys(path for raw in chunk.events if b'"file.write"' in raw for path in _written(raw))
    return Call(group, chunk.events, list(written), Origin(spool, chunk.before, chunk.behind))


def _written(raw: bytes) -> list[str]:
    event: dict[str, Any] = json.loads(raw)
    data = event.get("data")
    if event.get("type") != "file.write" or not isinstance(data, dict):
        return []
    found = [data.get("path"), *(data.get("paths") or [])]
    return [path for path in found if isinstance(path, str) and path]


def _chunks(found: Sequence[tuple[Event, bytes]]) -> Iterator[Sequence[tuple[Event, bytes]]]:
    start = size = 0
    for n, (_, raw) in enumerate(found):
        if n > start and (n - start >= CHUNK_EVENTS or size + len(raw) > CHUNK_BYTES):
            yield found[start:n]
            start, size = n, 0
        size += len(raw)
    yield found[start:]
