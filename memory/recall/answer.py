"""Answering a question: rank, look one hop into the graph, pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from memory.ledger import Ledger
from memory.ledger.embeddings import Vector
from memory.recall.facts import Facts, facts_on
from memory.recall.packing import Fact, Item, pack
from memory.recall.question import Question
from memory.recall.rank import rank


@dataclass(frozen=True, slots=True)
class Answer:
    """The context, the events and facts in it best first, and the paths (pseudo-paths included) that it depends on.

    `graph` says whether the graph was asked: "asked", "away" (it is configured and can't be used now), or "none".
    `embeddings` says the same of the model that makes vectors.
    """

    context: str
    items: list[Item]
    facts: list[Fact]
    tokens: int
    paths: set[str]
    graph: str
    embeddings: str
    explain: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the asker gets: context, tokens, items with their sources, facts, and what became of graph and model."""
        return {
            "context": self.context,
            "tokens": self.tokens,
            "items": [self._item(item) for item in self.items],
            "facts": [asdict(fact) for fact in self.facts],
            "graph": self.graph,
            "embeddings": self.embeddings,
        }

    def _item(self, item: Item) -> dict[str, Any]:
        found = {**asdict(item.match), "times": item.times}
        if self.explain:
            found["features"] = {name: round(part, 3) for name, part in item.features.items()}
        return found


def answer(
    ledger: Ledger,
    group: str,
    question: Question,
    graph: Facts | None = None,
    vector: Callable[[], Vector | None] | None = None,
) -> Answer:
    """Find what the group's memory holds on a question.

    Args:
        vector: waits a little for the question's vector; None where it can't be had now. Without, no model is set up.

    Raises:
        LedgerUnavailable: the ledger can't be read.
    """
    once = cache(vector or (lambda: None))
    with ledger.read() as connection:
        ranked = rank(connection, group, question, once)
    embeddings = "none" if vector is None else "away" if once() is None else "asked"
    facts, state = facts_on(graph, group, question, [one.match for one in ranked])
    packed = pack(ranked, facts, question)
    depends = {*question.paths, *(item.match.path for item in packed.items if item.match.path)}
    depends |= {f"session:{item.match.session}" for item in packed.items if item.match.session}
    return Answer(
        packed.context, packed.items, packed.facts, packed.tokens, depends, state, embeddings, question.explain
    )
