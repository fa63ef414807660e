"""Stage `episodes`: events as episodes, entities and facts in the knowledge graph, without any model."""

from __future__ import annotations

from memory.graph.kinds import TYPES
from memory.ledger.log import Slice
from workers import resources
from workers.stage import DependencyDown, Follower


class Episodes(Follower):
    name = queue = "episodes"
    types = TYPES

    def before(self, group: str, events: Slice) -> None:
        from memory.graph.writer import GraphUnavailable

        try:
            resources.graph().write(group, events.events)
        except GraphUnavailable as error:
            raise DependencyDown(str(error)) from error
