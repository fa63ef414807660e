"""What is asked, and by which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memory.events import normal_path

#: Paths of a question beyond these are not looked at.
MOST_PATHS = 64


class QuestionInvalid(ValueError):
    """What was asked is no question. The message names the field."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a group's memory. Times are in ms since 1970.

    `text`, `paths` (files being worked on) and `session` (the one that asks) say what is looked for. `agent`, `kinds`
    (event types), `since` and `until` are limits: nothing else is found. `as_of` asks what was known, and true, then.
    """

    text: str
    #: Budget of the context.
    tokens: int
    paths: tuple[str, ...] = ()
    session: str | None = None
    agent: str | None = None
    kinds: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    as_of: int | None = None
    #: Whether each result says what speaks for it.
    explain: bool = False

    @property
    def end(self) -> int | None:
        """No event after this is found."""
        ends = [time for time in (self.until, self.as_of) if time is not None]
        return min(ends) if ends else None


def read(asked: Mapping[str, Any], tokens: int) -> Question:
    """A question as it was put to the workers; `tokens` is the budget where it names none.

    Raises:
        QuestionInvalid: a field is not what it should be.
    """
    text = asked.get("text")
    if not isinstance(text, str):
        raise QuestionInvalid("text: must be a string")
    budget = asked.get("tokens") or tokens
    if type(budget) is not int or budget < 1:
        raise QuestionInvalid("tokens: must be a whole number above 0")
    return Question(
        text=text,
        tokens=budget,
        paths=tuple(normal_path(path) for path in _strings(asked, "paths")[:MOST_PATHS]),
        session=_string(asked, "session"),
        agent=_string(asked, "agent"),
        kinds=tuple(_strings(asked, "kinds")),
        since=_time(asked, "since"),
        until=_time(asked, "until"),
        as_of=_time(asked, "as_of"),
        explain=asked.get("explain") is True,
    )


def _string(asked: Mapping[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise QuestionInvalid(f"{name}: must be a string, or absent")
    return value or None


def _strings(asked: Mapping[str, Any], name: str) -> list[str]:
    value = asked.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise QuestionInvalid(f"{name}: must be a list of strings, or absent")
    return value


def _time(asked: Mapping[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is not None and type(value) is not int:
        raise QuestionInvalid(f"{name}: must be ms since 1970, or absent")
    return value
