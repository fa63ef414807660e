"""Why an answer is empty: too few tokens were allowed, or a limit leaves nothing over."""

from __future__ import annotations

from typing import Any

from producers.recall import Recall

#: What a question may be limited to.
LIMITS = ("agent", "kinds", "since", "until", "as_of")


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


def ruled_out_by(memory: Recall, text: str, **asked: Any) -> list[str]:
    """Which limits of a question that found nothing rule out what is known: each without which there would be an
    answer, or all, if only without all of them; by their names in `Recall.ask`.

    Args:
        asked: as for `Recall.ask`, without `tokens`.

    Raises:
        As `Recall.ask`.
    """
    given = [name for name in LIMITS if asked.get(name)]
    found = [name for name in given if memory.ask(text, **{**asked, name: None})["context"]]
    if not found and len(given) > 1 and memory.ask(text, **{**asked, **dict.fromkeys(given)})["context"]:
        return given
    return found
