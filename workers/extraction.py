"""Stage `extraction`: what a model finds in prose, into the graph. It follows `episodes`, which has saved the prose, so
that nothing waits for the model; without a model it is off.

A run of neighbouring events is read at once. What was found is stored in the ledger first, in a transaction that claims
the cursor, and then written into the graph; only then the cursor moves. A worker that dies in between leaves an answer
that the next one finds, so that nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from memory.extraction import runs
from memory.ledger import cursors, extractions
from memory.ledger.extractions import Extraction as Found
from memory.ledger.log import Slice, forgotten_since, of_session, read
from memory.settings import settings
from workers import resources
from workers.stage import DependencyDown, Follower, Paused
from workers.wake import wake_followers

log = logging.getLogger(__name__)

#: Events of the session before a run that the model is shown.
BEFORE = 4
#: Share of the task's time limit that one run may take.
SHARE = 0.7


class Extraction(Follower):
    name = queue = "extraction"
    follows = "episodes"
    types = runs.TYPES

    @property
    def on(self) -> bool:
        return settings().llm

    def step(self, group: str, token: int, limit: int) -> bool:
        """One run of events.

        Raises:
            Paused: the run may still grow, or the group's tokens of the day are used up.
        """
        ledger = resources.ledger()
        with ledger.read() as connection:
            head = cursors.position(connection, self.follows, group)
            start = cursors.position(connection, self.name, group)
            if start >= head:
                return False
            events = read(connection, group, start, head, self.types, limit)
            known = extractions.beginning_at(connection, group, events.seqs[0]) if events.seqs else None
        upto = events.upto
        if events.events:
            run = _run(events, known)
            if len(run.events) < len(events.events):
                upto = run.upto
            self._enrich(group, run, known, token)
        with ledger.write() as connection:
            cursors.claim(connection, self.name, group, token, start)
            if upto < events.upto:
                events = read(connection, group, start, upto, self.types, limit)
            cursors.advance(connection, self.name, group, upto, events.count)
        wake_followers(self.name, group, ())
        return upto < head

    def before(self, group: str, events: Slice) -> None:
        """For a dead letter that is retried: out of its order, so without a token."""
        self._enrich(group, events, None, None)

    def _enrich(self, group: str, run: Slice, known: Found | None, token: int | None) -> None:
        if not runs.text(run.events):
            return
        found = known or self._asked(group, run, token)
        if found is None:
            return
        from memory.extraction.answer import write
        from memory.graph.writer import GraphUnavailable

        try:
            write(resources.graph(), group, run.events, found.answer)
        except GraphUnavailable as error:
            raise DependencyDown(str(error)) from error

    def _asked(self, group: str, run: Slice, token: int | None) -> Found | None:
        """The model's answer, stored; None if the run was forgotten meanwhile."""
        from memory.extraction.answer import Answer
        from memory.llm.errors import BudgetSpent, ModelAway
        from workers.model import asking, check

        ledger, model = resources.ledger(), asking()
        session = run.events[0].session
        with ledger.read() as connection:
            earlier = of_session(connection, group, session, 0, run.seqs[0] - 1, types=runs.TYPES) if session else None
        before = earlier.events[-BEFORE:] if earlier else []
        try:
            check(group)
            answer: Answer = model.run(group, self.name, _within(model.reader.read(group, run.events, before)))
        except BudgetSpent as spent:
            raise Paused(str(spent), spent.seconds) from None
        except ModelAway as away:
            raise DependencyDown(str(away)) from None
        except TimeoutError:
            raise DependencyDown("the model is too slow: one run took most of MEMLANE_TASK_TIME_LIMIT") from None
        found = Found(run.seqs[0], run.seqs[-1], answer)
        with ledger.write() as connection:
            if token is None:
                cursors.hold(connection, self.name, group)
            else:
                cursors.claim(connection, self.name, group, token)
            if forgotten_since(connection, group, run):
                return None
            extractions.insert(ledger, connection, group, found, settings().llm_model or "")
        log.info("extracted group=%s events=%s facts=%s", group, len(run.events), len(answer.facts))
        return found


def _run(events: Slice, known: Found | None) -> Slice:
    """The events that are read together: those that were, if they were read before.

    Raises:
        Paused: the run may still grow.
    """
    if known:
        size = sum(seq <= known.last_seq for seq in events.seqs)
    else:
        from workers.model import now

        size, seconds = runs.first(events, now())
        if seconds > 0:
            raise Paused("a run of messages may still grow", seconds)
    return Slice(events.events[:size], events.seqs[:size], events.seqs[size - 1])


async def _within[T](asked: Coroutine[Any, Any, T]) -> T:
    """Await it within the time that a task has, and end whatever it has begun."""
    async with asyncio.timeout(settings().task_time_limit * SHARE):
        return await asked
