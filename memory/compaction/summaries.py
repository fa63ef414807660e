"""Reads the summary that an agent's own compaction wrote: Markdown with headings, whose names differ by agent and
version. OpenCode 1.18 has Objective, Important Details, Work State (Completed, Active, Blocked), Next Move and Relevant
Files.
"""

from __future__ import annotations

import re

from memory.compaction.words import bullets

#: Which field of a checkpoint a heading, or a label before a colon, belongs to; the first that matches.
_FIELDS = (
    ("next", re.compile(r"next|to do|todo|remaining|pending", re.IGNORECASE)),
    ("blocked", re.compile(r"block|stuck|waiting", re.IGNORECASE)),
    ("done", re.compile(r"complet|done|accomplish|finished|progress", re.IGNORECASE)),
    ("objective", re.compile(r"objective|goal|primary request|intent", re.IGNORECASE)),
    ("decisions", re.compile(r"detail|decision|instruction|discover|constraint|learned|key |i know", re.IGNORECASE)),
)
_HEADING = re.compile(r"^(?:#{1,6}\s+(?P<marked>.+?)#*|\*\*(?P<bold>[^*]{2,60})\*\*:?)\s*$")
_LABEL = re.compile(r"^\s*(?:[-*•]\s+)?(?:\*\*)?(?P<label>[A-Z][A-Za-z /]{2,30}?)(?:\*\*)?:(?:\*\*)?\s+(?P<rest>\S.*)$")
_NOTHING = re.compile(r"^[(\[]?(?:none|nothing|n/?a|-|—)[)\]]?\.?$", re.IGNORECASE)


def sections(summary: str) -> dict[str, list[str]]:
    """By field of a checkpoint (`objective`, `decisions`, `done`, `blocked`, `next`), the lines that belong to it."""
    found: dict[str, list[str]] = {}
    current = ""
    for text in summary.splitlines():
        if heading := _HEADING.match(text.strip()):
            current = _field(heading["marked"] or heading["bold"])
            continue
        label = _LABEL.match(text)
        field = _field(label["label"]) if label else ""
        if label and field:
            _add(found, field, label["rest"])
        elif current:
            _add(found, current, text)
    return found


def _add(found: dict[str, list[str]], field: str, text: str) -> None:
    for entry in bullets(text):
        if not _NOTHING.match(entry):
            found.setdefault(field, []).append(entry)


def _field(name: str) -> str:
    return next((field for field, pattern in _FIELDS if pattern.search(name)), "")
