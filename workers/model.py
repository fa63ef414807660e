"""The model of this worker process: one client and one event loop, opened on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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
        ledger = resources.ledger()
        with ledger.write() as connection:
            day = spending.day_of(now())
            spending.add(ledger, connection, self._group, day, self._stage, tokens_in, tokens_out)
        with suppress(RedisError), resources.valkey().pipeline(transaction=False) as pipeline:
            for way, tokens in (("in", tokens_in), ("out", tokens_out)):
                pipeline.hincrby(lua.MODEL_TOKENS, f"{self._group}:{self._stage}:{way}", tokens)
            pipeline.execute()


def check(group: str) -> None:
    """
    Raises:
        BudgetSpent: the group may use no more tokens today.
    """
    limit = settings().llm_tokens_a_day
    if not limit:
        return
    with resources.ledger().read() as connection:
        spent = spending.spent(connection, group, spending.day_of(now()))
    if spent >= limit:
        raise BudgetSpent(group, spent, limit, spending.left_of_day(now()))


@resources.one_a_process
def asking() -> Asking:
    """Imports graphiti: only for workers that ask a model."""
    return Asking()
