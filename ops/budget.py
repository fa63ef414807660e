"""How many tokens an answer needs, where too few were allowed."""

from __future__ import annotations

from typing import Any

from producers.recall import Recall


def least_tokens(memory: Recall, text: str, tokens: int | None, **asked: Any) -> int | None:
    """How many tokens the shortest answer to a question would need, for which so many were too few; None if nothing is
    known about it at all, or nothing limited it.

    Args:
        asked: as for `Recall.ask`.

    Raises:
        As `Recall.ask`.
    """
    if tokens is None:
        return None
    # Here, since ranking needs numpy, which is not loaded for nothing.
    from memory.recall.packing import CHARACTERS_A_TOKEN

    known: str = memory.ask(text, **asked)["context"]
    first = "\n".join(known.split("\n")[:2])
    return -(-len(first) // CHARACTERS_A_TOKEN) + 1 if known else None
