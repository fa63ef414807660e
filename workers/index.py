"""Stage `index`: full text over the ledger, and what is known of each session."""

from __future__ import annotations

from sqlalchemy import Connection

from memory.ledger import sessions
from memory.ledger.log import Slice
from workers import resources
from workers.stage import Follower


class Index(Follower):
    name = queue = "index"

    def clear(self, connection: Connection, group: str) -> None:
        from memory.ledger.search import clear

        clear(connection, group)
        sessions.clear(connection, group)

    def within(self, connection: Connection, group: str, events: Slice) -> None:
        # Here, since it needs numpy, which workers of other stages need not load.
        from memory.ledger.search import index

        index(resources.ledger(), connection, group, events.seqs)
        sessions.count(resources.ledger(), connection, group, events)
