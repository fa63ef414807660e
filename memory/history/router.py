"""Carrying out operations over a ledger."""

from __future__ import annotations

from memory.context_window import Thresholds
from memory.history import compactions, comparison, messages, overview, search
from memory.history.answer import Answer, help_on
from memory.history.context import context
from memory.history.operations import (
    Arguments,
    Compactions,
    Compare,
    Context,
    Help,
    Messages,
    Search,
    Sessions,
    Summary,
    checked,
)
from memory.history.place import Place
from memory.ledger import Ledger


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
