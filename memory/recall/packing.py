"""The context: what was ranked, packed into a token budget as text that an agent can be given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from memory.injected import HEADING, without_injected
from memory.ledger.search import TALK, Match
from memory.ledger.words import words_of
from memory.recall.rank import Ranked

#: A longer text is shortened to this many characters in the context.
ITEM_CHARACTERS = 600
#: Characters that one token is taken for, on average, in English text and code.
CHARACTERS_A_TOKEN = 4
#: Texts that share this much of their words (Jaccard) say the same.
SAME = 0.85
#: Statements that share this much of their words may say different things of the same matter: the newest comes first.
ALIKE = 0.5
#: Longer texts hold more than one statement.
STATEMENT_WORDS = 30
#: Who said it, before what was said.
_ROLE = re.compile(r"^[\w-]+: ")
#: Share of the budget that facts of the graph may take.
FACTS_SHARE = 0.2


@dataclass(slots=True)
class Item:
    """An event of the context. `times`: how many events say the same; this is the newest of them."""

    match: Match
    features: dict[str, float]
    times: int = 1
    words: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of the graph: a sentence, since when it is true, and until when (ms since 1970; None: it still is); and
    the name of the thing that led to it."""

    fact: str
    since: int | None
    until: int | None
    about: str


@dataclass(frozen=True, slots=True)
class Packed:
    """The context, what is in it, and its size in tokens."""

    context: str
    items: list[Item]
    facts: list[Fact]
    tokens: int


def pack(ranked: Sequence[Ranked], facts: Sequence[Fact], tokens: int) -> Packed:
    """What fits into so many tokens, best first; facts after the events they belong to."""
    budget = tokens * CHARACTERS_A_TOKEN
    lines, used = [HEADING], len(HEADING)

    def fits(line: str, most: int) -> bool:
        nonlocal used
        if used + len(line) + 1 > most:
            return False
        used += len(line) + 1
        lines.append(line)
        return True

    chosen = newest_first(merged(ranked))
    items = [item for item in chosen if fits(line_of(item), budget)]
    most = min(budget, used + int(budget * FACTS_SHARE))
    told = [fact for fact in facts if fits(_fact_line(fact), most)]
    context = "\n".join(lines) if items or told else ""
    return Packed(context, items, told, -(-len(context) // CHARACTERS_A_TOKEN))


def merged(ranked: Sequence[Ranked]) -> list[Item]:
    """Each thing that is said once: at the place of the best that says it, in the words of the newest."""
    kept: list[Item] = []
    for one, words in zip(ranked, word_sets([_said(one.match) for one in ranked]), strict=True):
        same = next((item for item in kept if likeness(words, item.words) >= SAME), None)
        if same is None:
            kept.append(Item(one.match, one.features, 1, words))
            continue
        same.times += 1
        if (one.match.time, one.match.seq) > (same.match.time, same.match.seq):
            same.match, same.features, same.words = one.match, one.features, words
    return kept


def newest_first(items: Sequence[Item]) -> list[Item]:
    """Short statements on the same matter that differ stand newest first, at the places they had."""
    ordered = list(items)
    statements = [place for place, item in enumerate(items) if _states(item)]
    for number, first in enumerate(statements):
        words = ordered[first].words
        places = [place for place in statements[number:] if likeness(words, ordered[place].words) >= ALIKE]
        newest = sorted((ordered[place] for place in places), key=lambda item: (-item.match.time, -item.match.seq))
        for place, item in zip(places, newest, strict=True):
            ordered[place] = item
    return ordered


def word_sets(texts: Sequence[str]) -> list[int]:
    """The words of each text as a set of bits, the same bit for the same word: comparing these is a tenth
    of the work that comparing Python's sets is."""
    bits: dict[str, int] = {}
    found = []
    for text in texts:
        words = 0
        for word in words_of(text):
            words |= bits.setdefault(word, 1 << len(bits))
        found.append(words)
    return found


def likeness(some: int, others: int) -> float:
    """The share of their words that two texts have in common (Jaccard); 1 for two without words."""
    either = (some | others).bit_count()
    return (some & others).bit_count() / either if either else 1.0


def shown(match: Match) -> str:
    """A text as it stands in the context: on one line, and not too long."""
    text = " ".join(without_injected(match.text).split())
    return text if len(text) <= ITEM_CHARACTERS else text[: ITEM_CHARACTERS - 1] + "…"


def line_of(item: Item) -> str:
    """An event with its source: session, agent, time, path."""
    match = item.match
    source = [part for part in (match.session, match.agent, _time(match.time), match.path) if part]
    if item.times > 1:
        source.append(f"{item.times} times")
    return f"- {shown(match)} ({', '.join(source)})"


def _fact_line(fact: Fact) -> str:
    times = [f"since {_time(fact.since)}"] if fact.since is not None else []
    times += [f"until {_time(fact.until)}"] if fact.until is not None else []
    text = " ".join(fact.fact.split())[:ITEM_CHARACTERS]
    return f"- {text}" + (f" ({', '.join(times)})" if times else "")


def _said(match: Match) -> str:
    """A text without who said it."""
    return _ROLE.sub("", shown(match), count=1) if match.type in TALK else shown(match)


def _states(item: Item) -> bool:
    asks = item.match.text.rstrip().endswith("?")
    return item.match.type in TALK and not asks and item.words.bit_count() <= STATEMENT_WORDS


def _time(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
