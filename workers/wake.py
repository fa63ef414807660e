"""Sending wake-ups."""

from __future__ import annotations

from collections.abc import Collection

from memory.lua import PREFIX
from workers import resources
from workers.app import app
from workers.lease import announce

#: Most wake-ups that may wait in a queue. Where nobody serves it, it need not grow: the sweep sends what is missing.
MOST_QUEUED = 10_000


def wake(stage: str, group: str) -> bool:
    """Have a stage of a group drained by some worker.

    Returns:
        Whether a wake-up was sent: none is where one is under way, a worker is at it, or the queue is very long.
    """
    from workers.stages import STAGES

    client, queue = resources.valkey(), STAGES[stage].queue
    if not announce(client, stage, group) or client.llen(PREFIX + queue) >= MOST_QUEUED:
        return False
    app.send_task(f"memlane.{stage}", args=[group], queue=queue)
    return True


def wake_followers(stage: str, group: str, types: Collection[str]) -> None:
    """Wake the stages that follow `stage` and care about one of the types that were just read."""
    from workers.stages import FOLLOWERS

    for follower in FOLLOWERS[stage]:
        if follower.types is None or not follower.types.isdisjoint(types):
            wake(follower.name, group)
