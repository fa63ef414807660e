"""Stage `compaction`: checkpoints of sessions, each range of their events once, and their briefs.

A range begins behind the checkpoint before, and ends with the event that is the reason for a new one. The checkpoint
is stored in a transaction that first claims the stage's cursor; then its event is published, and only then the cursor
moves. A worker that dies in between leaves a checkpoint that the next one finds, and whose event, with the same id, it
publishes again.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator

from redis.exceptions import OutOfMemoryError
from sqlalchemy import Connection

from memory import lua
from memory.compaction import decide, notes
from memory.compaction.checkpoint import EXTRACT, Checkpoint, brief, events_since, made, noted
from memory.compaction.content import Content
from memory.compaction_engine import CompactionEngine, Decision
from memory.events import Event
from memory.ledger import checkpoints, cursors
from memory.ledger.log import Slice, forgotten_since, of_session, read
from memory.settings import settings
from workers import resources
from workers.publish import publish
from workers.stage import Follower
from workers.wake import wake_followers

log = logging.getLogger(__name__)

#: Types of event that a session is known by.
_KNOWN = decide.TYPES | notes.TYPES
#: Behind these a brief is made anew at once, since an agent may be about to ask for it; behind the others at most once
#: in so many seconds.
_AT_ONCE = decide.TYPES | {"completion"}
_MEANWHILE = frozenset({"chat.message", "file.write", "todo.updated", "vcs.commit", "error"})
BRIEF_SECONDS = 10.0
#: Sessions of which a process remembers when, and up to which event, it made their brief.
_SESSIONS = 10_000


class Compaction(Follower):
    name = queue = "compaction"
    types = _AT_ONCE | _MEANWHILE

    def step(self, group: str, token: int, limit: int) -> bool:
        """As every follower's; but the cursor is moved as far as checkpoints were made in one turn."""
        ledger = resources.ledger()
        with ledger.read() as connection:
            head = cursors.position(connection, self.follows, group)
            start = cursors.position(connection, self.name, group)
            if start >= head:
                return False
            events = read(connection, group, start, head, self.types, limit)
        upto = self._work(group, events, head, token)
        with ledger.write() as connection:
            cursors.claim(connection, self.name, group, token, start)
            if upto < events.upto:
                events = read(connection, group, start, upto, self.types, limit)
            cursors.advance(connection, self.name, group, upto, events.count)
        wake_followers(self.name, group, ())
        return upto < head

    def before(self, group: str, events: Slice) -> None:
        """For a dead letter that is retried: out of its order, so without a token."""
        self._work(group, events, events.upto, None)

    def _work(self, group: str, events: Slice, head: int, token: int | None) -> int:
        """Make checkpoints and briefs, for one turn.

        Returns:
            Seq up to which events were dealt with.
        """
        end, done = time.monotonic() + settings().turn_seconds, events
        for dealt, (seq, event) in enumerate(zip(events.seqs, events.events, strict=True), 1):
            if event.session and event.type in decide.TYPES:
                self._checkpoint(group, event.session, seq, event, token)
            if time.monotonic() > end and dealt < len(events.events):
                done = Slice(events.events[:dealt], events.seqs[:dealt], seq)
                break
        for session in dict.fromkeys(self._due(group, done)):
            self._brief(group, session, head)
        return done.upto

    def _checkpoint(self, group: str, session: str, seq: int, event: Event, token: int | None) -> None:
        """Make the checkpoint that an event is the reason for, if it is one, and tell of it."""
        ledger, known = resources.ledger(), None
        while known is None:
            with ledger.read() as connection:
                before = checkpoints.latest(connection, group, session)
                if before and before.last_seq >= seq:
                    # Somebody has, and may have died before he could tell of it.
                    known = checkpoints.ending_at(connection, group, session, seq)
                    break
                events = _events(connection, group, session, before, seq)
            if not events.seqs or events.seqs[-1] != seq:
                return  # it was forgotten since it was read
            decision = decide.decide(_engine(), event, events_since(events))
            if not decision.compact:
                return
            content, author = noted(before, events), EXTRACT
            if settings().llm:
                # It may take its time, and an agent may ask for the brief meanwhile.
                self._brief(group, session, seq)
                _briefed().pop((group, session))
                content, author = _written(group, content, events)
            known = self._stored(before, events, decision, content, author, token)
        if known:
            publish(known.event())

    def _stored(
        self,
        before: Checkpoint | None,
        events: Slice,
        decision: Decision,
        content: Content,
        author: str,
        token: int | None,
    ) -> Checkpoint | None:
        """The checkpoint of these events, stored; None if what it is made of has changed meanwhile."""
        ledger = resources.ledger()
        checkpoint = made(
            events,
            content,
            reason=decision.reason,
            strategy=decision.strategy,
            tokens=settings().checkpoint_tokens,
            written_by=author,
        )
        with ledger.write() as connection:
            if token is None:
                cursors.hold(connection, self.name, checkpoint.group)
            else:
                cursors.claim(connection, self.name, checkpoint.group, token)
            if _changed(connection, checkpoint.group, checkpoint.session, before, events):
                return None
            if not checkpoints.insert(ledger, connection, checkpoint):
                return None
        log.info("checkpoint group=%s session=%s id=%s", checkpoint.group, checkpoint.session, checkpoint.id)
        return checkpoint

    def _due(self, group: str, events: Slice) -> Iterator[str]:
        """Sessions whose briefs are to be made anew."""
        # Of what is imported from long ago nobody will ask for a brief.
        oldest = time.time() - settings().brief_days * 86_400
        for seq, event in zip(events.seqs, events.events, strict=True):
            if event.session is None or event.time.timestamp() < oldest:
                continue
            made_at, upto = _briefed().get((group, event.session), (float("-inf"), 0))
            waits = event.type not in _AT_ONCE and time.monotonic() - made_at < BRIEF_SECONDS
            if seq > upto and not waits:
                yield event.session

    def _brief(self, group: str, session: str, head: int) -> None:
        """Make a session's brief anew, of all that is recorded."""
        options, changed = settings(), True
        while changed:
            with resources.ledger().read() as connection:
                before = checkpoints.latest(connection, group, session)
                events = _events(connection, group, session, before, head)
            if not (text := brief(before, events, options.checkpoint_tokens)):
                break
            try:
                resources.valkey().set(lua.brief(session), text, ex=int(options.brief_days * 86_400))
            except OutOfMemoryError:
                log.warning("no room for a brief group=%s session=%s", group, session)
            # Who forgets deletes briefs, too: maybe just before this one was written.
            with resources.ledger().read() as connection:
                changed = _changed(connection, group, session, before, events)
            if changed:
                resources.valkey().delete(lua.brief(session))
        briefed = _briefed()
        briefed[group, session] = (time.monotonic(), head)
        briefed.move_to_end((group, session))
        if len(briefed) > _SESSIONS:
            briefed.popitem(last=False)


def _written(group: str, content: Content, events: Slice) -> tuple[Content, str]:
    """What a checkpoint says in the model's words, and the model's name; unchanged where it gives no usable answer."""
    from memory.llm.errors import AnswerInvalid, BudgetSpent, ModelAway
    from workers.model import asking

    try:
        model = asking()
        written = model.run(group, Compaction.name, model.model.write(content, events, settings().llm_input_tokens))
    except (ModelAway, AnswerInvalid, BudgetSpent) as error:
        log.warning("checkpoint without the model group=%s: %s", group, error)
        return content, EXTRACT
    return written, settings().llm_model or ""


def _changed(connection: Connection, group: str, session: str, before: Checkpoint | None, events: Slice) -> bool:
    """Whether something else is now known of a session: another checkpoint was made, or something was forgotten."""
    latest = checkpoints.latest(connection, group, session)
    same = (latest and latest.id) == (before and before.id)
    return not same or bool(forgotten_since(connection, group, events))


def _events(connection: Connection, group: str, session: str, before: Checkpoint | None, upto: int) -> Slice:
    """Events of a session behind a checkpoint."""
    return of_session(connection, group, session, before.last_seq if before else 0, upto, types=_KNOWN)


@resources.one_a_process
def _engine() -> CompactionEngine:
    """The engine of this process, its strategies loaded when they are first needed."""
    return decide.engine_of(settings())


@resources.one_a_process
def _briefed() -> OrderedDict[tuple[str, str], tuple[float, int]]:
    """Sessions by group, with when their brief was made, and up to which event."""
    return OrderedDict()
