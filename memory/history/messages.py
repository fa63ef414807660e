"""`messages`: what was said in a session."""

from __future__ import annotations

import json
from typing import Any

from memory.events import clipped_of
from memory.history.answer import Answer
from memory.history.hidden import Hidden, hidden_in
from memory.history.markdown import Page, counted, one_line, quoted, when
from memory.history.operations import HistoryError, Messages
from memory.history.overview import described, name_of
from memory.history.place import Place, Row
from memory.ledger.sessions import MESSAGES

#: Characters of a message that are shown in a list, and of one that is read whole.
_SHOWN, _WHOLE = 600, 32_000
_TYPES = MESSAGES | {"chat.start"}


def messages(place: Place, arguments: Messages) -> Answer:
    """The latest messages of a session, oldest of them first; or one of them whole."""
    if arguments.read is not None:
        return _one(place, arguments.read)
    session = place.find(arguments.session_id)
    # One more tells whether there are earlier ones.
    rows = place.events(session.session, _TYPES, arguments.limit + 1, before=arguments.before)
    earlier = len(rows) > arguments.limit
    hidden = hidden_in(place, [session.session])
    found = _once([_message(row, hidden) for row in reversed(rows[: arguments.limit])])
    data = {"group": place.group, "session": described(session), "earlier": earlier, "messages": found}
    page = Page(f"Session {session.session}: {one_line(name_of(session), 100)}")
    if not found:
        return Answer(page.end("It holds no messages." if arguments.before is None else "There are no more."), data)
    return Answer(_page(page, session.messages, found, earlier), data)


def _page(page: Page, total: int, found: list[dict[str, Any]], earlier: bool) -> str:
    """As many of the latest messages as there is room for, and what says how to get the others."""
    fitting = _fitting(found)
    for message in fitting:
        page.add(*_lines(message))
    left = []
    first = fitting[0]["number"] if fitting else found[-1]["number"]
    if earlier or len(fitting) < len(found):
        left.append(f"{counted(total, 'message')} in all; before: {first} shows those before these.")
    if any(message["shortened"] for message in fitting):
        left.append("read: NUMBER shows one whole.")
    return page.end(*left)


def _fitting(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest ones that fit into a page."""
    trial = Page("")
    fitting: list[dict[str, Any]] = []
    for message in reversed(found):
        if not trial.add(*_lines(message)):
            break
        fitting.insert(0, message)
    return fitting


def _one(place: Place, named: str) -> Answer:
    row = place.event(named, _TYPES)
    if row is None:
        raise HistoryError(
            f"read: there is no message {named[:60]!r} in {place.group}, `messages` and `search` number them"
        )
    found = _message(row, hidden_in(place, [row.session]))
    page = Page(f"Message {row.seq} of session {row.session}", tokens=_WHOLE // 3)
    page.add(*_lines(found, _WHOLE))
    return Answer(page.end(), {"group": place.group, "messages": [found]})


def _message(row: Row, hidden: Hidden) -> dict[str, Any]:
    data = json.loads(row.data)
    name = next((name for name in ("text", "request", "query") if data.get(name)), "text")
    text = data.get(name) or ""
    whole = clipped_of(data).get(name)
    return {
        "number": row.seq,
        "id": row.id,
        "type": row.type,
        "session": row.session,
        "role": data.get("role") or "user",
        "agent": row.agent,
        "time": row.time,
        "text": text,
        "shortened": len(text) > _SHOWN,
        "clipped": {"bytes": len(text.encode()), "of": whole} if isinstance(whole, int) and whole > 0 else None,
        "tokens": data.get("tokens"),
        **hidden.mark(data),
    }


def _once(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the starts of conversations that are there as the user's message, too."""
    said = {message["text"] for message in found if message["type"] != "chat.start" and message["role"] == "user"}
    return [message for message in found if message["type"] != "chat.start" or message["text"] not in said]


def _lines(message: dict[str, Any], limit: int = _SHOWN) -> list[str]:
    who = message["role"] + (f" ({one_line(message['agent'], 40)})" if message["agent"] else "")
    marked = ""
    if message["hidden"]:
        marked = ", hidden from the model" + (
            f", which sees: {one_line(message['replacement'], 200)}" if message["replacement"] else ""
        )
    head = f"**{message['number']}** {who}, {when(message['time'])}{marked}"
    end = [f"({clipped(message)})"] if message["clipped"] else []
    return [head, *quoted(message["text"], limit), *end, ""]


def clipped(message: dict[str, Any]) -> str:
    """What to tell of a message of which the memory has only the beginning."""
    size = message["clipped"]
    return f"clipped: {size['bytes']:,} of {size['of']:,} bytes; the rest was not captured"
