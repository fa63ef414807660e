"""Changing one list in a file of JSON with comments, and nothing else: comments, order and spaces stay as they are.

Comments and trailing commas are blanked out, which leaves JSON of the same length: where a value stands in it, it
stands in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: A string, so that what looks like a comment in it is none; a comment.
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:[^"\\\n]|\\.)*"|,(?=\s*[\]}])', re.DOTALL)
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


class JsonInvalid(ValueError):
    """The text is no JSON object with comments. The message says where it goes wrong."""


@dataclass(frozen=True, slots=True)
class Item:
    """A value, and where it stands in the text."""

    value: Any
    start: int
    end: int


def items(text: str, name: str) -> list[Item] | None:
    """Entries of the list `name` at the top of the object; None where there is none.

    Raises:
        JsonInvalid: see there; also where `name` is no list.
    """
    member = _member(text, name)
    if member is None:
        return None
    if not isinstance(member.value, list):
        raise JsonInvalid(f'"{name}" is no list')
    plain = _blanked(text)
    return list(_entries(plain, member.start))


def with_item(text: str, name: str, value: Any) -> str:
    """The text with one more entry at the end of the list `name`, which is made where it is missing.

    Raises:
        JsonInvalid: as `items`.
    """
    entry = json.dumps(value, ensure_ascii=False)
    found = items(text, name)
    if found is None:
        start = _blanked(text).index("{") + 1
        comma = "," if _object(text) else "\n"
        return f'{text[:start]}\n  "{name}": [{entry}]{comma}{text[start:]}'
    if found:
        return f"{text[: found[-1].end]}, {entry}{text[found[-1].end :]}"
    member = _member(text, name)
    assert member is not None
    return f"{text[: member.start + 1]}{entry}{text[member.start + 1 :]}"


def with_value(text: str, item: Item, value: Any) -> str:
    """The text with another value in an entry's place."""
    return text[: item.start] + json.dumps(value, ensure_ascii=False) + text[item.end :]


def without_item(text: str, name: str, item: Item) -> str:
    """The text without an entry of the list `name`, and without the comma that parted it from its neighbour."""
    found = items(text, name) or []
    place = found.index(item)
    if place + 1 < len(found):
        return text[: item.start] + text[found[place + 1].start :]
    if place:
        return text[: found[place - 1].end] + text[item.end :]
    return text[: item.start] + text[item.end :]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(_blanked(text))
    except json.JSONDecodeError as error:
        raise JsonInvalid(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise JsonInvalid("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise JsonInvalid("it is no JSON object")
    return found


def _member(text: str, name: str) -> Item | None:
    if name not in _object(text):
        return None
    plain = _blanked(text)
    found: Item | None = None
    place = _after_space(plain, plain.index("{") + 1)
    while plain[place] != "}":
        key, place = _DECODER.raw_decode(plain, place)
        start = _after_space(plain, _after_space(plain, place) + 1)
        value, end = _DECODER.raw_decode(plain, start)
        if key == name:
            found = Item(value, start, end)
        place = _after_space(plain, end)
        if plain[place] == ",":
            place = _after_space(plain, place + 1)
    return found


def _entries(plain: str, start: int) -> Iterator[Item]:
    place = _after_space(plain, start + 1)
    while plain[place] != "]":
        value, end = _DECODER.raw_decode(plain, place)
        yield Item(value, place, end)
        place = _after_space(plain, end)
        if plain[place] == ",":
            place = _after_space(plain, place + 1)


def _after_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    assert match
    return match.end()


def _blanked(text: str) -> str:
    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found.startswith('"') else re.sub(r"\S", " ", found)

    return _TRAILING_COMMA.sub(blank, _STRING_OR_COMMENT.sub(blank, text))
