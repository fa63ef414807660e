"""What a stage is, and how a wake-up is worked off.

A stage of a group is drained by one worker at a time: lease, fencing token, batches until the turn is over or nothing
is left, let go, look once more. Everything a stage does is either in one SQL transaction with its cursor, or may be
done again without harm.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod

from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import TimeoutError as ValkeyTimeout
from sqlalchemy import Connection

from memory.ledger import LedgerUnavailable, cursors
from memory.ledger.log import Slice, read
from memory.settings import settings
from workers import resources
from workers.lease import Lease
from workers.wake import NoRoom, wake, wake_followers

log = logging.getLogger(__name__)


class DependencyDown(Exception):
    """A server that the stage needs can't be used now: the stage rests and tries again, nothing is given up."""


class Stage(ABC):
    """One consumer with a cursor of its own in each group."""

    #: Name of the stage, of its Celery task (`memlane.NAME`), and of its rows in `stage_cursors`.
    name: str
    #: Celery queue that its wake-ups wait in.
    queue: str
    #: Types of event that it cares about; None for all.
    types: frozenset[str] | None = None

    @abstractmethod
    def step(self, group: str, token: int) -> bool:
        """Work off at most one batch.

        Returns:
            Whether the batch was full, so that the next one may be, too.

        Raises:
            cursors.Fenced, LedgerUnavailable, DependencyDown, redis.ConnectionError, redis.TimeoutError
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

    def within(self, connection: Connection, group: str, events: Slice) -> None:
        """Effects in SQL, in one transaction with the cursor."""

    def after(self, group: str, events: Slice) -> None:
        """Effects that must happen at most once; done after the cursor was committed."""

    def step(self, group: str, token: int) -> bool:
        ledger = resources.ledger()
        with ledger.read() as connection:
            head = cursors.position(connection, self.follows, group)
            start = cursors.position(connection, self.name, group)
            if start >= head:
                return False
            events = read(connection, group, start, head, self.types, settings().batch_size)
        if events.events:
            self.before(group, events)
        with ledger.write() as connection:
            if cursors.claim(connection, self.name, group, token).seq != start:
                raise cursors.Fenced(f"stage {self.name} of group {group} was moved by another worker")
            if events.events:
                self.within(connection, group, events)
            cursors.advance(connection, self.name, group, events.upto, len(events.events))
        if events.events:
            self.after(group, events)
        wake_followers(self.name, group, {event.type for event in events.events})
        return events.upto < head

    def has_work(self, group: str) -> bool:
        with resources.ledger().read() as connection:
            return cursors.position(connection, self.name, group) < cursors.position(connection, self.follows, group)


def drain(stage: Stage, group: str) -> None:
    """Work off a wake-up: "drain this stage of this group". Harmless if lost or doubled."""
    options = settings()
    lease = Lease(resources.valkey(), stage.name, group, options.lease_seconds)
    if not lease.take():
        return
    rest, more = 0.0, True
    try:
        with lease:
            token = cursors.take_token(resources.ledger(), stage.name, group)
            end = time.monotonic() + options.turn_seconds
            # A batch that is not full means that the stage has caught up. To go on at once would be to work off a
            # steady trickle in batches of one.
            while more and time.monotonic() < end:
                more = stage.step(group, token)
    except cursors.Fenced as error:
        log.warning("fenced stage=%s group=%s: %s", stage.name, group, error)
        lease.let_go()
        return
    except (LedgerUnavailable, DependencyDown, ValkeyConnectionError, ValkeyTimeout) as error:
        log.warning("waiting stage=%s group=%s seconds=%s: %s", stage.name, group, options.rest_seconds, error)
        rest = options.rest_seconds
    except Exception:
        # Whatever else goes wrong must not spin: the sweep wakes the stage again after the rest.
        lease.let_go(options.rest_seconds)
        raise
    lease.let_go(rest)
    if rest:
        return
    try:
        if more:
            wake(stage.name, group)
        elif stage.has_work(group):
            stage.again(group)
    except NoRoom as error:
        log.warning("left to the sweep stage=%s group=%s: %s", stage.name, group, error)
