"""Every stage there is. A new one is a module with its class, and a line here."""

from __future__ import annotations

from workers.cache import Cache
from workers.compaction import Compaction
from workers.embedding import Embedding
from workers.episodes import Episodes
from workers.extraction import Extraction
from workers.index import Index
from workers.plugins import Plugins
from workers.record import Record
from workers.stage import Follower, Stage
from workers.telemetry import Telemetry

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Record(),
        Index(),
        Episodes(),
        Cache("cache", follows="record"),
        Cache("cache.index", follows="index"),
        Cache("cache.episodes", follows="episodes"),
        Telemetry(),
        Plugins(),
        Compaction(),
        Extraction(),
        Embedding(),
    )
}

#: The stages behind each stage.
FOLLOWERS: dict[str, list[Follower]] = {
    name: [stage for stage in STAGES.values() if isinstance(stage, Follower) and stage.follows == name]
    for name in STAGES
}
