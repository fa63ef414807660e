"""Asking a worker to resolve a glob."""

from __future__ import annotations

import json
import secrets

from memory import lua
from memory.cache import Glob
from ops import clients
from producers.client import NoAnswer
from workers.app import app


def invalidate(group: str, glob: str, deadline: float) -> int:
    """Drop the paths of a group's cached answers that a glob matches.

    The pattern travels in a key with a TTL, not in the task's arguments: those are shown in Flower.

    Args:
        deadline: seconds to wait for a worker.

    Returns:
        How many paths were dropped.

    Raises:
        GlobInvalid, QueueUnavailable
        NoAnswer: no worker serves the queue `cache` in time.
    """
    Glob(glob)
    id = secrets.token_hex(16)
    with clients.queue() as client:
        client.set(lua.ask(id), json.dumps({"group": group, "glob": glob}), ex=int(deadline) + 60)
        app.send_task("memlane.invalidate", args=[id], queue="cache")
        left = deadline
        while left > 0:
            wait = min(left, 5.0)
            found = client.blpop([lua.reply(id)], timeout=wait)
            if found:
                return int(json.loads(found[1])["dropped"])
            left -= wait
    raise NoAnswer(f"no worker serves the queue cache within {deadline:g} s: see `memlane status` and `memlane doctor`")
