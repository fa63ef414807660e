"""Sending wake-ups."""

from __future__ import annotations

import logging
from collections.abc import Collection

from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from memory.lua import BELL, PREFIX, lease, run
from workers import resources
from workers.app import app
from workers.lease import QUEUED, announce

log = logging.getLogger(__name__)

#: Most wake-ups that may wait in a queue. Where nobody serves it, it need not grow: the sweep sends what is missing.
MOST_QUEUED = 10_000


class NoRoom(Exception):
    """The queue server is at its memory limit: Celery can't send a wake-up. Draining lanes makes room."""


def wake(stage: str, group: str) -> bool:
    """Have a stage of a group drained by some worker.

    Returns:
        Whether a wake-up was sent: none is where one is under way, a worker is at it, or the queue is very long.

    Raises:
        NoRoom: see there.
        redis.RedisError, kombu.exceptions.OperationalError: the queue server can't be used.
    """
    from workers.stages import STAGES

    client, queue = resources.valkey(), STAGES[stage].queue
    if not announce(client, stage, group) or client.llen(PREFIX + queue) >= MOST_QUEUED:
        return False
    try:
        app.send_task(f"memlane.{stage}", args=[group], queue=queue)
    except (OutOfMemoryError, OperationalError) as error:
        # Not under way after all: the sweep may try at once.
        run(client, "renew_lease", [lease(stage, group)], [QUEUED, 0, ""])
        # Kombu hides what the server said behind an error of its own.
        if isinstance(error, OutOfMemoryError) or isinstance(error.__cause__, OutOfMemoryError):
            raise NoRoom(f"wake-up of stage {stage} of group {group}: {error}") from error
        raise
    return True


def ring(group: str) -> None:
    """Ring the bell for a lane, as a producer does.

    Raises:
        NoRoom: see there.
    """
    try:
        resources.valkey().lpush(BELL, f"lane {group}")
    except OutOfMemoryError as error:
        raise NoRoom(f"ring for the lane of group {group}: {error}") from error


def wake_followers(stage: str, group: str, types: Collection[str]) -> None:
    """Wake the stages that follow `stage` and care about one of the types that were just read."""
    from workers.stages import FOLLOWERS

    try:
        for follower in FOLLOWERS[stage]:
            if not follower.on:
                continue
            if follower.types is None or not follower.types.isdisjoint(types):
                wake(follower.name, group)
    except NoRoom as error:
        log.warning("left to the sweep: %s", error)
