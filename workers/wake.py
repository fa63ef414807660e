"""Sending wake-ups."""

from __future__ import annotations

from collections.abc import Collection

from workers import resources
from workers.app import app
from workers.lease import announce


def wake(stage: str, group: str) -> bool:
    """Have a stage of a group drained by some worker.

    Returns:
        Whether a wake-up was sent: none is where one is under way or a worker is at it.
    """
    from workers.stages import STAGES

    if not announce(resources.valkey(), stage, group):
        return False
    app.send_task(f"memlane.{stage}", args=[group], queue=STAGES[stage].queue)
    return True


def wake_followers(stage: str, group: str, types: Collection[str]) -> None:
    """Wake the stages that follow `stage` and care about one of the types that were just read."""
    from workers.stages import FOLLOWERS

    for follower in FOLLOWERS[stage]:
        if follower.types is None or not follower.types.isdisjoint(types):
            wake(follower.name, group)
