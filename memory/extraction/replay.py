"""Answers that were stored, written into the graph again, or taken out of it: no model is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from memory.extraction.answer import Answer, write
from memory.extraction.runs import TYPES
from memory.graph.facts import episode_uuid
from memory.ledger import Ledger, extractions
from memory.ledger.extractions import Extraction
from memory.ledger.log import ids_between, read

if TYPE_CHECKING:
    from memory.graph.writer import GraphWriter

_UNSAY = "UNWIND $uuids AS uuid MATCH ()-[f:RELATES_TO {uuid: uuid}]->() DELETE f"
_UNMENTION = """
MATCH (e:Episodic)-[m:MENTIONS]->(n:Entity) WHERE e.uuid IN $episodes AND n.uuid IN $uuids DELETE m
"""
_EMPTY = "MATCH (n:Entity) WHERE n.uuid IN $uuids SET n.summary = ''"
_LONELY = "MATCH (n:Entity) WHERE n.uuid IN $uuids AND NOT (n)--() DELETE n"


def replay(ledger: Ledger, graph: GraphWriter, group: str, naming: Collection[str] | None = None) -> int:
    """Write all stored answers of a group into its graph; or those that name one of these entities.

    Returns:
        How many were written.

    Raises:
        LedgerUnavailable, GraphUnavailable, GraphRefused
    """
    with ledger.read() as connection:
        found = list(extractions.of_group(connection, group))
    written = 0
    for each in found:
        if naming is not None and not _names(each.answer).intersection(naming):
            continue
        with ledger.read() as connection:
            events = read(connection, group, each.first_seq - 1, each.last_seq, TYPES, 10_000).events
        write(graph, group, events, each.answer)
        written += 1
    return written


def forget(ledger: Ledger, graph: GraphWriter, group: str, gone: Iterable[Extraction]) -> None:
    """Take out of the graph what these answers told, which are no longer stored, and nobody else tells.

    Raises:
        LedgerUnavailable, GraphUnavailable, GraphRefused
    """
    entities: set[str] = set()
    for each in gone:
        named = sorted(_names(each.answer))
        with ledger.read() as connection:
            ids = ids_between(connection, group, each.first_seq, each.last_seq, TYPES)
        graph.rows(group, _UNSAY, {"uuids": [fact.uuid for fact in each.answer.facts]})
        graph.rows(group, _UNMENTION, {"episodes": [episode_uuid(id) for id in ids], "uuids": named})
        entities.update(named)
    if not entities:
        return
    extractions.empty_summaries(ledger, group, entities)
    graph.rows(group, _EMPTY, {"uuids": sorted(entities)})
    replay(ledger, graph, group, entities)
    graph.rows(group, _LONELY, {"uuids": sorted(entities)})


def _names(answer: Answer) -> set[str]:
    return {entity.uuid for entity in answer.entities}
