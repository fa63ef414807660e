"""The operations on a group's history, and what each takes: the one definition that workers, command line, MCP server
and `help` use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel


class HistoryError(Exception):
    """A question that can't be answered as it was asked. The message says what is wrong, and what to do."""


class Arguments(BaseModel):
    """What an operation takes. Its names are written in camel case."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        coerce_numbers_to_str=True,
        extra="forbid",
        hide_input_in_errors=True,
    )


SessionId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]
Folder = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_096)]
Read = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]

_SESSION = "id of a session, or an unmistakable beginning of it; default: your own session"


class Help(Arguments):
    tool: Annotated[str | None, Field(description="an operation to explain in detail")] = None


class Summary(Arguments):
    pass


class Sessions(Arguments):
    limit: Annotated[int, Field(ge=1, le=1_000, description="how many, most recent first")] = 20
    project_path: Annotated[
        Folder | None, Field(description="only sessions of this project folder; `.` is your own")
    ] = None
    before: Annotated[
        SessionId | None, Field(description="go on behind this session, the last one of the page before")
    ] = None


class Messages(Arguments):
    session_id: Annotated[SessionId | None, Field(description=_SESSION)] = None
    limit: Annotated[int, Field(ge=1, le=1_000, description="how many, the latest ones")] = 30
    before: Annotated[int | None, Field(ge=1, description="only those before this number: the page before")] = None
    read: Annotated[Read | None, Field(description="number or id of one message, to be read whole")] = None


class Search(Arguments):
    query: Annotated[Query, Field(description="words to look for; they are stemmed, and any of them may match")]
    limit: Annotated[int, Field(ge=1, le=100, description="how many, best first")] = 10
    session_id: Annotated[SessionId | None, Field(description="only in this session")] = None


class Compactions(Arguments):
    session_id: Annotated[SessionId | None, Field(description="only of this session; default: of all sessions")] = None
    limit: Annotated[int, Field(ge=1, le=200, description="how many, most recent first")] = 20
    read: Annotated[
        Read | None, Field(description="number or checkpoint id of one to be read whole; `latest` is the last one")
    ] = None


class Compare(Arguments):
    session_id: Annotated[SessionId | None, Field(description=_SESSION)] = None
    other_session_id: Annotated[SessionId, Field(description="id of the session to compare it with")]


class Context(Arguments):
    session_id: Annotated[SessionId | None, Field(description=_SESSION)] = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it gives, in a few words, what it takes, and how it is called."""

    name: str
    gives: str
    arguments: type[Arguments]
    example: dict[str, Any]

    def names(self) -> dict[str, dict[str, Any]]:
        """Its arguments by name, each as JSON Schema describes it, with `required` added."""
        schema = self.arguments.model_json_schema(by_alias=True)
        required = schema.get("required", [])
        return {name: {**found, "required": name in required} for name, found in schema["properties"].items()}

    def call(self) -> str:
        """The example as an agent calls it."""
        return json.dumps({"tool": self.name, "args": self.example})


OPERATIONS = {
    found.name: found
    for found in (
        Operation("help", "the operations, or one in detail", Help, {"tool": "search"}),
        Operation("summary", "how much is known: projects, sessions, messages, todos", Summary, {}),
        Operation("sessions", "recent sessions, by project", Sessions, {"limit": 10, "projectPath": "."}),
        Operation("messages", "what was said in a session, or one message whole", Messages, {"sessionId": "ses_1"}),
        Operation(
            "search", "full text over all conversations, best first, with snippets", Search, {"query": "limiter test"}
        ),
        Operation(
            "compactions", "summaries that were made at compactions, or one whole", Compactions, {"read": "latest"}
        ),
        Operation(
            "compare",
            "two sessions side by side: files, errors, tasks, durations, tokens",
            Compare,
            {"sessionId": "ses_1", "otherSessionId": "ses_2"},
        ),
        Operation("context", "how full a session's context window is", Context, {}),
    )
}


def operation(name: object, known: Mapping[str, Operation] = OPERATIONS) -> Operation:
    """The operation of this name, among those that are known.

    Raises:
        HistoryError: there is none.
    """
    if name is None:
        raise HistoryError(f"tool: is missing, name one of {', '.join(known)}")
    if not isinstance(name, str) or name not in known:
        raise HistoryError(f"tool: there is no operation {_shown(name)}, use one of {', '.join(known)}")
    return known[name]


def checked(name: object, arguments: object, known: Mapping[str, Operation] = OPERATIONS) -> Arguments:
    """The arguments of an operation, checked; those that are null count as not given.

    Raises:
        HistoryError: one is missing, unknown or wrong; the message names it, and where to read on.
    """
    found = operation(name, known)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise HistoryError(f"args: must be an object, as in {json.dumps(found.example)}")
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        return found.arguments.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(_problem(found, problem) for problem in error.errors(include_url=False))
        more = f" (`help` with tool: {found.name} explains its arguments)" if "help" in known else ""
        raise HistoryError(problems + more) from None


def _problem(found: Operation, problem: Any) -> str:
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(found.names()) or "no arguments"
        return f"{_shown(name)}: {found.name} has no such argument, it takes {known}"
    if problem["type"] == "missing":
        return f"{name}: is missing"
    return f"{name}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _shown(name: object) -> str:
    """What was given as a name, as it may stand in a message of one line."""
    return repr(name)[:60]
