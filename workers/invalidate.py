"""Resolving a glob: the Celery task behind `memlane invalidate`, on the queue `cache`."""

from __future__ import annotations

import json

from memory import lua
from memory.cache import REPLY_SECONDS, Cache, Glob
from workers import resources


def invalidate(id: str) -> None:
    """Drop the paths that the glob under `ask:{id}` matches, and reply how many they were."""
    client = resources.valkey()
    raw = client.get(lua.ask(id))
    if raw is None:
        return
    asked = json.loads(raw)
    dropped = Cache(client, asked["group"]).invalidate(Glob(asked["glob"]))
    with client.pipeline(transaction=True) as pipeline:
        pipeline.delete(lua.ask(id))
        pipeline.lpush(lua.reply(id), json.dumps({"dropped": dropped}))
        pipeline.expire(lua.reply(id), REPLY_SECONDS)
        pipeline.execute()
