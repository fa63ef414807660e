"""Answering a question: rank, look one hop into the graph, pack."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memory.ledger import Ledger
from memory.recall.facts import Facts, facts_on
from memory.recall.packing import Fact, Item, pack
from memory.recall.question import Question
from memory.recall.rank import rank


@dataclass(frozen=True, slots=True)
class Answer:
    """The context, the events and facts in it best first, and the paths (pseudo-paths included) that it depends on.

    `graph` says whether the graph was asked: "asked", "away" (it is configured and can't be used now), or "none".
    """

    context: str
    items: list[Item]
    facts: list[Fact]
    tokens: int
    paths: set[str]
    graph: str
    explain: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the asker gets: context, tokens, items with their sources, facts, and what became of the graph."""
        return {
            "context": self.context,
            "tokens": self.tokens,
            "items": [self._item(item) for item in self.items],
            "facts": [asdict(fact) for fact in self.facts],
            "graph": self.graph,
        }

    def _item(self, item: Item) -> dict[str, Any]:
        found = {**asdict(item.match), "times": item.times}
        if self.explain:
            found["features"] = {name: round(part, 3) for name, part in item.features.items()}
        return found


def answer(ledger: Ledger, group: str, question: Question, graph: Facts | None = None) -> Answer:
    """Find what the group's memory holds on a question.

    Raises:
        LedgerUnavailable: the ledger can't be read.
    """
    with ledger.read() as connection:
        ranked = rank(connection, group, question)
    facts, state = facts_on(graph, group, question, [one.match for one in ranked])
    packed = pack(ranked, facts, question.tokens)
    depends = {*question.paths, *(item.match.path for item in packed.items if item.match.path)}
    depends |= {f"session:{item.match.session}" for item in packed.items if item.match.session}
    return Answer(packed.context, packed.items, packed.facts, packed.tokens, depends, state, question.explain)
