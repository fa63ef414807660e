"""What a wake-up looks like in a Celery list. Nothing else is taken for one, and of what is taken only its task, its id
and its arguments are kept: everything that Celery and kombu rely on is made anew here.

They trust what they read: a header of the wrong type ends the worker, which would then start again into the same queue.
"""

from __future__ import annotations

import inspect
import json
import re
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from memory.events import GROUP_PATTERN

#: A message above this size is none of ours, bytes: a wake-up has about 1,200.
MOST_BYTES = 16_384
#: Ids of tasks, and of questions.
ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,128}$"
#: What the arguments of tasks must look like, by name.
ARGUMENTS = {"group": GROUP_PATTERN, "id": ID_PATTERN}

#: What is put where a task may have callbacks; ours have none.
_NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class NotAWakeUp(ValueError):
    """A message that no part of Memlane has sent. Says why, and nothing of what is in it."""


class _Headers(BaseModel):
    task: str
    id: Annotated[str, StringConstraints(pattern=ID_PATTERN)]
    # What we never ask of Celery.
    eta: None = None
    expires: None = None
    compression: None = None
    retries: Literal[0] = 0
    # Sent as the sender is set up, and of no effect here: the worker has its own.
    timelimit: tuple[float | None, float | None] | None = None


class _Properties(BaseModel):
    delivery_tag: Annotated[str, StringConstraints(min_length=1)]
    body_encoding: Literal["base64"]


class _Message(BaseModel):
    body: str
    headers: _Headers
    properties: _Properties
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")


#: Arguments by place, by name, and callbacks.
_BODY: TypeAdapter[tuple[list[str], dict[str, None], dict[str, None]]] = TypeAdapter(
    tuple[list[str], dict[str, None], dict[str, None]]
)


def read(raw: bytes, queue: str, tasks: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """A message as kombu's virtual transports hand it on.

    Args:
        raw: an entry of a Celery list.
        queue: the list's name, without prefix.
        tasks: what may be called, by the name of the task.

    Raises:
        NotAWakeUp: see there.
    """
    if len(raw) > MOST_BYTES:
        raise NotAWakeUp(f"it has {len(raw)} bytes")
    try:
        message = _Message.model_validate_json(raw, strict=True)
        arguments, named, callbacks = _BODY.validate_json(b64decode(message.body, validate=True), strict=True)
    except ValidationError as error:
        raise NotAWakeUp(_what(error)) from None
    except ValueError:
        raise NotAWakeUp("body: not base64") from None
    if named or set(callbacks) - set(_NO_CALLBACKS):
        raise NotAWakeUp("body: more than arguments by place")
    _check(message.headers.task, arguments, tasks)
    return _message(message.headers.task, message.headers.id, arguments, queue)


def _check(task: str, arguments: list[str], tasks: Mapping[str, Callable[..., Any]]) -> None:
    if task not in tasks:
        raise NotAWakeUp("headers.task: not one of this worker's")
    try:
        bound = inspect.signature(tasks[task]).bind(*arguments)
    except TypeError:
        raise NotAWakeUp(f"body: {len(arguments)} arguments are not what {task} takes") from None
    for name, value in bound.arguments.items():
        if not re.fullmatch(ARGUMENTS[name], value):
            raise NotAWakeUp(f"body: not a {name}")


def _message(task: str, id: str, arguments: list[str], queue: str) -> dict[str, Any]:
    return {
        "body": b64encode(json.dumps([arguments, {}, _NO_CALLBACKS]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": id,
            "root_id": id,
            "parent_id": None,
            "group": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": repr(arguments),
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": id,
            "body_encoding": "base64",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            # One of its own: under the tag of another message, this one would be taken for that one.
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def _what(error: ValidationError) -> str:
    """Where and why, in our words and pydantic's: neither holds any of the message."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # Only known fields and numbers are named: keys of a body's mappings are content.
    known = {"headers", "properties", "body", "content-type", "content-encoding"}
    known |= set(_Headers.model_fields) | set(_Properties.model_fields)
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in known)
    return f"{where or 'message'}: {first['type']}"
