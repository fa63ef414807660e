"""Small matters of text for people."""

from __future__ import annotations

import re

#: What would move a terminal's cursor, or worse: control characters other than tab and line feed.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text of agents as it may be shown in a terminal: control characters are written as escapes."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 event`, `5,000 events`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
