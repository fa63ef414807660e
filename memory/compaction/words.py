"""Pieces of text."""

from __future__ import annotations

import re
from typing import Any

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


def text_of(value: Any) -> str:
    """The value if it is a text, without the space around it; else ""."""
    return value.strip() if isinstance(value, str) else ""


def clipped(text: str, limit: int) -> str:
    """The text's first characters, `…` at the end where it was cut."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def line(text: str, limit: int) -> str:
    """The text as one line of at most `limit` characters."""
    return clipped(" ".join(text.split()), limit)


def sentences(text: str) -> list[str]:
    """Sentences and lines of a text, without code blocks, headings and bullets."""
    prose = re.sub(r"```.*?(?:```|$)", "\n", text, flags=re.DOTALL)
    found = (_BULLET.sub("", part).strip() for part in _SENTENCE_END.split(prose))
    return [part for part in found if part and not part.startswith("#")]


def bullets(text: str) -> list[str]:
    """Lines of a list, without their bullets."""
    return [found for part in text.splitlines() if (found := _BULLET.sub("", part).strip())]
