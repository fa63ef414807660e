"""What a model has found in a run of events: as it is stored, and how it is written into the graph."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from memory.graph.facts import Entity, Fact, Memory, remember
from memory.graph.kinds import Flat

if TYPE_CHECKING:
    from memory.events import Event
    from memory.graph.writer import GraphWriter

_SUMMARIES = """
UNWIND $rows AS row
MATCH (n:Entity {uuid: row.uuid})
SET n.name_embedding = vecf32(row.vector)
SET n.summary = CASE WHEN row.summary = '' THEN n.summary ELSE row.summary END
"""
_FACTS = """
UNWIND $rows AS row
MATCH ()-[e:RELATES_TO {uuid: row.uuid}]->()
SET e.fact_embedding = vecf32(row.vector), e.invalid_at = row.invalid_at
"""
#: Of the episodes of a run, which facts they tell: how these are found when the episode is forgotten.
_TELLS = """
MATCH (n:Episodic {uuid: $episode})
WITH n, coalesce(n.entity_edges, []) AS known
SET n.entity_edges = known + [uuid IN $facts WHERE NOT uuid IN known]
"""
_ENDED = """
UNWIND $rows AS row
MATCH ()-[e:RELATES_TO {uuid: row.uuid}]->()
SET e.invalid_at = row.invalid_at, e.expired_at = row.expired_at
"""


class FoundEntity(BaseModel):
    """An entity, by the identity that all of its kind and name have."""

    uuid: str
    label: str
    name: str
    summary: str = ""


class FoundFact(BaseModel):
    """`(source)-[relation]->(target)`, true from `valid_at` to `invalid_at`."""

    uuid: str
    source: str
    relation: str
    target: str
    sentence: str
    valid_at: datetime
    invalid_at: datetime | None = None


class Ended(BaseModel):
    """A fact that was known, and is no longer true."""

    uuid: str
    invalid_at: datetime | None = None
    expired_at: datetime | None = None


class Answer(BaseModel):
    """All that was found in a run."""

    entities: list[FoundEntity] = Field(default_factory=list)
    facts: list[FoundFact] = Field(default_factory=list)
    ended: list[Ended] = Field(default_factory=list)


def write(graph: GraphWriter, group: str, events: list[Event], answer: Answer) -> None:
    """Write what was found into the graph. Again changes nothing.

    Args:
        events: the run.

    Raises:
        GraphUnavailable, GraphRefused
    """
    from memory.extraction.embedder import vector

    memories = [memory for event in events if (memory := remember(event))]
    if not memories:
        return
    first = memories[0]
    entities = {found.uuid: Entity(found.uuid, found.label, found.name, {}) for found in answer.entities}
    facts = tuple(
        Fact(found.uuid, found.source, found.relation, found.target, found.sentence, found.valid_at, _NONE)
        for found in answer.facts
    )
    graph.tell(
        group,
        [
            memory._replace(
                entities=tuple(entities.values()),
                mentioned=_named(memory, answer) if memory is not first else tuple(entities),
                facts=facts if memory is first else (),
            )
            for memory in memories
        ],
    )
    if answer.entities:
        rows: list[dict[str, Any]] = [
            {"uuid": found.uuid, "summary": found.summary, "vector": vector(found.name)} for found in answer.entities
        ]
        graph.rows(group, _SUMMARIES, {"rows": rows})
    if answer.facts:
        rows = [
            {"uuid": found.uuid, "vector": vector(found.sentence), "invalid_at": _iso(found.invalid_at)}
            for found in answer.facts
        ]
        graph.rows(group, _FACTS, {"rows": rows})
        graph.rows(group, _TELLS, {"episode": first.episode.uuid, "facts": [found.uuid for found in answer.facts]})
    if answer.ended:
        rows = [
            {"uuid": found.uuid, "invalid_at": _iso(found.invalid_at), "expired_at": _iso(found.expired_at)}
            for found in answer.ended
        ]
        graph.rows(group, _ENDED, {"rows": rows})


_NONE: dict[str, Flat] = {}


def _named(memory: Memory, answer: Answer) -> tuple[str, ...]:
    """Entities whose names stand in an episode's text."""
    text = memory.episode.text.casefold()
    return tuple(found.uuid for found in answer.entities if found.name.casefold() in text)


def _iso(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat() if time else None
