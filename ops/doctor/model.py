"""The language model, where one is set up: whether it is asked, and whether groups may still ask it."""

from __future__ import annotations

from collections.abc import Iterator

from ops.doctor.finding import Finding, ok, warning
from ops.status import ModelStatus


def model(status: ModelStatus) -> Iterator[Finding]:
    """Is it asked for what it should be?"""
    if status.name is None:
        return
    if status.away:
        remedy = "prose waits, and checkpoints are made without it; it is asked again by itself once it answers"
        yield warning("model", f"{status.name} is not asked for now: {status.away}", remedy)
    for group in status.used_up:
        message = f"group {group} has used up its {status.tokens_a_day:,} tokens of the day"
        yield warning("model", message, "it goes on at midnight UTC, or with a larger MEMLANE_LLM_TOKENS_A_DAY")
    if not status.away and not status.used_up:
        tokens = sum(each["tokens_in"] + each["tokens_out"] for each in status.today)
        yield ok("model", f"{status.name}, {tokens:,} tokens today")
