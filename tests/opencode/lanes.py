"""What OpenCode's plugin has published, where no workers take it from the lanes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from tests.servers import wait_until


@dataclass(frozen=True)
class Lanes:
    queue: redis.Redis

    def events(self, session: str, type: str = "") -> list[dict[str, Any]]:
        """A session's events, in its order."""
        lanes = sorted(self.queue.keys("memlane:lane:*"))
        found = [json.loads(entry[b"e"]) for lane in lanes for _, entry in self.queue.xrange(lane)]
        return [event for event in found if event["session"] == session and (not type or event["type"] == type)]

    def wait_for(self, session: str, type: str, number: int = 1) -> list[dict[str, Any]]:
        """Events of a type, as soon as there are so many."""
        wait_until(lambda: len(self.events(session, type)) >= number, f"{number} {type} of {session}")
        return self.events(session, type)
