"""`compare`: two sessions side by side."""

from __future__ import annotations

import json
from typing import Any

from memory.graph.kinds import is_turn
from memory.history.answer import Answer
from memory.history.markdown import Page, duration, one_line, when
from memory.history.operations import Compare, HistoryError
from memory.history.overview import described, name_of
from memory.history.place import Place, Row
from memory.ledger.sessions import Session

_TYPES = ("file.write", "error", "completion")
#: Errors and tasks that are shown of a session, and paths of each kind.
_SHOWN = 10


def compare(place: Place, arguments: Compare) -> Answer:
    """What two sessions have in common, and what only one of them did."""
    pair = place.find(arguments.session_id), place.find(arguments.other_session_id, "otherSessionId")
    if pair[0].session == pair[1].session:
        raise HistoryError("otherSessionId: name another session than sessionId")
    rows = place.all_events([each.session for each in pair], _TYPES)
    sides = [_side(each, [row for row in rows if row.session == each.session]) for each in pair]
    first, second = (set(side["files"]) for side in sides)
    files = {
        "both": sorted(first & second),
        "only_first": sorted(first - second),
        "only_second": sorted(second - first),
    }
    data = {"group": place.group, "sessions": sides, "files": files}
    return Answer(_text(pair, sides, files), data)


def _side(session: Session, rows: list[Row]) -> dict[str, Any]:
    errors = [str(json.loads(row.data).get("message", "")) for row in rows if row.type == "error"]
    completed = [json.loads(row.data) for row in rows if row.type == "completion"]
    tasks = [str(data.get("task", "")) for data in completed if not is_turn(data)]
    return {
        **described(session),
        "files": sorted({row.path for row in rows if row.type == "file.write" and row.path}),
        "error_messages": list(dict.fromkeys(errors)),
        "tasks": list(dict.fromkeys(tasks)),
    }


def _text(pair: tuple[Session, Session], sides: list[dict[str, Any]], files: dict[str, list[str]]) -> str:
    page = Page(f"Sessions {pair[0].session} and {pair[1].session}")
    rows = [
        ("", *(f"`{each.session}`" for each in pair)),
        ("---", "---", "---"),
        ("about", *(_cell(name_of(each)) for each in pair)),
        ("started", *(when(each.started) for each in pair)),
        ("took", *(duration(each.active - each.started) for each in pair)),
        ("agent", *(_cell(each.agent or "-") for each in pair)),
        ("messages", *(f"{each.messages:,}" for each in pair)),
        ("tokens used", *(f"{each.tokens:,}" for each in pair)),
        ("file writes", *(f"{each.writes:,}" for each in pair)),
        ("errors", *(f"{each.errors:,}" for each in pair)),
        ("completed tasks", *(f"{each.completions:,}" for each in pair)),
        ("compactions", *(f"{each.compactions:,}" for each in pair)),
    ]
    page.add(*(f"| {' | '.join(row)} |" for row in rows), "")
    names = {"both": "Files of both", "only_first": "Files of the first", "only_second": "Files of the second"}
    for kind, heading in names.items():
        _listed(page, f"{heading} ({len(files[kind]):,})", [f"`{one_line(path, 200)}`" for path in files[kind]])
    for what, heading in (("error_messages", "Errors"), ("tasks", "Completed tasks")):
        for side, which in zip(sides, ("first", "second"), strict=True):
            _listed(page, f"{heading} of the {which}", [one_line(text, 160) for text in side[what]])
    return page.end("`messages` with a sessionId reads one of them.")


def _listed(page: Page, heading: str, items: list[str]) -> None:
    if items:
        more = [f"- … and {len(items) - _SHOWN:,} more"] if len(items) > _SHOWN else []
        page.add(f"## {heading}", *(f"- {item}" for item in items[:_SHOWN]), *more, "")


def _cell(text: str) -> str:
    return one_line(text, 60).replace("|", "\\|")
