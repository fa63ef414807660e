"""The model of this worker process: one client and one event loop, opened on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from memory import lua
from memory.ledger import spending
from memory.llm.breaker import Breaker
from memory.llm.errors import BudgetSpent
from memory.settings import settings
from workers import resources

if TYPE_CHECKING:
    from memory.extraction.reader import Reader
    from memory.llm.client import Model


def now() -> datetime:
    """The time by which days are told apart."""
    return datetime.now(UTC)


class Asking:
    """Asks for one stage of one group at a time."""

    def __init__(self) -> None:
        from memory.llm.client import Model

        options = settings()
        assert options.llm_model is not None
        self._group = self._stage = ""
        self._runner = asyncio.Runner()
        self.model: Model = Model(
            model=options.llm_model,
            base_url=options.llm_base_url,
            # The client wants some key, also where the server does not.
            api_key=options.llm_api_key.get_secret_value() if options.llm_api_key else "none",
            output=options.llm_output,
            seconds=options.llm_seconds,
            breaker=Breaker(resources.valkey(), options.llm_away_seconds),
            allowed=self._allowed,
            used=self._used,
        )

    def run[T](self, group: str, stage: str, asked: Coroutine[Any, Any, T]) -> T:
        """Await something that asks the model, on behalf of a stage of a group, which pays for it."""
        self._group, self._stage = group, stage
        return self._runner.run(asked)

    @cached_property
    def reader(self) -> Reader:
        """Reads prose with the model, and looks into the graph."""
        from memory.extraction.reader import Reader

        return Reader(settings().graph, self.model)

    def close(self) -> None:
        if "reader" in self.__dict__:
            self._runner.run(self.reader.aclose())
        self._runner.run(self.model.aclose())
        self._runner.close()

    def _allowed(self) -> None:
        """
        Raises:
            BudgetSpent
        """
        check(self._group)

    def _used(self, tokens_in: int, tokens_out: int) -> None:
        count(self._group, self._stage, tokens_in, tokens_out)


def count(group: str, stage: str, tokens_in: int, tokens_out: int) -> None:
    """Count what one answer of a model took.

    Raises:
        LedgerUnavailable
    """
    ledger = resources.ledger()
    with ledger.write() as connection:
        spending.add(ledger, connection, group, spending.day_of(now()), stage, tokens_in, tokens_out)
    with suppress(RedisError), resources.valkey().pipeline(transaction=False) as pipeline:
        for way, tokens in (("in", tokens_in), ("out", tokens_out)):
            if tokens:
                pipeline.hincrby(lua.MODEL_TOKENS, f"{group}:{stage}:{way}", tokens)
        pipeline.execute()


def check(group: str) -> None:
    """
    Raises:
        BudgetSpent: the group may use no more tokens of the model today.
    """
    check_budget(group, spending.MODEL, settings().llm_tokens_a_day, "MEMLANE_LLM_TOKENS_A_DAY")


def check_budget(group: str, stages: Collection[str], limit: int, setting: str) -> None:
    """
    Args:
        stages: those whose tokens count.
        limit: how many a group may use a day; 0: any number.
        setting: where that is set.

    Raises:
        BudgetSpent
    """
    if not limit:
        return
    with resources.ledger().read() as connection:
        spent = spending.spent(connection, group, spending.day_of(now()), stages)
    if spent >= limit:
        raise BudgetSpent(group, spent, limit, spending.left_of_day(now()), setting)


@resources.one_a_process
def asking() -> Asking:
    """Imports graphiti: only for workers that ask a model."""
    return Asking()
