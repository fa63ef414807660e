"""The embedding model of this worker process: for events, and for questions, which wait for it much less long."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from redis.exceptions import RedisError

from memory import lua
from memory.ledger import LedgerUnavailable, embedding_models, spending
from memory.ledger.embeddings import Values, Vector
from memory.llm.breaker import Breaker
from memory.llm.embedder import RETRIES, Embedded, Embedder, begun
from memory.llm.errors import ModelAway
from memory.settings import settings
from workers import resources
from workers.model import check_budget, count

log = logging.getLogger(__name__)


def embed(group: str, stage: str, texts: Sequence[str]) -> list[Values | None]:
    """Vectors of events' texts; None for a text that has no direction.

    Raises:
        ModelAway, AnswerInvalid, BudgetSpent
    """
    options, model, breaker = settings(), _for_events(), _breaker(lua.EMBEDDING_AWAY, lua.EMBEDDING_FAILURES)
    breaker.check()
    check_budget(group, spending.EMBEDDING, options.embedding_tokens_a_day, "MEMLANE_EMBEDDING_TOKENS_A_DAY")
    try:
        found = begun(lambda: model.embed([options.embedding_text_prefix + text for text in texts])).result(
            options.embedding_seconds
        )
        count(group, stage, found.tokens, 0)
        _check_dimensions(group, model, found)
    except TimeoutError:
        away = model.away(f"gave no answer within {options.embedding_seconds:g} s")
        breaker.failed(str(away))
        raise away from None
    except ModelAway as away:
        breaker.failed(str(away))
        raise
    breaker.answered()
    return found.vectors


class Asked:
    """A question whose vector is being made while other things are done."""

    def __init__(self, group: str, text: str) -> None:
        options, self._model = settings(), _for_questions()
        self._group = group
        self._end = time.monotonic() + options.embedding_question_ms / 1000
        self._breaker = _breaker(lua.QUESTION_AWAY, lua.QUESTION_FAILURES)
        self._future: Future[Embedded] | None = None
        try:
            _breaker(lua.EMBEDDING_AWAY, lua.EMBEDDING_FAILURES).check()
            self._breaker.check()
        except (ModelAway, RedisError):
            return  # the log has told why, and `memlane status` does
        question = options.embedding_question_prefix + text
        self._future = begun(lambda: self._model.embed([question]))

    def vector(self) -> Vector | None:
        """The question's vector; None where it can't be had in time."""
        if self._future is None:
            return None
        try:
            (values,) = self._future.result(max(0.0, self._end - time.monotonic())).vectors
        except TimeoutError:
            self._failed(self._model.away(f"took longer than {settings().embedding_question_ms} ms for a question"))
            return None
        except Exception as error:
            self._failed(error)
            return None
        with suppress(RedisError):
            self._breaker.answered()
        return None if values is None else Vector(settings().embeddings, values)

    def count(self) -> None:
        """Count what it took, once the answer is given."""
        if self._future is not None and self._future.done() and not self._future.exception():
            with suppress(LedgerUnavailable):
                count(self._group, "recall", self._future.result().tokens, 0)

    def _failed(self, error: Exception) -> None:
        # Of others only the kind: what they say may quote the question.
        why = str(error) if isinstance(error, ModelAway) else type(error).__name__
        log.warning("recalled without vectors: %s", why)
        with suppress(RedisError):
            self._breaker.failed(why)


def _check_dimensions(group: str, model: Embedder, found: Embedded) -> None:
    """
    Raises:
        ModelAway: they are not those of the vectors that are stored.
    """
    dimensions = {len(vector) for vector in found.vectors if vector is not None}
    with resources.ledger().read() as connection:
        known = embedding_models.model_of(connection, group)
    if known and dimensions and known[0] == settings().embeddings and dimensions != {known[1]}:
        raise model.away(
            f"answers with {dimensions.pop():,} dimensions where {known[1]:,} are stored: if it is another model, "
            "give it another name in MEMLANE_EMBEDDING_MODEL, and all vectors are made anew"
        )


def _breaker(away: str, failures: str) -> Breaker:
    return Breaker(resources.valkey(), settings().embedding_away_seconds, away, failures)


@resources.one_a_process
def _for_events() -> Embedder:
    return _embedder(settings().embedding_seconds, RETRIES)


@resources.one_a_process
def _for_questions() -> Embedder:
    return _embedder(settings().embedding_question_ms / 1000, 0)


def _embedder(seconds: float, retries: int) -> Embedder:
    options = settings()
    assert options.embedding_model is not None
    return Embedder(
        model=options.embedding_model,
        base_url=options.embedding_base_url,
        # The client wants some key, also where the server does not.
        api_key=options.embedding_api_key.get_secret_value() if options.embedding_api_key else "none",
        dimensions=options.embedding_dimensions,
        seconds=seconds,
        retries=retries,
    )
