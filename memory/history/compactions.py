"""`compactions`: the summaries that were made when sessions were compacted, and Memlane's own checkpoints."""

from __future__ import annotations

import json
from typing import Any

from memory.history.answer import Answer
from memory.history.markdown import Page, counted, one_line, quoted, when
from memory.history.operations import Compactions, HistoryError
from memory.history.place import Place, Row
from memory.ledger import sessions
from memory.ledger.sessions import COMPACTIONS

#: Characters of a summary that are shown in a list, and of one that is read whole.
_SHOWN, _WHOLE = 200, 32_000
#: Sessions that are looked through for a compaction that is named.
_MOST = 1_000


def compactions(place: Place, arguments: Compactions) -> Answer:
    """Compactions, most recent first; or one of them whole."""
    if arguments.session_id:
        named = [place.find(arguments.session_id)]
    else:
        most = arguments.limit if arguments.read is None else _MOST
        named = sessions.compacted(place.connection, place.group, most)
    if arguments.read is not None:
        return _one(place, [each.session for each in named], arguments.read)
    rows = [row for each in named for row in place.events(each.session, COMPACTIONS, arguments.limit)]
    rows = sorted(rows, key=lambda row: row.seq, reverse=True)[: arguments.limit]
    all_sessions = sessions.totals(place.connection, place.group)
    total = named[0].compactions if arguments.session_id else all_sessions["compactions"]
    found = [_compaction(row) for row in rows]
    data = {"group": place.group, "total": total, "compactions": found}
    page = Page(f"Compactions of {named[0].session if arguments.session_id else place.group}")
    if not found:
        return Answer(page.end("There are none."), data)
    shown = 0
    for each in found:
        if not page.add(f"- {_line(each)}", f"  {one_line(each['summary'], _SHOWN)}"):
            break
        shown += 1
    left = [f"{counted(total - shown, 'more compaction')}: a sessionId or a larger limit shows them."] * (shown < total)
    return Answer(page.end(*left, "read: NUMBER shows a summary whole, read: latest the last one."), data)


def _one(place: Place, names: list[str], wanted: str) -> Answer:
    row = _find(place, names, wanted)
    if row is None:
        raise HistoryError(
            f"read: there is no compaction {wanted[:60]!r}, `compactions` without read numbers them"
            if names
            else f"read: nothing was compacted in {place.group} yet"
        )
    found = _compaction(row)
    page = Page(f"Compaction {found['number']}", tokens=_WHOLE // 3)
    page.add(_line(found), "", *quoted(found["summary"] or "(without a summary)", _WHOLE))
    return Answer(page.end(), {"group": place.group, "total": 1, "compactions": [found]})


def _find(place: Place, names: list[str], wanted: str) -> Row | None:
    if row := place.event(wanted, COMPACTIONS):
        return row if row.session in names else None
    rows = [row for name in names for row in place.events(name, COMPACTIONS, 1 if wanted == "latest" else 1_000)]
    if wanted == "latest":
        return max(rows, key=lambda row: row.seq, default=None)
    return next((row for row in rows if wanted == json.loads(row.data).get("checkpoint")), None)


def _compaction(row: Row) -> dict[str, Any]:
    data = json.loads(row.data)
    names = ("checkpoint", "range", "reason", "auto", "tokens_before", "tokens_after")
    return {
        "number": row.seq,
        "id": row.id,
        "type": row.type,
        "session": row.session,
        "time": row.time,
        **{name: data.get(name) for name in names},
        "summary": data.get("summary") or "",
    }


def _line(found: dict[str, Any]) -> str:
    what = f"checkpoint {found['checkpoint']}" if found["checkpoint"] else "compaction"
    sizes = (
        f", {found['tokens_before'] or '?'} to {found['tokens_after'] or '?'} tokens"
        if found["tokens_before"] or found["tokens_after"]
        else ""
    )
    return f"**{found['number']}** {what} of `{found['session']}`, {when(found['time'])}{sizes}"
