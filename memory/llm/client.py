"""The model, through Graphiti's own client class for servers that speak OpenAI's chat completions.

Servers differ in what they know. Which of these it knows is found out by asking, and remembered as long as the process
lives: `json_schema` for the shape of an answer, or only `json_object`; `max_tokens`, or only `max_completion_tokens`; a
temperature, or none of one's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import openai
from openai import AsyncOpenAI
from pydantic import BaseModel, ValidationError

os.environ["GRAPHITI_TELEMETRY_ENABLED"] = "false"
os.environ.setdefault("EMBEDDING_DIM", "1024")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of Pydantic, about a model of Graphiti's
    from graphiti_core.llm_client import LLMConfig
    from graphiti_core.llm_client.config import ModelSize
    from graphiti_core.llm_client.openai_generic_client import OpenAIGenericClient
    from graphiti_core.prompts.models import Message

from memory.compaction.content import Content
from memory.compaction.render import tokens_of
from memory.compaction.written import Written, merged, question
from memory.ledger.log import Slice
from memory.llm.breaker import Breaker
from memory.llm.errors import AnswerInvalid, ModelAway
from memory.llm.reasons import reason

#: Most tokens of one answer.
ANSWER_TOKENS = 8_192
#: How often an answer that is not what was asked for is asked for again.
ASKED_AGAIN = 2
#: How often OpenAI's own client tries again where the server is away or overloaded: with growing, random pauses, or
#: those that the server asks for.
RETRIES = 2

type Output = Literal["auto", "json_schema", "json_object"]


class _SchemaRefused(Exception):
    """The server does not know `json_schema`."""


class Model(OpenAIGenericClient):
    """Asks one question at a time, for one group at a time."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None,
        api_key: str,
        output: Output,
        seconds: float,
        breaker: Breaker,
        allowed: Callable[[], None],
        used: Callable[[int, int], None],
    ) -> None:
        """
        Args:
            seconds: how long one answer may take, all tries included.
            allowed: raises `BudgetSpent` if no more may be asked.
            used: is told what each answer took: tokens in, tokens out.
        """
        config = LLMConfig(api_key=api_key, model=model, small_model=model, base_url=base_url, temperature=0)
        client = AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=seconds, max_retries=RETRIES)
        mode: Literal["json_schema", "json_object"] = "json_object" if output == "json_object" else "json_schema"
        super().__init__(config, client=client, max_tokens=ANSWER_TOKENS, structured_output_mode=mode)
        #: Untyped: what is asked is put together by what the server takes.
        self._create: Callable[..., Awaitable[Any]] = client.chat.completions.create
        self._auto = output == "auto"
        self._seconds = seconds
        self._breaker = breaker
        self._allowed, self._used = allowed, used
        #: Parameters that this server does not take.
        self._refused: set[str] = set()

    async def aclose(self) -> None:
        await self.client.close()

    async def write(self, content: Content, events: Slice, tokens: int) -> Content:
        """A checkpoint in the model's words: see `memory.compaction.written`.

        Args:
            content: what the events state.
            tokens: budget of the events that it is given.

        Raises:
            ModelAway, AnswerInvalid, BudgetSpent
        """
        system, asked = question(content, events, tokens)
        messages = [Message(role="system", content=system), Message(role="user", content=asked)]
        answer = await self.generate_response(messages, response_model=Written)
        return merged(content, Written.model_validate(answer), events.seqs)

    async def generate_response(self, messages: list[Message], *args: Any, **options: Any) -> dict[str, Any]:
        """As Graphiti's.

        Raises:
            ModelAway, AnswerInvalid, BudgetSpent
        """
        # Graphiti's adds to the messages that it is given.
        given = [message.model_copy() for message in messages]
        try:
            return await super().generate_response(given, *args, **options)
        except _SchemaRefused:
            self.structured_output_mode = "json_object"
            return await super().generate_response([message.model_copy() for message in messages], *args, **options)

    async def _generate_response_with_retry(  # type: ignore[override]
        self,
        messages: list[Message],
        response_model: type[BaseModel] | None = None,
        max_tokens: int = ANSWER_TOKENS,
        model_size: ModelSize = ModelSize.medium,
        *,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Instead of Graphiti's own, which waits for minutes: within our time, and until the shape is right."""
        wrong = ""
        for _ in range(1 + ASKED_AGAIN):
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._generate_response(
                        messages, response_model, max_tokens, model_size, model=model
                    )
                if response_model is not None:
                    response_model.model_validate(answer)
            except TimeoutError:
                raise self._away(f"gave no answer within {self._seconds:g} s") from None
            except json.JSONDecodeError:
                wrong = "no JSON"
            except ValidationError as error:
                wrong = f"{error.error_count()} fields are not as asked for"
            else:
                self._breaker.answered()
                return answer
        self._breaker.failed(f"the model's answers are of no use: {wrong}")
        raise AnswerInvalid(f"the model's answer was of no use, {1 + ASKED_AGAIN} times: {wrong}")

    async def _generate_response(
        self,
        messages: list[Message],
        response_model: type[BaseModel] | None = None,
        max_tokens: int = ANSWER_TOKENS,
        model_size: ModelSize = ModelSize.medium,
        *,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Ask once. Instead of Graphiti's own, which logs what servers say, and that may quote the question."""
        self._breaker.check()
        self._allowed()
        asked = [{"role": message.role, "content": self._clean_input(message.content)} for message in messages]
        try:
            response = await self._created(asked, response_model, max_tokens)
        except openai.BadRequestError as error:
            raise AnswerInvalid(f"the model's server refused the question ({error.status_code})") from None
        except openai.APIError as error:
            raise self._away(reason(error, "MEMLANE_LLM")) from None
        said = response.choices[0].message if response.choices else None
        text = (said and said.content) or ""
        usage = response.usage
        self._used(
            usage.prompt_tokens if usage else sum(tokens_of(message["content"]) for message in asked),
            usage.completion_tokens if usage else tokens_of(text),
        )
        if said is not None and getattr(said, "refusal", None):
            raise AnswerInvalid("the model refused to answer")
        found = json.loads(self._strip_code_fences(text))
        if not isinstance(found, dict):
            raise json.JSONDecodeError("not an object", "", 0)
        return found

    async def _created(self, asked: list[dict[str, str]], shape: type[BaseModel] | None, max_tokens: int) -> Any:
        """The server's response, once it is known which parameters it takes.

        Raises:
            openai.OpenAIError, _SchemaRefused
        """
        while True:
            limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
            options: dict[str, Any] = {limit: max_tokens}
            if "temperature" not in self._refused:
                options["temperature"] = self.temperature
            schema = shape is not None and self.structured_output_mode == "json_schema"
            options["response_format"] = self._build_response_format(shape)
            try:
                return await self._create(messages=asked, model=self.model, **options)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                said = str(error)
                refused = next(
                    (name for name in ("max_tokens", "temperature") if name in said and name not in self._refused), None
                )
                if refused:
                    self._refused.add(refused)
                elif schema and self._auto:
                    raise _SchemaRefused from None
                else:
                    raise

    def _away(self, why: str) -> ModelAway:
        told = f"the model at {self.client.base_url.host} {why}"
        self._breaker.failed(told)
        return ModelAway(told)
