"""A group's history: what its sessions did and said, for agents and for people.

    answer(ledger, "shop-3f2a", "search", {"query": "limiter"}).text

Each operation reads one group in one snapshot, and gives data and, of the same, Markdown that is bounded in tokens.
What each gives: docs/history.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from memory.context_window import Thresholds
from memory.history import compactions, comparison, messages, overview, search
from memory.history.context import context
from memory.history.markdown import Page
from memory.history.operations import (
    OPERATIONS,
    Arguments,
    Compactions,
    Compare,
    Context,
    Help,
    HistoryError,
    Messages,
    Operation,
    Search,
    Sessions,
    Summary,
    checked,
    operation,
)
from memory.history.place import Answer, Place
from memory.ledger import Ledger

__all__ = ["OPERATIONS", "Answer", "HistoryError", "Operation", "answer", "checked", "help_on", "operation"]


def answer(
    ledger: Ledger,
    group: str,
    tool: str,
    args: object = None,
    *,
    session: str | None = None,
    project: str | None = None,
    thresholds: Thresholds | None = None,
) -> Answer:
    """Carry out an operation.

    Args:
        tool: its name, one of `OPERATIONS`.
        args: its arguments, as an agent gave them.
        session, project: id and project folder of who asks; the defaults of arguments.
        thresholds: of context windows; default: as in DESIGN.

    Raises:
        HistoryError: an argument is wrong, or names what there is not.
        LedgerUnavailable: the ledger can't be read.
    """
    arguments = checked(tool, args)
    if isinstance(arguments, Help):
        return help_on(arguments.tool)
    with ledger.read() as connection:
        place = Place(ledger, connection, group, session, project)
        return _carry_out(place, arguments, thresholds or Thresholds())


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


def _carry_out(place: Place, arguments: Arguments, thresholds: Thresholds) -> Answer:
    match arguments:
        case Summary():
            return overview.summary(place, arguments)
        case Sessions():
            return overview.recent(place, arguments)
        case Messages():
            return messages.messages(place, arguments)
        case Search():
            return search.search(place, arguments)
        case Compactions():
            return compactions.compactions(place, arguments)
        case Compare():
            return comparison.compare(place, arguments)
        case Context():
            return context(place, arguments, thresholds)
    raise AssertionError(type(arguments))
