"""One hop of the knowledge graph: facts about the files that a question and its best events name, and about other
things in these events (errors, tasks, what a model has found in prose) that the question names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memory.graph.facts import entity_uuid, episode_uuid
from memory.ledger.search import Match
from memory.ledger.words import question_words, words_of
from memory.recall.packing import Fact
from memory.recall.question import Question

#: The best events whose files and other things are looked up, and how many facts there may be in all.
EVENTS, MOST_FACTS = 5, 12
#: How many things of the best events are looked at, and how many of them, which the question names, lead to facts.
MOST_MENTIONED, MOST_NAMED = 100, 8


class FactsUnavailable(Exception):
    """The graph can't be asked now."""


class Facts(Protocol):
    """Where facts come from: `memory.graph.reader.GraphReader`."""

    def mentioned(self, group: str, episodes: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """Things that episodes (uuids) mention, but for files and what is in nearly all of them: uuid and name.

        Raises:
            FactsUnavailable
        """

    def facts(self, group: str, entities: Sequence[str], as_of: int | None, limit: int) -> list[Fact]:
        """Facts from and to entities (uuids), newest first.

        Raises:
            FactsUnavailable
        """


def facts_on(graph: Facts | None, group: str, question: Question, best: Sequence[Match]) -> tuple[list[Fact], str]:
    """Facts on what a question is about, and what became of the graph: see `Answer.graph`."""
    if graph is None:
        return [], "none"
    best = best[:EVENTS]
    paths = dict.fromkeys([*question.paths, *(match.path for match in best if match.path)])
    try:
        entities = [entity_uuid(group, "File", path) for path in paths]
        entities += _named(graph, group, question.text, best)
        return graph.facts(group, entities, question.end, MOST_FACTS) if entities else [], "asked"
    except FactsUnavailable:
        return [], "away"


def _named(graph: Facts, group: str, asked: str, best: Sequence[Match]) -> list[str]:
    """Things (uuids) that the best events mention and that the question names by some of their words, by how many."""
    if not best:
        return []
    words = set(question_words(asked))
    found = graph.mentioned(group, [episode_uuid(match.id) for match in best], MOST_MENTIONED)
    shared = {uuid: len(words.intersection(words_of(name))) for uuid, name in found}
    named = sorted((uuid for uuid, count in shared.items() if count), key=lambda uuid: (-shared[uuid], uuid))
    return named[:MOST_NAMED]
