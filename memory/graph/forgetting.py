"""Taking what events said out of a group's graph again, so that it is as if they had never been told.

An episode goes with its mentions. A fact goes if no other event told it; a lasting one that others told too is told
again by the first of them. Entities keep no attribute that only a forgotten event told: those that it named are emptied
and told again by all other events that name them; one that nothing names or leads to any more goes.

What it takes to do so is found in the graph itself, by the ids of the events: it may be done again at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from memory.graph.facts import Memory, episode_uuid, remember

if TYPE_CHECKING:
    from memory.events import Event

#: uuids in one query.
CHUNK = 500
#: Properties of an entity that are not told by events. Its summary, which a model wrote, may tell of them.
_OWN = frozenset({"uuid", "name", "group_id", "created_at", "name_embedding", "labels", "summary"})

_TELLS = """
MATCH (e:Episodic) WHERE e.uuid IN $some
OPTIONAL MATCH (e)-[:MENTIONS]->(n:Entity)
RETURN e.uuid, e.entity_edges, collect(n.uuid)
"""
_ENDS = "MATCH (a:Entity)-[f:RELATES_TO {uuid: uuid}]->(b:Entity)"
_FACTS = f"UNWIND $some AS uuid {_ENDS} RETURN f.uuid, a.uuid, b.uuid, f.episodes"
_DELETE_FACTS = f"UNWIND $some AS uuid {_ENDS} DELETE f"
_KEEP_FACTS = "UNWIND $rows AS row MATCH ()-[f:RELATES_TO {uuid: row.uuid}]->() SET f.episodes = row.episodes"
_DELETE_EPISODES = "MATCH (e:Episodic) WHERE e.uuid IN $some DETACH DELETE e"
_KEYS = "MATCH (n:Entity) WHERE n.uuid IN $some UNWIND keys(n) AS key RETURN DISTINCT key"
_EMPTY = "MATCH (n:Entity) WHERE n.uuid IN $some SET n.summary = ''"
#: Where an entity is called as one of the forgotten events called it.
_RENAME = """
UNWIND $rows AS row
MATCH (n:Entity {uuid: row.uuid}) WHERE n.name <> row.name
SET n.name = row.name, n.name_embedding = NULL
"""
_LONELY = "MATCH (n:Entity) WHERE n.uuid IN $some AND NOT (n)--() RETURN n.uuid"
_DELETE_ENTITIES = "MATCH (n:Entity) WHERE n.uuid IN $some DELETE n"


@dataclass(frozen=True, slots=True)
class Removed:
    """How many of each are no more."""

    episodes: int
    entities: int
    facts: int


class Graph(Protocol):
    """What is needed of `GraphWriter`."""

    def rows(self, group: str, query: str, parameters: dict[str, object]) -> list[list[Any]]: ...

    def tell(self, group: str, memories: Iterable[Memory]) -> None: ...


def forget(graph: Graph, group: str, ids: Collection[str], remaining: Iterable[Sequence[Event]]) -> Removed:
    """See `GraphWriter.forget`."""

    def ask(query: str, uuids: Iterable[str]) -> list[list[Any]]:
        listed = sorted(uuids)
        parts = (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))
        return [row for some in parts for row in graph.rows(group, query, {"some": some})]

    gone = {episode_uuid(id) for id in ids}
    tells = ask(_TELLS, gone)
    if not tells:
        return Removed(0, 0, 0)
    entities = {uuid for _, _, named in tells for uuid in named}
    deleted: set[str] = set()
    kept: list[dict[str, object]] = []
    for fact, source, target, episodes in ask(_FACTS, {fact for _, facts, _ in tells for fact in facts or ()}):
        entities |= {source, target}
        if left := [episode for episode in episodes or () if episode not in gone]:
            kept.append({"uuid": fact, "episodes": left})
        else:
            deleted.add(fact)
    ask(_DELETE_FACTS, deleted)
    for start in range(0, len(kept), CHUNK):
        graph.rows(group, _KEEP_FACTS, {"rows": kept[start : start + CHUNK]})
    for key in sorted({key for (key,) in ask(_KEYS, entities)} - _OWN):
        ask(f"MATCH (n:Entity) WHERE n.uuid IN $some SET n.`{key.replace('`', '``')}` = NULL", entities)
    ask(_EMPTY, entities)
    # Last: as long as the episodes are there, all this can be found and done again.
    told = _tell_again(graph, group, remaining, entities, deleted)
    ask(_DELETE_EPISODES, gone)
    lonely = {uuid for (uuid,) in ask(_LONELY, entities - told.entities)}
    ask(_DELETE_ENTITIES, lonely)
    return Removed(len(tells), len(lonely), len(deleted - told.facts))


@dataclass(frozen=True, slots=True)
class _Told:
    entities: set[str]
    facts: set[str]


def _tell_again(
    graph: Graph, group: str, remaining: Iterable[Sequence[Event]], entities: set[str], facts: set[str]
) -> _Told:
    """Have the other events tell what they say of these entities, and these facts."""
    told = _Told(set(), set())
    for events in remaining:
        memories = []
        # Of those that are told for the first time: an entity keeps the name that it is given first.
        names: dict[str, str] = {}
        for event in events:
            memory = remember(event)
            if memory is None:
                continue
            named = tuple(entity for entity in memory.entities if entity.uuid in entities)
            facts_again = tuple(fact for fact in memory.facts if fact.uuid in facts)
            if named:
                names |= {entity.uuid: entity.name for entity in named if entity.uuid not in told.entities}
                memories.append(memory._replace(entities=named, facts=facts_again, mentioned=()))
                told.entities.update(entity.uuid for entity in named)
                told.facts.update(fact.uuid for fact in facts_again)
        if memories:
            graph.rows(group, _RENAME, {"rows": [{"uuid": uuid, "name": name} for uuid, name in names.items()]})
            graph.tell(group, memories)
    return told
