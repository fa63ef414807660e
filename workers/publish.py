"""Publishing an event that a worker has made: into its group's lane, as a producer does."""

from __future__ import annotations

import secrets

from memory import lua
from memory.events import Event
from workers import resources
from workers.stage import DependencyDown

#: Most events that a lane may hold for one of ours to be put behind them.
LANE_EVENTS = 1_000_000

#: A generation that begins with one of this process's calls is named by this word and the time.
_WORD = secrets.token_hex(8)


def publish(event: Event) -> None:
    """Put an event into its lane.

    Raises:
        DependencyDown: the lane or the server's memory is full.
        redis.RedisError
    """
    written = event.paths if event.type == "file.write" else ()
    arguments = [event.group, LANE_EVENTS, lua.MEMORY_SHARE, lua.DROPPED_SECONDS, _WORD, "", 0, 0, event.encode()]
    answer = lua.run(resources.valkey(), "publish", lua.publish_keys(event.group, written), arguments)
    if answer[0] != b"ok":
        raise DependencyDown(f"the queue server takes no events of group {event.group}: {answer[0].decode()}")
