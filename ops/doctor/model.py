"""The models, where they are set up: whether they are asked, and whether groups may still ask them."""

from __future__ import annotations

from collections.abc import Iterator

from ops.doctor.finding import Finding, ok, warning
from ops.status import ModelStatus


def model(status: ModelStatus) -> Iterator[Finding]:
    """Is the language model asked for what it should be?"""
    waits = "prose waits, and checkpoints are made without it"
    yield from _asked("model", status, waits, "MEMLANE_LLM_TOKENS_A_DAY")


def embedding(status: ModelStatus) -> Iterator[Finding]:
    """Is the embedding model?"""
    waits = "events wait for their vectors, and recall goes by words"
    yield from _asked("embedding model", status, waits, "MEMLANE_EMBEDDING_TOKENS_A_DAY")


def _asked(check: str, status: ModelStatus, waits: str, setting: str) -> Iterator[Finding]:
    if status.name is None:
        return
    if status.away:
        remedy = f"{waits}; it is asked again by itself once it answers"
        yield warning(check, f"{status.name} is not asked for now: {status.away}", remedy)
    for group in status.used_up:
        message = f"group {group} has used up its {status.tokens_a_day:,} tokens of the day"
        yield warning(check, message, f"it goes on at midnight UTC, or with a larger {setting}")
    if not status.away and not status.used_up:
        tokens = sum(each["tokens_in"] + each["tokens_out"] for each in status.today)
        yield ok(check, f"{status.name}, {tokens:,} tokens today")
