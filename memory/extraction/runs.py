"""Which events are read together: neighbours in a session, so that a question and its answer are one text."""

from __future__ import annotations

from datetime import datetime

from memory.compaction.render import tokens_of
from memory.events import Event
from memory.graph.kinds import text_of
from memory.ledger.log import Slice

#: Types of event that hold prose.
TYPES = frozenset({"chat.message", "user.request", "checkpoint.created"})
#: Most tokens of a run; a longer event stands alone.
TOKENS = 2_000
#: A pause after which what is said is another run, and how long a run may still grow, s.
PAUSE_SECONDS, IDLE_SECONDS = 600.0, 20.0


def first(events: Slice, now: datetime) -> tuple[int, float]:
    """The first run of events, which must not be empty.

    Returns:
        How many events it has, and in how many seconds it can't grow any more: 0 if that is now.
    """
    run, tokens = 0, 0
    for event in events.events:
        tokens += tokens_of(text_of(event))
        if run and (tokens > TOKENS or not _belong(events.events[run - 1], event)):
            return run, 0.0
        run += 1
    since = (now - events.events[run - 1].time).total_seconds()
    # A producer's clock may be anything: what lies in the future is not waited for.
    return run, IDLE_SECONDS - since if 0 <= since < IDLE_SECONDS and tokens < TOKENS else 0.0


def text(events: list[Event]) -> str:
    """What is read of a run; "" if there is nothing."""
    return "\n\n".join(said for event in events if (said := text_of(event).strip()))


def _belong(one: Event, other: Event) -> bool:
    near = abs((other.time - one.time).total_seconds()) <= PAUSE_SECONDS
    return one.session == other.session and one.type == other.type == "chat.message" and near
