"""Stage `episodes`: events as episodes, entities and facts in the knowledge graph, without any model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from memory.graph.kinds import TYPES
from memory.ledger.log import Slice
from workers import resources
from workers.stage import DependencyDown, Follower


class Episodes(Follower):
    name = queue = "episodes"
    types = TYPES

    def before(self, group: str, events: Slice) -> None:
        with _reached():
            resources.graph().write(group, events.events)

    def undo(self, group: str, ids: Collection[str]) -> None:
        from memory.forget import remaining

        with _reached():
            resources.graph().forget(group, ids, remaining(resources.ledger(), group))

    def clear_outside(self, group: str) -> None:
        with _reached():
            resources.graph().drop(group)


@contextmanager
def _reached() -> Iterator[None]:
    from memory.graph.writer import GraphUnavailable

    try:
        yield
    except GraphUnavailable as error:
        raise DependencyDown(str(error)) from error
