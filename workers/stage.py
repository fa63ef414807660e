"""What a stage is, and how a wake-up is worked off.

A stage of a group is drained by one worker at a time: lease, fencing token, batches until the turn is over or nothing
is left, let go, look once more. Everything a stage does is either in one SQL transaction with its cursor, or may be
done again without harm.
"""

from __future__ import annotations

import logging
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from kombu.exceptions import OperationalError
from sqlalchemy import Connection

from memory.events import parse
from memory.ledger import LedgerUnavailable, cursors, dead
from memory.ledger.log import Slice, forgotten_since, read
from memory.settings import settings
from workers import resources
from workers.lease import Lease
from workers.trial import Trial
from workers.wake import NoRoom, wake, wake_followers

log = logging.getLogger(__name__)

#: A pause is looked at again after this, s: settings may have changed.
LONGEST_PAUSE_SECONDS = 600.0


class DependencyDown(Exception):
    """A server that the stage needs can't be used now: the stage rests and tries again, nothing is given up."""


class Paused(Exception):
    """The stage has work and may not do it yet; the message says why. Nothing is wrong."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class StageFailed(Exception):
    """A stage failed at an event. Holds where, and none of the event's content: it is shown in logs and in Flower."""

    def __init__(self, stage: str, group: str, error: Exception) -> None:
        super().__init__(f"stage {stage} of group {group}: {described(error)}")


def described(error: Exception) -> str:
    """An error's kind and where it was raised, without its text, which may quote an event."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"


class Stage(ABC):
    """One consumer with a cursor of its own in each group."""

    #: Name of the stage, of its Celery task (`memlane.NAME`), and of its rows in `stage_cursors`.
    name: str
    #: Celery queue that its wake-ups wait in.
    queue: str
    #: Types of event that it cares about; None for all.
    types: frozenset[str] | None = None

    @property
    def on(self) -> bool:
        """Whether it works at all; one that does not has no work, and no books."""
        return True

    @abstractmethod
    def step(self, group: str, token: int, limit: int) -> bool:
        """Work off at most `limit` events.

        Returns:
            Whether there were as many, so that there may be more.

        Raises:
            cursors.Fenced, LedgerUnavailable, DependencyDown, resources.VALKEY_AWAY
        """

    @abstractmethod
    def position(self, group: str) -> str | None:
        """Where the next event stands; None if there is none."""

    @abstractmethod
    def bury(self, group: str, token: int, error: str, attempts: int) -> None:
        """Put the next event into the dead letters, and go on behind it.

        Raises:
            cursors.Fenced, LedgerUnavailable
        """

    @abstractmethod
    def has_work(self, group: str) -> bool:
        """Whether events wait for this stage in the group."""

    def again(self, group: str) -> None:
        """Have the group drained again: events came in after the last batch."""
        wake(self.name, group)


class Follower(Stage):
    """A stage that reads the ledger, behind the cursor of another stage."""

    #: The stage whose cursor it follows.
    follows: str = "record"

    def before(self, group: str, events: Slice) -> None:
        """Effects outside of SQL that may be repeated; done before the cursor moves."""

    def undo(self, group: str, ids: Collection[str]) -> None:
        """Take back what was done outside of SQL for events that were forgotten. May be repeated."""

    def clear(self, connection: Connection, group: str) -> None:
        """Take away what the stage has made of a group's events in SQL, in one transaction in which it begins again."""

    def clear_outside(self, group: str) -> None:
        """The same outside of SQL, behind that transaction. May be repeated."""

    def within(self, connection: Connection, group: str, events: Slice) -> None:
        """Effects in SQL, in one transaction with the cursor."""

    def after(self, group: str, events: Slice) -> None:
        """Effects that must happen at most once; done after the cursor was committed."""

    def step(self, group: str, token: int, limit: int) -> bool:
        ledger = resources.ledger()
        with ledger.read() as connection:
            head = cursors.position(connection, self.follows, group)
            start = cursors.position(connection, self.name, group)
            if start >= head:
                return False
            events = read(connection, group, start, head, self.types, limit)
        if events.events:
            self.before(group, events)
        if events.forgotten:
            # They may be those of an earlier try.
            self.undo(group, events.forgotten)
        try:
            with ledger.write() as connection:
                cursors.claim(connection, self.name, group, token, start)
                # Who forgets waits for this transaction, or this one sees it.
                if gone := forgotten_since(connection, group, events):
                    self.undo(group, gone)
                    events = events.without(gone)
                if events.events:
                    self.within(connection, group, events)
                cursors.advance(connection, self.name, group, events.upto, events.count)
        except cursors.Fenced:
            self._undo_forgotten(group, events)
            raise
        if events.events:
            self.after(group, events)
        wake_followers(self.name, group, {event.type for event in events.events})
        return events.upto < head

    def position(self, group: str) -> str | None:
        with resources.ledger().read() as connection:
            start = cursors.position(connection, self.name, group)
            return str(start) if start < cursors.position(connection, self.follows, group) else None

    def bury(self, group: str, token: int, error: str, attempts: int) -> None:
        with resources.ledger().write() as connection:
            start = cursors.claim(connection, self.name, group, token).seq
            head = cursors.position(connection, self.follows, group)
            events = read(connection, group, start, head, self.types, 1)
            if events.events:
                dead.bury(connection, self.name, events.events[0], events.seqs[0], error, attempts)
            cursors.advance(connection, self.name, group, events.upto, len(events.forgotten))

    def retry(self, letter: dead.Letter) -> None:
        """Deal with an event that was buried, out of its order.

        Raises:
            Whatever the stage raises; the letter is then as it was.
        """
        event = parse(letter.event)
        assert letter.seq is not None
        events = Slice([event], [letter.seq], letter.seq)
        self.before(letter.group, events)
        try:
            with resources.ledger().write() as connection:
                dead.remove(connection, letter)
                self.within(connection, letter.group, events)
                cursors.count_done(connection, self.name, letter.group)
        except dead.NoSuchLetter:
            self._undo_forgotten(letter.group, events)
            raise
        self.after(letter.group, events)

    def _undo_forgotten(self, group: str, events: Slice) -> None:
        """What was done outside of SQL stands, though the cursor could not be moved: nothing of it that was forgotten
        meanwhile may stay."""
        with resources.ledger().read() as connection:
            gone = forgotten_since(connection, group, events)
        if gone:
            self.undo(group, gone)

    def has_work(self, group: str) -> bool:
        with resources.ledger().read() as connection:
            return cursors.position(connection, self.name, group) < cursors.position(connection, self.follows, group)

    def behind(self, connection: Connection, limit: int, after: str) -> list[str]:
        """The next groups that it has work in, at most `limit`, by name, behind `after`."""
        return cursors.behind(connection, self.name, self.follows, limit, after)


def drain(stage: Stage, group: str) -> None:
    """Work off a wake-up: "drain this stage of this group". Harmless if lost or doubled.

    Raises:
        StageFailed: for Celery and Flower to show; the events are tried again.
    """
    if not stage.on:
        return
    options, client = settings(), resources.valkey()
    lease = Lease(client, stage.name, group, options.lease_seconds)
    try:
        if not lease.take():
            return
    except resources.VALKEY_AWAY as error:
        log.warning("left to the sweep stage=%s group=%s: %s", stage.name, group, error)
        return
    trial = Trial(client, stage.name, group)
    more = True
    try:
        with lease:
            trial.begin(options.batch_size)
            token = cursors.take_token(resources.ledger(), stage.name, group)
            end = time.monotonic() + options.turn_seconds
            # A batch that is not full means that the stage has caught up. To go on at once would be to work off a
            # steady trickle in batches of one.
            while more:
                more = _single(stage, group, token, trial) if trial.single else _batch(stage, group, token, trial)
                if time.monotonic() > end:
                    break
            trial.ended(caught_up=not more)
    except cursors.Fenced as error:
        log.warning("fenced stage=%s group=%s: %s", stage.name, group, error)
        lease.let_go()
        trial.excused()
        return
    except Paused as pause:
        log.info("paused stage=%s group=%s seconds=%.0f: %s", stage.name, group, pause.seconds, pause)
        lease.let_go(min(max(pause.seconds, options.rest_seconds), LONGEST_PAUSE_SECONDS))
        trial.excused(paused=True)
        return
    except (LedgerUnavailable, DependencyDown, *resources.VALKEY_AWAY) as error:
        log.warning("waiting stage=%s group=%s seconds=%s: %s", stage.name, group, options.rest_seconds, error)
        lease.let_go(options.rest_seconds)
        trial.excused()
        return
    except Exception as error:
        failure = StageFailed(stage.name, group, error)
        trial.failed(f"{type(error).__name__}: {error}")
        # A batch is looked into at once; an event that fails by itself must not spin.
        lease.let_go(options.rest_seconds if trial.single else 0)
        if not trial.single:
            wake(stage.name, group)
        raise failure from None
    lease.let_go()
    try:
        if more:
            wake(stage.name, group)
        elif stage.has_work(group):
            stage.again(group)
    except (NoRoom, LedgerUnavailable, OperationalError, *resources.VALKEY_AWAY) as error:
        log.warning("left to the sweep stage=%s group=%s: %s", stage.name, group, error)


def _batch(stage: Stage, group: str, token: int, trial: Trial) -> bool:
    limit = trial.limit(settings().batch_size)
    more = stage.step(group, token, limit)
    trial.passed(limit)
    return more


def _single(stage: Stage, group: str, token: int, trial: Trial) -> bool:
    """Deal with one suspect; bury it if it was tried too often."""
    position = stage.position(group)
    if position is None:
        return False
    attempts = trial.attempt(position)
    if attempts > settings().attempts:
        stage.bury(group, token, trial.error(), attempts - 1)
        log.error("buried stage=%s group=%s position=%s attempts=%s", stage.name, group, position, attempts - 1)
    else:
        stage.step(group, token, 1)
    trial.passed(1)
    return True
