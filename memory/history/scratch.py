"""A ledger in memory, for events that come from elsewhere: so that one code gives the history of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import batched

from memory.events import Event
from memory.graph.kinds import text_of
from memory.ledger import Ledger, cursors, migrate, sessions
from memory.ledger.log import Entry, read, record
from memory.ledger.search import index

#: Events that are put in at once.
_AT_ONCE = 1_000


@contextmanager
def holding(events: Iterable[Event], group: str) -> Iterator[Ledger]:
    """A ledger that holds these events of a group, indexed, in their order; each id once. For one thread."""
    ledger = Ledger("sqlite:///:memory:")
    try:
        migrate(ledger)
        put = 0
        for chunk in batched(events, _AT_ONCE):
            put = _put(ledger, group, chunk, put)
        yield ledger
    finally:
        ledger.close()


def _put(ledger: Ledger, group: str, events: Iterable[Event], put: int) -> int:
    """
    Returns:
        How many are in the ledger now.
    """
    entries = [Entry(f"{put + n}-0", event, "") for n, event in enumerate(events, 1)]
    token = cursors.take_token(ledger, "record", group)
    with ledger.write() as connection:
        recorded = record(ledger, connection, group, token, entries, text_of, look_up=True).recorded
    token = cursors.take_token(ledger, "index", group)
    with ledger.write() as connection:
        cursors.claim(connection, "index", group, token)
        found = read(connection, group, put, put + recorded, None, recorded + 1)
        index(ledger, connection, group, found.seqs)
        sessions.count(ledger, connection, group, found)
        cursors.advance(connection, "index", group, put + recorded, recorded)
    return put + recorded
