"""`context`: how full a session's context window is, as its events tell."""

from __future__ import annotations

from memory.context_window import DEFAULT_LIMIT, Thresholds, advice, percentage
from memory.history.answer import Answer
from memory.history.markdown import Page
from memory.history.operations import Context, HistoryError
from memory.history.place import Place


def context(place: Place, arguments: Context, thresholds: Thresholds) -> Answer:
    """From the last context warning, or the session's latest assistant message, whichever is newer."""
    session = place.find(arguments.session_id)
    if session.context_tokens is None:
        raise HistoryError(f"the size of the context of {session.session} is not known: no event of it tells tokens")
    used = percentage(session.context_tokens, session.context_limit)
    level = thresholds.level(used)
    data = {
        "group": place.group,
        "session": session.session,
        "tokens": session.context_tokens,
        "limit": session.context_limit or DEFAULT_LIMIT,
        "limit_known": session.context_limit is not None,
        "percentage": used,
        "level": level,
        "model": session.model,
        "time": session.active,
    }
    page = Page(f"Context of {session.session}" + (f", {session.model}" if session.model else ""))
    of = f"{data['limit']:,}" + ("" if session.context_limit else " (assumed: the model's own limit is not known)")
    page.add(f"{level}: {used} %, {session.context_tokens:,} of {of} tokens")
    return Answer(page.end(*filter(None, [advice(level)])), data)
