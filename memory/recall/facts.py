"""One hop of the knowledge graph: facts about the files and sessions that the question and its best events name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memory.graph.facts import entity_uuid
from memory.ledger.search import Match
from memory.recall.packing import Fact
from memory.recall.question import Question

#: The best events whose files are looked up, and how many facts there may be in all.
EVENTS, MOST_FACTS = 5, 12


class FactsUnavailable(Exception):
    """The graph can't be asked now."""


class Facts(Protocol):
    """Where facts come from: `memory.graph.reader.GraphReader`."""

    def facts(self, group: str, entities: Sequence[str], as_of: int | None, limit: int) -> list[Fact]:
        """Facts from and to entities (uuids), newest first.

        Raises:
            FactsUnavailable
        """


def facts_on(graph: Facts | None, group: str, question: Question, best: Sequence[Match]) -> tuple[list[Fact], str]:
    """Facts on what a question is about, and what became of the graph: see `Answer.graph`."""
    if graph is None:
        return [], "none"
    paths = dict.fromkeys([*question.paths, *(match.path for match in best[:EVENTS] if match.path)])
    if not paths:
        return [], "asked"
    entities = [entity_uuid(group, "File", path) for path in paths]
    try:
        return graph.facts(group, entities, question.end, MOST_FACTS), "asked"
    except FactsUnavailable:
        return [], "away"
