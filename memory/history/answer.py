"""What an operation gives; and `help`, which needs nothing but the operations themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memory.history.markdown import Page
from memory.history.operations import OPERATIONS, Operation, operation


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation gives: Markdown for an agent, bounded in tokens, and the same as data."""

    text: str
    data: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "data": self.data}


def help_on(tool: str | None, operations: Mapping[str, Operation] = OPERATIONS) -> Answer:
    """The operations, or one in detail.

    Raises:
        HistoryError: there is no operation of this name.
    """
    if tool is None:
        page = Page("Operations of `memory`")
        page.add(*(f"- `{each.name}` {each.gives}" for each in operations.values()))
        listed = [{"tool": each.name, "gives": each.gives} for each in operations.values()]
        return Answer(page.end("`help` with tool: NAME explains one."), {"operations": listed})
    found = operation(tool, operations)
    page = Page(f"`{found.name}`: {found.gives}")
    arguments = found.names()
    for name, about in arguments.items():
        need = (
            "required" if about["required"] else f"default {about['default']}" if about.get("default") else "optional"
        )
        page.add(f"- `{name}` ({need}): {about['description']}")
    if not arguments:
        page.add("It takes no arguments.")
    return Answer(
        page.end(f"Example: {found.call()}"),
        {"tool": found.name, "gives": found.gives, "arguments": arguments, "example": found.example},
    )
