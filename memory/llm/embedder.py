"""The embedding model: any that speaks OpenAI's embeddings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import openai
from numpy.typing import NDArray
from openai import OpenAI, omit

from memory.llm.errors import AnswerInvalid, ModelAway
from memory.llm.reasons import reason

#: Characters of a text, and of a question, that are embedded: what many models read at most, and most texts are short.
CHARACTERS = 2_000
#: A text that a server refuses is shortened, to this at least: it may have more tokens than the model takes.
FEWEST_CHARACTERS = 200
#: How often OpenAI's own client tries again where the server is away or overloaded.
RETRIES = 2
#: What no server refuses that takes anything.
_PROBE = "memory"

type Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of length 1, in the order of the texts; None for a text that has no direction. And tokens used."""

    vectors: list[Values | None]
    tokens: int


class _Refused(Exception):
    """The server does not take these texts."""


class Embedder:
    """Asks the model. Threads may share it."""

    def __init__(
        self, *, model: str, base_url: str | None, api_key: str, dimensions: int | None, seconds: float, retries: int
    ) -> None:
        """
        Args:
            dimensions: asked for; None: as many as the model has.
            seconds: how long each try may take, as far as the client can tell: see `begun`.
        """
        self._client = OpenAI(api_key=api_key, base_url=base_url, timeout=seconds, max_retries=retries)
        self._model = model
        self._dimensions = dimensions
        self.host = self._client.base_url.host

    def close(self) -> None:
        self._client.close()

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of some texts, each asked for once.

        Raises:
            ModelAway
            AnswerInvalid: the server takes texts, but not these.
        """
        distinct = list(dict.fromkeys(text[:CHARACTERS] for text in texts))
        found = self._taken(distinct)
        by_text = dict(zip(distinct, found.vectors, strict=True))
        return Embedded([by_text[text[:CHARACTERS]] for text in texts], found.tokens)

    def _taken(self, texts: list[str]) -> Embedded:
        with suppress(_Refused):
            return self._ask(texts)
        try:
            self._ask([_PROBE])
        except _Refused as error:
            raise self.away(f"refuses every text ({error}): see MEMLANE_EMBEDDING_MODEL and _DIMENSIONS") from None
        if len(texts) == 1:
            text = texts[0]
            while len(text) > FEWEST_CHARACTERS:
                text = text[: len(text) // 2]
                with suppress(_Refused):
                    return self._ask([text])
        raise AnswerInvalid(f"the embedding model's server refuses {'this text' if len(texts) == 1 else 'some text'}")

    def _ask(self, texts: list[str]) -> Embedded:
        try:
            answer = self._client.embeddings.create(
                model=self._model, input=texts, encoding_format="float", dimensions=self._dimensions or omit
            )
        except openai.APIStatusError as error:
            if error.status_code in (400, 413, 422):
                raise _Refused(str(error.status_code)) from None
            raise self.away(reason(error, "MEMLANE_EMBEDDING")) from None
        except openai.APIError as error:
            raise self.away(reason(error, "MEMLANE_EMBEDDING")) from None
        except ValueError:  # what the client calls an answer without vectors, or no JSON
            raise self.away("answered with something else than OpenAI's protocol") from None
        try:
            ordered = sorted(answer.data, key=lambda each: each.index)
            values = np.array([each.embedding for each in ordered], np.float32)
            usage = answer.usage
            tokens = int(usage.prompt_tokens) if usage else sum(len(text) for text in texts) // 4
        except (AttributeError, TypeError, ValueError):
            raise self.away("answered with something else than OpenAI's protocol") from None
        if values.ndim != 2 or len(values) != len(texts) or values.shape[1] < 2 or not np.isfinite(values).all():
            raise self.away("answered with something else than a vector for each text")
        if self._dimensions not in (None, values.shape[1]):
            raise self.away(
                f"answers with {values.shape[1]:,} dimensions where MEMLANE_EMBEDDING_DIMENSIONS asks for "
                f"{self._dimensions:,}: leave that out if the model can't shorten its vectors"
            )
        lengths = np.linalg.norm(values, axis=1)
        vectors = [one / length if length > 0 else None for one, length in zip(values, lengths, strict=True)]
        return Embedded(vectors, tokens)

    def away(self, why: str) -> ModelAway:
        return ModelAway(f"the embedding model at {self.host} {why}")


def begun[T](call: Callable[[], T]) -> Future[T]:
    """Begin a call in a thread of its own. Who has waited long enough for the result can leave it to itself: the
    client's own limits hold for each step, and not for looking up a name or for an answer that comes by drips."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="embedding").start()
    return future
