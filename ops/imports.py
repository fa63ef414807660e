"""Importing what agents did before: their databases, through the lanes like everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory.events import Event
from producers import Publisher
from producers.group import group_of
from producers.opencode_db import count, database_path, read_events

#: Events published in one round trip, and how long it may take, s.
CHUNK = 200
DEADLINE_SECONDS = 10.0


@dataclass
class Imported:
    """What was published, by type, into which groups; and which rows no event could be made of."""

    source: str
    types: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What `memlane import --json` prints."""
        return {
            "source": self.source,
            "groups": sorted(self.groups),
            "sessions": len(self.sessions),
            "published": sum(self.types.values()),
            "types": dict(sorted(self.types.items())),
            "skipped": self.skipped,
        }


def import_opencode(
    path: Path | None = None,
    group: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Imported:
    """Publish all events of an OpenCode database, which is only read.

    Args:
        path: of the database; default: where OpenCode keeps it.
        group: for all events; default: that of each session's folder.
        progress: told how many messages were read, and how many there are.

    Raises:
        OpenCodeDatabaseError: it is not there, or not OpenCode's.
        QueueUnavailable, QueueFull, QueueUnknown: import again later; what was published before changes nothing.
    """
    path = path or database_path()
    total = count(path)
    result = Imported(str(path))
    chunk: list[Event] = []
    found = read_events(
        path,
        group_for=lambda folder: group or group_of(Path(folder)),
        on_skipped=lambda row: result.skipped.append(str(row)),
        on_progress=lambda done: progress(done, total),
    )
    # Without the spool: what can't be taken now can be read again.
    with Publisher(source="opencode", group=group or group_of(), spool=False, deadline=DEADLINE_SECONDS) as publisher:

        def send() -> None:
            publisher.publish_many(chunk)
            chunk.clear()

        for event in found:
            chunk.append(event)
            result.types[event.type] += 1
            result.groups.add(event.group)
            if event.session:
                result.sessions.add(event.session)
            if len(chunk) >= CHUNK:
                send()
        if chunk:
            send()
    return result
