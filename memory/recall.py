"""Recall: a question in, ranked context with its sources out.

Candidates come from the ledger's full-text index; the best are packed into a token budget as text that an agent can
be given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from memory.ledger import Ledger
from memory.ledger.search import Match, search

#: First line of every recalled context, by which it is told from new memory.
HEADING = "[Memory Context]"
#: Matches that are looked at before packing.
CANDIDATES = 60
#: A longer text is shortened to this many characters in the context.
ITEM_CHARACTERS = 600
#: Characters that one token is taken for, on average, in English text and code.
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for. `tokens` is the budget of the context; `paths` are files being worked on."""

    text: str
    tokens: int
    paths: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """The context, the events in it best first, and the paths (pseudo-paths included) that it depends on."""

    context: str
    items: list[Match]
    tokens: int
    paths: set[str]

    def as_json(self) -> dict[str, Any]:
        """What the asker gets: context, tokens, and items with their sources."""
        return {"context": self.context, "tokens": self.tokens, "items": [asdict(item) for item in self.items]}


def answer(ledger: Ledger, group: str, question: Question) -> Answer:
    """Find what the group's memory holds on a question.

    Raises:
        LedgerUnavailable: the ledger can't be read.
    """
    with ledger.read() as connection:
        found = search(ledger, connection, group, " ".join([question.text, *question.paths]), CANDIDATES)
    items, lines, characters = [], [HEADING], len(HEADING)
    for match in _distinct(found):
        line = _line(match)
        if characters + len(line) + 1 > question.tokens * CHARACTERS_A_TOKEN:
            continue
        characters += len(line) + 1
        items.append(match)
        lines.append(line)
    depends = {*question.paths, *(item.path for item in items if item.path)}
    depends |= {f"session:{item.session}" for item in items if item.session}
    context = "\n".join(lines) if items else ""
    return Answer(context, items, -(-len(context) // CHARACTERS_A_TOKEN), depends)


def _distinct(found: Sequence[Match]) -> list[Match]:
    """Each text once: its best match, which among equals is the newest."""
    first: dict[str, Match] = {}
    for match in found:
        first.setdefault(match.text, match)
    return list(first.values())


def _line(match: Match) -> str:
    text = " ".join(match.text.split())
    if len(text) > ITEM_CHARACTERS:
        text = text[: ITEM_CHARACTERS - 1] + "…"
    when = datetime.fromtimestamp(match.time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    source = ", ".join(part for part in (match.session, match.agent, when, match.path) if part)
    return f"- {text} ({source})"
