"""What recall puts into a conversation, and how it is told from what was said there.

An agent is given recalled context as text; its hooks then tell of that text as if somebody had said it. Taken for new
memory, it would be found again and again, each time once more.
"""

from __future__ import annotations

import re

#: First line of every recalled context.
HEADING = "[Memory Context]"
#: The heading, and the list that follows it (with lines that belong to its items), up to an empty or other line.
_INJECTED = re.compile(r"\[Memory Context\][^\n]*(?:\n(?:[-#]|  )[^\n]*)*\n?")
#: Who said it ("user:") is not something said.
_NOTHING_SAID = re.compile(r"\s*[\w-]*:?\s*")


def without_injected(text: str) -> str:
    """A text without the recalled contexts in it; empty where nothing else was said."""
    if HEADING not in text:
        return text
    left = _INJECTED.sub("", text)
    return "" if _NOTHING_SAID.fullmatch(left) else left
