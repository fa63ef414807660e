"""How full an agent's context window is, and from where on it should care: the one place where that is decided.

Vectors for other languages: tests/vectors/context.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: Limit of a model that does not tell its own, in tokens.
DEFAULT_LIMIT = 200_000
#: Most tokens of an answer that OpenCode leaves room for, and what it reserves for a compaction at most.
_MOST_OUTPUT, _MOST_RESERVED = 32_000, 20_000

type Level = Literal["green", "yellow", "red", "critical"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Percentages: yellow and red begin at theirs, critical above its own."""

    yellow: float = 70
    red: float = 85
    critical: float = 92

    def level(self, percentage: float) -> Level:
        """How full a window is of which this much is used."""
        if percentage > self.critical:
            return "critical"
        if percentage >= self.red:
            return "red"
        return "yellow" if percentage >= self.yellow else "green"


def percentage(tokens: int, limit: int | None) -> float:
    """How much of a window is used, in percent, to one decimal."""
    return round(100 * tokens / (limit or DEFAULT_LIMIT), 1)


def advice(level: Level) -> str:
    """What an agent whose window is this full should do; empty where it need not care."""
    return {
        "green": "",
        "yellow": "Finish what you are at before you begin something large.",
        "red": "Note what must not be forgotten, and compact (`memory_compact`) at the next good point.",
        "critical": "Compact now (`memory_compact`): the window is nearly full.",
    }[level]


@dataclass(frozen=True, slots=True)
class ModelLimit:
    """Limits of a model as OpenCode has them, in tokens; `input` where it has one of its own."""

    context: int
    output: int
    input: int | None = None


def overflows(tokens: Mapping[str, Any], limit: ModelLimit, *, auto: bool = True, reserved: int | None = None) -> bool:
    """Whether OpenCode compacts now.

    Args:
        tokens: of an assistant message: `total`, or `input`, `output` and `cache` with `read` and `write`.
        auto, reserved: `compaction` in OpenCode's configuration.

    Source: OpenCode 1.18.33.
    """
    if not auto or limit.context == 0:
        return False
    cache = tokens.get("cache") or {}
    parts = (tokens.get("input"), tokens.get("output"), cache.get("read"), cache.get("write"))
    count = tokens.get("total") or sum(part or 0 for part in parts)
    most_output = min(limit.output, _MOST_OUTPUT) or _MOST_OUTPUT
    if limit.input:
        kept = min(_MOST_RESERVED, most_output) if reserved is None else reserved
        return bool(count >= max(0, limit.input - kept))
    return bool(count >= max(0, limit.context - most_output))
