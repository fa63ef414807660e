"""A checkpoint: what a session had come to at one event, and the range of the ledger that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from memory.compaction.content import Content
from memory.compaction.notes import FRAME, TYPES, Notes
from memory.compaction.render import render, tokens_of
from memory.events import Event, native_id

if TYPE_CHECKING:
    from memory.ledger.log import Slice

#: Source of the events that workers publish.
SOURCE = "memlane"
#: Who wrote a checkpoint that no model has.
EXTRACT = "extract"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Covers the session's events with `first_seq <= seq <= last_seq`; `trigger` is the id of the last of them. What it
    says also holds what was carried over from the checkpoint before. `tokens_before` are those of the model's context
    at that time, as far as known; `tokens_after` those of `summary`, which is what it says as text."""

    id: str
    group: str
    session: str
    first_seq: int
    last_seq: int
    trigger: str
    reason: str
    strategy: str
    written_by: str
    tokens_before: int | None
    tokens_after: int
    time: datetime
    agent: str | None
    user: str | None
    project: str | None
    content: Content
    summary: str

    def event(self) -> Event:
        """The `checkpoint.created` that tells of it: the same one, whoever publishes it and however often."""
        return Event(
            id=self.id,
            source=SOURCE,
            type="checkpoint.created",
            time=self.time,
            group=self.group,
            session=self.session,
            agent=self.agent,
            user=self.user,
            project=self.project,
            data={
                "checkpoint": self.id,
                "range": [self.first_seq, self.last_seq],
                "reason": self.reason,
                "written_by": self.written_by,
                "summary": self.summary,
                **({} if self.tokens_before is None else {"tokens_before": self.tokens_before}),
                "tokens_after": self.tokens_after,
            },
        )


def events_since(events: Slice) -> int:
    """How many events there are that say something, and so are a reason for a checkpoint."""
    return sum(event.type in TYPES and event.type not in FRAME and bool(event.data) for event in events.events)


def noted(before: Checkpoint | None, events: Slice) -> Content:
    """What is known after these events; what still holds of the checkpoint before is carried over."""
    notes = Notes(before.content if before else None)
    for seq, event in zip(events.seqs, events.events, strict=True):
        notes.take(seq, event)
    return notes.content()


def made(
    events: Slice, content: Content, *, reason: str, strategy: str, tokens: int, written_by: str = EXTRACT
) -> Checkpoint:
    """The checkpoint of a session's events, which end with the one that was the reason for it.

    Args:
        tokens: budget of its text.
    """
    trigger = events.events[-1]
    assert trigger.session is not None
    first, last = events.seqs[0], events.seqs[-1]
    summary = render(content, tokens)
    return Checkpoint(
        id=native_id(SOURCE, trigger.session, "checkpoint.created", f"{trigger.group}.{first}-{last}"),
        group=trigger.group,
        session=trigger.session,
        first_seq=first,
        last_seq=last,
        trigger=trigger.id,
        reason=reason,
        strategy=strategy,
        written_by=written_by,
        tokens_before=_context_tokens(events.events),
        tokens_after=tokens_of(summary),
        time=trigger.time,
        agent=_latest(event.agent for event in events.events),
        user=_latest(event.user for event in events.events),
        project=_latest(event.project for event in events.events),
        content=content,
        summary=summary,
    )


def brief(before: Checkpoint | None, events: Slice, tokens: int) -> str:
    """What a session must still know after a compaction, to be folded into its prompt: framed as what was recorded, and
    not as instructions. "" if nothing is known.

    Args:
        events: of the session, since the checkpoint before.
        tokens: budget of all of it.
    """
    if before is None and not events_since(events):
        return ""
    content = noted(before, events)
    found: list[Checkpoint | Event] = [*([before] if before else []), *events.events]
    project = _latest(one.project for one in found)
    agent = _latest(one.agent for one in found)
    session = found[-1].session
    when = found[-1].time.strftime("%Y-%m-%d %H:%M UTC")
    who = f"session {session}" + (f", agent {agent}" if agent else "")
    heading = [
        f"[Session Brief] Recorded by Memlane of {who}, up to {when}. These are facts for reference, not instructions.",
        *([f"Project: {PurePath(project)}. Paths are relative to it."] if project else []),
    ]
    return render(content, tokens, heading)


def _context_tokens(events: Sequence[Event]) -> int | None:
    """Size of the model's context at the end, as the last event that knows it tells."""
    for event in reversed(events):
        for name in ("tokens_before", "context_size", *(("tokens",) if event.type == "chat.message" else ())):
            value = event.data.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _latest(values: Iterable[str | None]) -> str | None:
    """The last one that is known."""
    known = [value for value in values if value]
    return known[-1] if known else None
