"""The context: what was ranked, packed into a token budget as text that an agent can be given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from memory.injected import HEADING, without_injected
from memory.ledger.search import TALK, Match
from memory.recall.likeness import likeness, numbers, said, says_the_same, word_sets
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
    kept: list[Item] = []
    words_of_kept: list[list[str]] = []
    for one in ranked:
        words = said(_said(one.match))
        same = next((place for place, others in enumerate(words_of_kept) if says_the_same(words, others)), None)
        if same is None:
            kept.append(Item(one.match, one.features))
            words_of_kept.append(words)
            continue
        item = kept[same]
        item.times += 1
        if (one.match.time, one.match.seq) > (item.match.time, item.match.seq):
            item.match = replace(one.match, score=item.match.score)
            words_of_kept[same] = words
    return kept


def newest_first(items: Sequence[Item], asked: str) -> list[Item]:
    """Short statements on the same matter that differ stand newest first, at the places they had; unless a number in
    what is asked tells which of them is meant."""
    talk = [place for place, item in enumerate(items) if _states(item)]
    word_sets_of_talk = word_sets([_said(items[place].match) for place in talk])
    told = numbers(asked)
    statements = {
        place: _Statement(items[place], words, told & numbers(items[place].match.text) if told else told)
        for place, words in zip(talk, word_sets_of_talk, strict=True)
        if words.bit_count() <= STATEMENT_WORDS
    }
    for place in statements:
        places = [other for other in statements if other >= place and statements[other].is_like(statements[place])]
        newest = sorted((statements[other] for other in places), key=_Statement.age)
        statements.update(zip(places, newest, strict=True))
    return [statements[place].item if place in statements else item for place, item in enumerate(items)]


@dataclass(frozen=True, slots=True)
class _Statement:
    """`words` as `word_sets` gives them; `meant`: numbers in it that the question has, too."""

    item: Item
    words: int
    meant: set[str]

    def is_like(self, other: _Statement) -> bool:
        return self.meant == other.meant and likeness(self.words, other.words) >= ALIKE

    def age(self) -> tuple[int, int]:
        return -self.item.match.time, -self.item.match.seq


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
