"""The context: what was ranked, packed into a token budget as text that an agent can be given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from memory.injected import HEADING, without_injected
from memory.ledger.search import TALK, Match
from memory.ledger.words import words_of
from memory.recall.likeness import common_words, numbers, said, says_the_same
from memory.recall.question import Question
from memory.recall.rank import Ranked

#: A longer text is shortened to this many characters in the context.
ITEM_CHARACTERS = 600
#: Characters that one token is taken for, on average, in English text and code.
CHARACTERS_A_TOKEN = 4
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
    """An event of the context. `times`: how many events say the same; this is the newest of them, with the score and
    the features of the best."""

    match: Match
    features: dict[str, float]
    times: int = 1


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


def pack(ranked: Sequence[Ranked], facts: Sequence[Fact], question: Question) -> Packed:
    """What fits into the question's budget, best first; facts after the events they belong to."""
    budget = question.tokens * CHARACTERS_A_TOKEN
    lines, used = [HEADING], len(HEADING)

    def fits(line: str, most: int) -> bool:
        nonlocal used
        if used + len(line) + 1 > most:
            return False
        used += len(line) + 1
        lines.append(line)
        return True

    chosen = newest_first(merged(ranked), question.text)
    items = [item for item in chosen if fits(line_of(item), budget)]
    most = min(budget, used + int(budget * FACTS_SHARE))
    told = [fact for fact in facts if fits(_fact_line(fact), most)]
    context = "\n".join(lines) if items or told else ""
    return Packed(context, items, told, -(-len(context) // CHARACTERS_A_TOKEN))


def merged(ranked: Sequence[Ranked]) -> list[Item]:
    """Each thing that is said once: at the place of the best that says it, in the words of the newest."""
    texts = [said(_said(one.match)) for one in ranked]
    common = common_words(texts)
    own = common.diagonal()
    # Most texts have words that each other one has not: these need not be compared word by word.
    within = common == np.minimum.outer(own, own)
    alone = within.sum(axis=1) == 1
    kept: list[Item] = []
    numbers_of_kept: list[int] = []
    for number, one in enumerate(ranked):
        same = (
            place
            for place, other in enumerate(numbers_of_kept)
            if within[number, other] and says_the_same(texts[number], texts[other])
        )
        place = None if alone[number] else next(same, None)
        if place is None:
            kept.append(Item(one.match, one.features))
            numbers_of_kept.append(number)
            continue
        item = kept[place]
        item.times += 1
        if (one.match.time, one.match.seq) > (item.match.time, item.match.seq):
            item.match = replace(one.match, score=item.match.score)
            numbers_of_kept[place] = number
    return kept


def newest_first(items: Sequence[Item], asked: str) -> list[Item]:
    """Short statements on the same matter that differ stand newest first, at the places they had; unless a number in
    what is asked tells which of them is meant."""
    words = {place: set(words_of(_said(item.match))) for place, item in enumerate(items) if _states(item)}
    places = [place for place, of_place in words.items() if len(of_place) <= STATEMENT_WORDS]
    alike = _alike([words[place] for place in places], [items[place].match.text for place in places], asked)
    # Statements are known by their number in `places`; `order` says which one stands where. Most are like no other.
    order = list(range(len(places)))
    several = [number for number in order if alike[number].sum() > 1]
    for at, place in enumerate(several):
        group = [other for other in several[at:] if alike[order[place], order[other]]]
        newest = sorted((order[other] for other in group), key=lambda number: _age(items[places[number]].match))
        for other, number in zip(group, newest, strict=True):
            order[other] = number
    ordered = list(items)
    for place, number in zip(places, order, strict=True):
        ordered[place] = items[places[number]]
    return ordered


def _alike(words: Sequence[set[str]], texts: Sequence[str], asked: str) -> NDArray[np.bool_]:
    """Which statements may say different things of the same matter, n x n."""
    common = common_words(words)
    own = common.diagonal()
    alike: NDArray[np.bool_] = common >= ALIKE * (np.add.outer(own, own) - common)
    if told := numbers(asked):
        meant = [told & numbers(text) for text in texts]
        alike &= np.array([[some == others for others in meant] for some in meant], bool).reshape(alike.shape)
    return alike


def _age(match: Match) -> tuple[int, int]:
    return -match.time, -match.seq


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
    return item.match.type in TALK and not item.match.text.rstrip().endswith("?")


def _time(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
