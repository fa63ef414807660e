"""SQLite is locked by another process for longer than anybody waits, while events come in.

No event is at fault then: stages rest and try again, nothing goes to the dead letters, and all goes on by itself.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing

from memory.ledger.engine import LOCK_TIMEOUT_MS
from tests import servers
from tests.faults.load import all_published, for_a_while, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import settle
from tests.faults.rig import Rig, groups


def test_sqlite_is_locked_for_longer_than_anybody_waits(system: Rig) -> None:
    """Given another process that holds SQLite's write lock past all timeouts, I expect the stages to rest meanwhile and then
    to go on."""
    sent = Sent(groups(4), 100, ("p0", "p1"))
    publishers = under_way(system, sent, seconds=1.5)
    before = len(system.log("lanes"))
    with closing(sqlite3.connect(system.database_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        # A writer may be at it: then it is waited for.
        other.execute("PRAGMA busy_timeout = 10000")
        other.execute("BEGIN IMMEDIATE")
        for_a_while(LOCK_TIMEOUT_MS / 1000)
        servers.wait_until(lambda: _rested(system.log("lanes")[before:]), "somebody to have to rest")
        other.execute("ROLLBACK")
    over = time.monotonic()
    with system.watch(sent) as watch:
        all_published(publishers)
        settle(system, sent, since=over, watch=watch)


def _rested(said: str) -> bool:
    return bool(re.search(r"waiting stage=record .*database is locked", said))
