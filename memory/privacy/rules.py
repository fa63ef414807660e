"""The rules of rules.json, and where they match.

Speed comes from looking for literal keywords first, and trying a rule's pattern only where one of its keywords stands
(`Pattern.match` there, never a search through the text). Nearly all tokens are long runs of letters and digits, which
are rare in text; so the keywords of `long` rules are looked for in such runs only. Patterns are compiled when they are
first needed: compiling all would take longer than a hook lives.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable

from memory.privacy.checks import JUDGED, Checks, entropy

#: Least length of a run of letters, digits and `_.~-` in which the keywords of `long` rules are looked for.
RUN = 20
#: Least length of a run in which `long` rules without a keyword are looked for.
LONGEST = 50
#: From so many on, longer keywords are looked for around the one that they hold; fewer, in the whole text.
SEVERAL = 3
#: How many characters before a keyword `near` looks at.
REACH = 256
#: What was refused as a value is not looked through again for the same keyword, but for this many last characters.
REJECTED = 64
#: How many characters after the head of a private key must show that it is one.
EVIDENCE = 400

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than everything else here
    from typing import Any

_RUN_CHARACTERS = bytes(
    97 if chr(code).isascii() and (chr(code).isalnum() or chr(code) in "_.~-") else 32 for code in range(256)
)
_RUN = "a" * RUN
_DIGIT_CHARACTERS = bytes(48 if 48 <= code <= 57 else 45 if code in b" -" else 32 for code in range(256))
#: What a text with a card number holds, its digits taken for `0`, spaces and dashes for `-`.
_CARDS = ("0" * 14, "0000-0000-0000", "0000-000000-0000")
_KEY_BODY = r"[A-Za-z0-9+/]{16,80}"
_LINE_END = r"[ \t]{0,8}(?:\r?\n|\\{1,4}[nr])"
#: (start, end, rank of the rule, label)
Span = tuple[int, int, int, str]


class Rule:
    """One rule. NOTICE.md tells its fields."""

    def __init__(self, rank: int, fields: dict[str, Any]) -> None:
        self.rank = rank
        self.id: str = fields["id"]
        self.label: str = fields["label"]
        self.keywords = tuple(fields["keywords"])
        self.long: bool = fields.get("long", False)
        self.offset: int = fields.get("offset", 0)
        self.flags: str = fields.get("flags", "")
        self.source: str = fields["pattern"]
        self.after_word = tuple(fields.get("after_word", ()))
        self.near = tuple(fields.get("near", ()))
        self.stop: str = fields.get("stop", "")
        self.end_source: str = fields.get("end", "")
        self.distinct: int = fields.get("distinct", 0)
        self.entropy: float = fields.get("entropy", 0.0)
        check: str | list[str] = fields.get("check", [])
        self.checks = [check] if isinstance(check, str) else check
        self._patterns: tuple[re.Pattern[str], re.Pattern[str]] | None = None

    @property
    def patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Compiled: what matches, and what ends a block."""
        if self._patterns is None:
            flags = re.ASCII | (re.IGNORECASE if "i" in self.flags else 0)
            self._patterns = re.compile(self.source, flags), re.compile(self.end_source, re.ASCII)
        return self._patterns


#: A rule that may match in a text, and the keyword for which it may; empty if it has none.
Active = tuple[Rule, str]


class Rules:
    """All rules, and the prefilter over their keywords."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.rules = [Rule(rank, rule) for rank, rule in enumerate(fields["rules"])]
        self.checks = Checks(fields["placeholders"], fields["placeholder_words"], fields["identifiers"])
        #: Label, pattern and check of keys whose names say that their values are secret.
        self.names: list[tuple[str, str, Callable[[str], bool]]] = [
            (name["label"], name["pattern"], getattr(self.checks, name["check"])) for name in fields["names"]
        ]
        self._checks: dict[str, Callable[[str], bool]] = {
            check: getattr(self.checks, check) for rule in self.rules for check in rule.checks
        }
        self._in_text = _by_keyword(rule for rule in self.rules if rule.keywords and not rule.long)
        self._in_runs = _by_keyword(rule for rule in self.rules if rule.keywords and rule.long)
        self._runs = [rule for rule in self.rules if not rule.keywords and rule.long]
        self._digits = [rule for rule in self.rules if not rule.keywords and not rule.long]
        # A keyword that holds another one can only occur where that one does.
        self._keywords = _tree(list(self._in_text))

    def active(self, text: str, low: str) -> list[Active]:
        """Rules that may match in a text; `low` is the text as `lowered`."""
        found: list[Active] = []
        raw = low.encode("ascii")
        digits = raw.translate(_DIGIT_CHARACTERS).decode("ascii")
        if any(card in digits for card in _CARDS):
            found += [(rule, "") for rule in self._digits]
        for keyword, longer in self._keywords:
            if keyword in low:
                found += [(rule, keyword) for rule in self._in_text[keyword]]
                around = _around(low, keyword, max(map(len, longer))) if len(longer) >= SEVERAL else low
                for other in longer:
                    if other in around:
                        found += [(rule, other) for rule in self._in_text[other]]
        runs, longest = _long_runs(low, raw)
        if runs:
            found += [(rule, word) for word, rules in self._in_runs.items() if word in runs for rule in rules]
            if longest >= LONGEST:
                found += [(rule, "") for rule in self._runs if rule.patterns[0].search(text)]
        return found

    def spans(self, text: str, low: str, active: list[Active]) -> list[Span]:
        """Where the rules match; spans may overlap."""
        found: list[Span] = []
        for rule, keyword in active:
            if not keyword:
                matches = (m for m in rule.patterns[0].finditer(text) if self._holds(rule, m))
                found += [(*m.span(m.lastindex or 0), rule.rank, rule.label) for m in matches]
            elif keyword in low:
                (self._blocks if rule.end_source else self._beside)(rule, keyword, text, low, found)
        return found

    def _beside(self, rule: Rule, keyword: str, text: str, low: str, found: list[Span]) -> None:
        match, offset, words, near = rule.patterns[0].match, rule.offset, rule.after_word, rule.near
        place = low.find(keyword)
        while place >= 0:
            after = place + 1
            if place + offset >= 0 and (not words or _follows(words, low, place)):
                m = match(text, place + offset)
                if m is not None:
                    start, end = m.span(m.lastindex or 0)
                    if (not near or _is_near(near, low, place)) and self._holds(rule, m):
                        found.append((start, end, rule.rank, rule.label))
                        after = max(after, end)
                    else:
                        # Text that consists of keywords would be looked at again and again.
                        after = max(after, end - REJECTED)
            place = low.find(keyword, after)

    def _blocks(self, rule: Rule, keyword: str, text: str, low: str, found: list[Span]) -> None:
        """Private keys, whole. One that isn't ended reaches to the end of the text, or to the next one."""
        begin, end = rule.patterns
        place = low.find(keyword)
        ended = None
        searched = False
        while place >= 0:
            m = begin.match(text, place)
            if m is None:
                place = low.find(keyword, place + 1)
                continue
            following = low.find(keyword, m.end())
            if not searched or (ended is not None and ended.start() < m.end()):
                ended, searched = end.search(text, m.end()), True
            whole = ended is not None and (following < 0 or ended.start() < following)
            stop = ended.end() if ended is not None and whole else following if following >= 0 else len(text)
            if (whole and re.match(_LINE_END, text[m.end() : m.end() + 16])) or _has_key(text, m.end(), stop):
                found.append((m.start(), stop, rule.rank, rule.label))
                place = low.find(keyword, stop)
            else:
                # Only the words are there, as in this very file.
                place = following

    def _holds(self, rule: Rule, m: re.Match[str]) -> bool:
        value: str = m[m.lastindex or 0]
        if rule.distinct and len(set(value[:JUDGED])) < rule.distinct:
            return False
        if rule.stop and m.string[m.end() : m.end() + 1] in rule.stop and m.end() < len(m.string):
            return False
        if rule.checks and not self._checks[rule.checks[min(m.lastindex or 1, len(rule.checks)) - 1]](value):
            return False
        return not rule.entropy or entropy(value) >= rule.entropy


def _around(low: str, keyword: str, reach: int) -> str:
    """What stands so near to a keyword that a longer one, of at most `reach` characters, may hold it; the whole text
    where the keyword stands everywhere."""
    found: list[str] = []
    most = len(low) // (4 * reach)
    place = low.find(keyword)
    while place >= 0:
        if len(found) > most:
            return low
        found.append(low[max(0, place - reach) : place + reach])
        place = low.find(keyword, place + 1)
    return "\n".join(found)


def _follows(words: tuple[str, ...], low: str, place: int) -> bool:
    """Whether one of the words stands before the place, with at most one of `_ .-` between."""
    return low.endswith(words, 0, place - 1 if place and low[place - 1] in "_ .-" else place)


def _is_near(words: tuple[str, ...], low: str, place: int) -> bool:
    """Whether one of the words stands in the text before the place."""
    reach = low[max(0, place - REACH) : place]
    return any(word in reach for word in words)


def lowered(text: str) -> str:
    """The text in lower case, as ASCII and of the same length, so that places in one are places in the other."""
    return text.lower() if text.isascii() else text.encode("ascii", "replace").lower().decode("ascii")


def load() -> Rules:
    """The rules of rules.json."""
    with open(os.path.join(os.path.dirname(__file__), "rules.json"), encoding="utf-8") as file:  # noqa: PTH118, PTH120, PTH123 - pathlib takes milliseconds to import
        return Rules(json.load(file))


def _by_keyword(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for keyword in rule.keywords:
            found.setdefault(keyword, []).append(rule)
    return found


def _tree(keywords: list[str]) -> list[tuple[str, list[str]]]:
    """Keywords that hold no other one, each with those that hold it."""
    shortest = [word for word in keywords if not any(other in word for other in keywords if other != word)]
    longer: dict[str, list[str]] = {word: [] for word in shortest}
    for word in keywords:
        if word not in longer:
            longer[next(short for short in shortest if short in word)].append(word)
    return list(longer.items())


def _long_runs(low: str, raw: bytes) -> tuple[str, int]:
    """Runs of at least `RUN` letters, digits and `_.~-`, with spaces between; and the longest one's length."""
    runs = raw.translate(_RUN_CHARACTERS).decode("ascii")
    start = runs.find(_RUN)
    found = []
    longest = 0
    while start >= 0:
        end = runs.find(" ", start + RUN)
        if end < 0:
            end = len(runs)
        found.append(low[start:end])
        longest = max(longest, end - start)
        start = runs.find(_RUN, end)
    return " ".join(found), longest


def _has_key(text: str, start: int, stop: int) -> bool:
    """Whether base64 follows, with a digit in it, before the next dashes."""
    stop = min(stop, start + EVIDENCE)
    dashes = text.find("-----", start, stop)
    runs = re.findall(_KEY_BODY, text[start : dashes if dashes >= 0 else stop])
    return any(character.isdigit() for run in runs for character in run)
