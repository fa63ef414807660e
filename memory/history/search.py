"""`search`: full text over all conversations."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from memory.history.answer import Answer
from memory.history.hidden import hidden_in
from memory.history.markdown import Page, one_line, when
from memory.history.operations import Search
from memory.history.place import Place
from memory.ledger import search as full_text
from memory.ledger.sessions import COMPACTIONS, MESSAGES
from memory.ledger.words import question_words, words_of

#: What counts as conversation.
TYPES = MESSAGES | COMPACTIONS | {"chat.start", "completion"}
#: Length of a snippet, in characters.
SNIPPET = 240
_WORD = re.compile(r"[^\W_]+", re.UNICODE)


def search(place: Place, arguments: Search) -> Answer:
    """What matches best, each with a snippet around the words that were found."""
    session = place.find(arguments.session_id).session if arguments.session_id else None
    matches = full_text.search(
        place.ledger,
        place.connection,
        place.group,
        arguments.query,
        arguments.limit,
        types=TYPES,
        session=session,
    )
    rows = place.events_at([match.seq for match in matches])
    hidden = hidden_in(place, {match.session for match in matches if match.session})
    words = frozenset(question_words(arguments.query))
    found: list[dict[str, Any]] = []
    for match in matches:
        if match.seq not in rows:
            continue
        data = json.loads(rows[match.seq].data)
        found.append(
            {
                "number": match.seq,
                "id": match.id,
                "type": match.type,
                "session": match.session,
                "agent": match.agent,
                "time": match.time,
                "snippet": snippet(match.text, words),
                "score": match.score,
                **hidden.mark(data),
            }
        )
    data = {"group": place.group, "query": arguments.query, "results": found}
    page = Page(f"Found in {place.group}: {one_line(arguments.query, 100)}")
    if not found:
        return Answer(page.end("Nothing. Other words may find it; `sessions` lists what there is."), data)
    shown = 0
    for each in found:
        mark = " (hidden from the model)" if each["hidden"] else ""
        # What was remembered by a command, say, is of no session.
        where = f" in `{each['session']}`" if each["session"] else ""
        head = f"- **{each['number']}** {each['type']}{where}, {when(each['time'])}{mark}"
        if not page.add(head, f"  {each['snippet']}"):
            break
        shown += 1
    left = [f"{len(found) - shown} more have no room here."] * (shown < len(found))
    return Answer(page.end(*left, "`messages` with read: NUMBER shows a message whole."), data)


def snippet(text: str, words: Collection[str], length: int = SNIPPET) -> str:
    """The piece of a text that holds most of the words, these in `**`, `…` where it was cut."""
    line = " ".join(text.split())
    hits = [found for found in _WORD.finditer(line) if any(word in words for word in words_of(found[0]))]
    start = 0
    if hits and len(line) > length:
        best = max(hits, key=lambda hit: (_distinct(hits, hit.start(), length), -hit.start()))
        start = max(0, min(best.start() - length // 6, len(line) - length))
        # Not in the middle of a word.
        start = 0 if start == 0 else line.rfind(" ", 0, start + 1) + 1
    end = min(len(line), start + length)
    shown, at = "…" if start else "", start
    for hit in hits:
        if start <= hit.start() and hit.end() <= end:
            shown += f"{line[at : hit.start()]}**{hit[0]}**"
            at = hit.end()
    return shown + line[at:end] + ("…" if end < len(line) else "")


def _distinct(hits: list[re.Match[str]], start: int, length: int) -> int:
    near = (hit for hit in hits if start <= hit.start() < start + length * 5 // 6)
    return len({word for hit in near for word in words_of(hit[0])})
