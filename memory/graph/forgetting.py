"""Taking what events said out of a group's graph again, so that it is as if they had never been told.

An episode goes with its mentions. A fact goes if no other event told it; a lasting one that others told too is told
again by the first of them. Entities keep no attribute that only a forgotten event told: those that it named are emptied
and told again by the other events that name them; one that nothing names or leads to any more goes.

The first half goes chunk by chunk, and each chunk labels the entities that it has touched (`Stale`) before it deletes
what led to them; the second half tells those with this label again, and takes it away. So what was done stays done,
whenever it ends, and may be taken up again; and what it costs depends on what is forgotten and what it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from memory.graph.facts import Memory, entity_uuid, episode_uuid, remember

if TYPE_CHECKING:
    from memory.events import Event

#: uuids in one query.
CHUNK = 500
#: Properties of an entity that are not told by events. Its summary, which a model wrote, may tell of them.
_OWN = ["uuid", "name", "group_id", "created_at", "name_embedding", "labels", "summary"]

# Edges are looked up by their uuid alone: with a label at an end, FalkorDB goes through all nodes that have it, for
# each of them.
_TELLS = """
MATCH (e:Episodic) WHERE e.uuid IN $some
OPTIONAL MATCH (e)-[:MENTIONS]->(n:Entity)
RETURN e.uuid, e.entity_edges, collect(n.uuid)
"""
_FACTS = "UNWIND $some AS uuid MATCH (a)-[f:RELATES_TO {uuid: uuid}]->(b) RETURN f.uuid, a.uuid, b.uuid, f.episodes"
_DELETE_FACTS = "UNWIND $some AS uuid MATCH ()-[f:RELATES_TO {uuid: uuid}]->() DELETE f"
_KEEP_FACTS = "UNWIND $rows AS row MATCH ()-[f:RELATES_TO {uuid: row.uuid}]->() SET f.episodes = row.episodes"
_DELETE_EPISODES = "MATCH (e:Episodic) WHERE e.uuid IN $some DETACH DELETE e"

_MARK = "MATCH (n:Entity) WHERE n.uuid IN $some SET n:Stale"
#: Of those, the ones of which events tell more than that they saw them.
_MARK_TOLD = "MATCH (n:Stale) WHERE any(key IN keys(n) WHERE NOT key IN $own) SET n:Untold"
_STALE = "MATCH (n:Stale) RETURN n.uuid, n:Untold"
_KEYS = "MATCH (n:Untold) UNWIND keys(n) AS key RETURN DISTINCT key"
_EMPTY = "MATCH (n:Entity) WHERE n.uuid IN $some SET n.summary = ''"
_TOLD_BY = "MATCH (e:Episodic)-[:MENTIONS]->(n:Entity) WHERE n.uuid IN $some RETURN DISTINCT e.uuid"
_SEEN = """
MATCH (e:Episodic)-[:MENTIONS]->(n:Entity) WHERE n.uuid IN $some AND n.seen_at IS NOT NULL
RETURN n.uuid, max(e.valid_at)
"""
#: Agents are not mentioned: an episode names its own.
_AGENTS = """
MATCH (e:Episodic) WHERE e.agent <> '' AND e.session <> '' RETURN e.agent, max(e.valid_at)
"""
_SEE = "UNWIND $rows AS row MATCH (n:Entity {uuid: row.uuid}) SET n.seen_at = row.seen_at"
#: Where an entity is called as one of the forgotten events called it.
_RENAME = """
UNWIND $rows AS row
MATCH (n:Entity {uuid: row.uuid}) WHERE n.name <> row.name
SET n.name = row.name, n.name_embedding = NULL
"""
_LONELY = "MATCH (n:Entity) WHERE n.uuid IN $some AND NOT (n)--() RETURN n.uuid"
_DELETE_ENTITIES = "MATCH (n:Entity) WHERE n.uuid IN $some DELETE n"
_UNMARK = "MATCH (n:Entity) WHERE n.uuid IN $some REMOVE n:Stale, n:Untold"


@dataclass(frozen=True, slots=True)
class Removed:
    """How many of each are no more."""

    episodes: int
    entities: int
    facts: int


class Graph(Protocol):
    """What is needed of `GraphWriter`."""

    def rows(self, group: str, query: str, parameters: dict[str, object]) -> list[list[Any]]: ...

    def tell(self, group: str, memories: Iterable[Memory], *, episodes: bool) -> None: ...


class Remaining(Protocol):
    """The group's other events, in order, that became these episodes; and those of which the graph may not hold all
    yet, since they are being written."""

    def __call__(self, episodes: Collection[str]) -> Iterable[Sequence[Event]]: ...


def forget(
    graph: Graph, group: str, ids: Collection[str], remaining: Remaining, progress: Callable[[int], object]
) -> Removed:
    """See `GraphWriter.forget`."""
    gone = sorted(episode_uuid(id) for id in ids)
    forgetting = _Forgetting(graph, group, set(gone))
    for some in _chunks(gone):
        forgetting.take_out(some)
        progress(len(some))
    lonely = forgetting.tell_again(remaining)
    return Removed(forgetting.episodes, lonely, len(forgetting.facts))


@dataclass
class _Forgetting:
    graph: Graph
    group: str
    gone: set[str]
    #: What was deleted: how many episodes, and which facts.
    episodes: int = 0
    facts: set[str] = field(default_factory=set)

    def take_out(self, some: list[str]) -> None:
        """Delete episodes, and what they alone have told; label what they named."""
        tells = self._ask(_TELLS, some)
        if not tells:
            return
        stale = {uuid for _, _, named in tells for uuid in named}
        deleted: set[str] = set()
        kept: list[dict[str, object]] = []
        for fact, source, target, episodes in self._ask(
            _FACTS, {fact for _, facts, _ in tells for fact in facts or ()}
        ):
            stale |= {source, target}
            if left := [episode for episode in episodes or () if episode not in self.gone]:
                kept.append({"uuid": fact, "episodes": left})
            else:
                deleted.add(fact)
        self._ask(_MARK, stale)
        self._ask(_DELETE_FACTS, deleted)
        self._rows(_KEEP_FACTS, kept)
        # Last: as long as the episodes are there, all this can be found and done again.
        self._ask(_DELETE_EPISODES, some)
        self.episodes += len(tells)
        self.facts |= deleted

    def tell_again(self, remaining: Remaining) -> int:
        """Have the other events tell what they say of the entities that are labelled.

        Returns:
            How many entities are no more.
        """
        self.graph.rows(self.group, _MARK_TOLD, {"own": [*_OWN, "seen_at"]})
        found = {uuid: bool(untold) for uuid, untold in self.graph.rows(self.group, _STALE, {})}
        if not found:
            return 0
        untold = {uuid for uuid in found if found[uuid]}
        for key in sorted({key for (key,) in self.graph.rows(self.group, _KEYS, {})} - set(_OWN)):
            self._ask(f"MATCH (n:Entity) WHERE n.uuid IN $some SET n.`{key.replace('`', '``')}` = NULL", untold)
        self._ask(_EMPTY, found)
        self._see(found.keys() - untold)
        told: set[str] = set()
        for events in remaining({episode for (episode,) in self._ask(_TOLD_BY, untold)}):
            told |= self._tell(events, found, told)
        lonely = {uuid for (uuid,) in self._ask(_LONELY, found.keys() - told)}
        self._ask(_DELETE_ENTITIES, lonely)
        self._ask(_UNMARK, found.keys() - lonely)
        return len(lonely)

    def _see(self, entities: Collection[str]) -> None:
        """Of entities that events only saw: when the last one did."""
        seen = dict(self._ask(_SEEN, entities))
        for agent, seen_at in self.graph.rows(self.group, _AGENTS, {}):
            if (uuid := entity_uuid(self.group, "Agent", agent)) in entities:
                seen[uuid] = seen_at
        self._rows(_SEE, [{"uuid": uuid, "seen_at": seen_at} for uuid, seen_at in seen.items()])

    def _tell(self, events: Sequence[Event], found: dict[str, bool], told: Collection[str]) -> set[str]:
        """Which of these entities a batch of events tells of."""
        memories = []
        # Of those that are told for the first time: an entity keeps the name that it is given first.
        names: dict[str, str] = {}
        named_now: set[str] = set()
        for event in events:
            memory = remember(event)
            named = [entity for entity in memory.entities if entity.uuid in found] if memory else []
            if memory is None or not named:
                continue
            for entity in named:
                if found[entity.uuid] and entity.uuid not in told:
                    names.setdefault(entity.uuid, entity.name)
            facts = tuple(fact for fact in memory.facts if fact.source in found and fact.target in found)
            memories.append(memory._replace(entities=tuple(named), facts=facts))
            named_now.update(entity.uuid for entity in named)
            self.facts.difference_update(fact.uuid for fact in facts)
        if memories:
            self._rows(_RENAME, [{"uuid": uuid, "name": name} for uuid, name in names.items()])
            self.graph.tell(self.group, memories, episodes=False)
        return named_now

    def _ask(self, query: str, uuids: Iterable[str]) -> list[list[Any]]:
        return [row for some in _chunks(sorted(uuids)) for row in self.graph.rows(self.group, query, {"some": some})]

    def _rows(self, query: str, rows: list[dict[str, object]]) -> None:
        for some in _chunks(rows):
            self.graph.rows(self.group, query, {"rows": some})


def _chunks[T](found: list[T]) -> Iterator[list[T]]:
    return (found[start : start + CHUNK] for start in range(0, len(found), CHUNK))
