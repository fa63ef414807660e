"""Privacy: secrets and `<private>` text are removed before an event is stored, queued or logged.

    redact({"text": "use ghp_… here", "password": "hunter2"})
    # {"text": "use [redacted:github-token] here", "password": "[redacted:password]"}

Only the standard library is imported, and little of it: hook processes, which live for milliseconds, load this.
Redacting again changes nothing. A secret that is split over several fields is not found; nor is one in text that is
encoded once more (base64, compressed). What is left alone on purpose is told in NOTICE.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from memory.privacy.rules import Active, Rules, Span, load, lowered

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than everything else here
    from typing import Any

__all__ = ["PRIVATE", "may_hold", "redact", "redact_text"]

#: What stands where private text was, and its label where things are counted.
PRIVATE = "[private]"
#: Levels of lists and dictionaries beyond which everything is removed. Events are refused at far fewer.
MAX_LEVELS = 200
#: Removing a secret can bring another into a rule's reach; more often than this it doesn't.
_ROUNDS = 4
#: Smallest number that could be that of a card.
_CARD = 10**13
#: Smallest number that counts as a password where a key says so: `{"password": 0}` says that there is none.
_PIN = 1000
#: Stands between strings that are searched as one: no pattern reaches over it.
_BETWEEN = "\n\x1e\n"
_TAG = r"<[ \t\r\n]{0,8}(/?)[ \t\r\n]{0,8}private(?:[ \t\r\n][^<>]{0,256})?>"


@lru_cache(maxsize=1)
def _rules() -> Rules:
    return load()


def redact_text(text: str, found: Counter[str] | None = None) -> str:
    """The text without its secrets and private parts.

    Args:
        found: counts what was removed, by label, for reports that must not hold content.
    """
    low = lowered(text)
    active, private = _active(text, low)
    return _Redaction(active, private, found).text(text, low) if active or private else text


def redact(value: Any, found: Counter[str] | None = None) -> Any:
    """The value without its secrets and private parts: strings, lists, and dictionaries with their keys, nested.

    Where a key's name says that its value is a secret, the value is removed even if no pattern fits it. Other types
    are left as they are. If there is nothing to remove, the value itself is returned.

    Args:
        found: as for `redact_text`.
    """
    strings: list[str] = []
    keys: list[str] = []
    deep = _collect(value, strings, keys, 0)
    text = _BETWEEN.join(strings + keys)
    low = lowered(text)
    active, private = _active(text, low)
    if not (deep or private or (active and (_rules().spans(text, low, active) or any(map(_named, keys))))):
        return value
    return _Redaction(active, private, found).value(value, 0)


def may_hold(raw: bytes) -> bool:
    """Whether JSON as UTF-8 may hold something to remove. False is certain; True means that `redact` must look.

    JSON in which ASCII characters are escaped (`\\u003c`) isn't seen through, and so may hold everything.
    """
    text = raw.decode("utf-8", "replace")
    active, private = _active(text, lowered(text))
    return bool(active) or private or b"\\u00" in raw


def _active(text: str, low: str) -> tuple[list[Active], bool]:
    """Rules that may match, and whether there may be private parts."""
    return _rules().active(text, low), "private" in low and "<" in low


def _collect(value: Any, strings: list[str], keys: list[str], level: int) -> bool:
    """Add all strings in the value, long numbers among them, and the names of keys.

    Returns whether it is nested too deeply.
    """
    if isinstance(value, str):
        strings.append(value)
    elif isinstance(value, dict):
        if level >= MAX_LEVELS:
            return True
        deep = False
        for key, item in value.items():
            if isinstance(key, str):
                keys.append(key)
            # Most are strings, and calls are what takes the time.
            if isinstance(item, str):
                strings.append(item)
            elif item is not None:
                deep = _collect(item, strings, keys, level + 1) or deep
        return deep
    elif isinstance(value, list | tuple):
        if level >= MAX_LEVELS:
            return True
        deep = False
        for item in value:
            deep = _collect(item, strings, keys, level + 1) or deep
        return deep
    elif isinstance(value, int) and value > _CARD:
        strings.append(str(value))
    return False


class _Redaction:
    """One redaction, with what the prefilter left to look for."""

    def __init__(self, active: list[Active], private: bool, found: Counter[str] | None) -> None:
        self._active = active
        self._private = private
        self._found: Counter[str] = Counter() if found is None else found

    def text(self, text: str, low: str = "") -> str:
        """The text; `low` is it as `lowered`, where that is known."""
        low = low or lowered(text)
        if self._private and "private" in low:
            without = self._without_private(text)
            if without is not text:
                text, low = without, lowered(without)
        active = self._active
        for _ in range(_ROUNDS):
            spans = _rules().spans(text, low, active)
            if not spans:
                break
            text = self._replaced(text, spans)
            low = lowered(text)
            active = _rules().active(text, low)
        return text

    def value(self, value: Any, level: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._dictionary(value, level)
        if isinstance(value, list | tuple):
            if level >= MAX_LEVELS:
                return self._label("too-deep")
            items = [self.value(item, level + 1) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, int) and value > _CARD:
            number = str(value)
            text = self.text(number)
            return value if text == number else text
        return value

    def _dictionary(self, value: dict[Any, Any], level: int) -> Any:
        if level >= MAX_LEVELS:
            return self._label("too-deep")
        items: dict[Any, Any] = {}
        changed = False
        for key, old in value.items():
            named = _named(key) if isinstance(key, str) else None
            new = self.value(old, level + 1) if named is None else self._secret(old, *named, level=level + 1)
            name = self.text(key) if isinstance(key, str) else key
            if name is not key:
                while name in items or name in value:
                    name += "'"
            items[name] = new
            changed = changed or new is not old or name is not key
        return items if changed else value

    def _secret(self, value: Any, label: str, check: Callable[[str], bool], *, level: int) -> Any:
        """The value of a key whose name says that it is a secret."""
        if isinstance(value, str):
            text = self.text(value)
            if text is not value:
                return text
            return self._label(label) if check(value) else value
        if isinstance(value, list | tuple) and level < MAX_LEVELS:
            items = [self._secret(item, label, check, level=level + 1) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, int) and label == "password" and value >= _PIN:
            return self._label(label)
        return self.value(value, level)

    def _label(self, label: str) -> str:
        self._found[label] += 1
        return f"[redacted:{label}]"

    def _without_private(self, text: str) -> str:
        """Nested tags count; one that isn't closed reaches to the end; a closing one alone is nothing."""
        kept: list[str] = []
        depth = start = 0
        for tag in re.finditer(_TAG, text, re.IGNORECASE | re.ASCII):
            if tag[0].endswith("/>"):
                continue
            if not tag[1]:
                if depth == 0:
                    kept += [text[start : tag.start()], PRIVATE]
                    self._found["private"] += 1
                depth += 1
            elif depth:
                depth -= 1
                start = tag.end()
        if not kept:
            return text
        return "".join(kept) if depth else "".join(kept) + text[start:]

    def _replaced(self, text: str, spans: list[Span]) -> str:
        """The text with labels for spans; of overlapping ones, the rule that comes first names the whole."""
        spans.sort()
        kept: list[str] = []
        done = 0
        start, end, rank, label = spans[0]
        for span in [*spans[1:], (len(text) + 1, 0, 0, "")]:
            if span[0] < end:
                end = max(end, span[1])
                if span[2] < rank:
                    rank, label = span[2:]
                continue
            kept += [text[done:start], self._label(label)]
            done = end
            start, end, rank, label = span
        return "".join(kept) + text[done:]


@lru_cache(maxsize=4096)
def _named(key: str) -> tuple[str, Callable[[str], bool]] | None:
    """Label and check, if a key's name says that its value is a secret."""
    if len(key) <= 128:
        for label, pattern, check in _rules().names:
            if re.fullmatch(pattern, key, re.IGNORECASE | re.ASCII):
                return label, check
    return None
