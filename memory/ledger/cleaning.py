"""Cleaning the database's files of what was deleted in it.

SQLite keeps deleted text in free space of its file and in its log. PostgreSQL keeps deleted rows until they are
vacuumed; its own log and the space in between are its administrator's matter.
"""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from memory.ledger.engine import Ledger
from memory.ledger.schema import metadata

#: Pause between two tries, s.
PAUSE_SECONDS = 0.2


def clean(ledger: Ledger, seconds: float) -> bool:
    """Write what is left anew, without what was deleted.

    Args:
        seconds: how long to try while others use the database.

    Returns:
        Whether it was done.
    """
    return _sqlite(ledger, seconds) if ledger.is_sqlite else _postgresql(ledger)


def _sqlite(ledger: Ledger, seconds: float) -> bool:
    end = time.monotonic() + seconds
    raw = ledger.engine.raw_connection()
    try:
        connection = raw.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        for step in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            while True:
                try:
                    # A checkpoint does not fail but tells whether somebody was in its way.
                    busy = connection.execute(step).fetchall()
                    if not (step.startswith("PRAGMA") and busy[0][0]):
                        break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) and "busy" not in str(error):
                        raise
                if time.monotonic() > end:
                    return False
                time.sleep(PAUSE_SECONDS)
        return True
    finally:
        raw.close()


def _postgresql(ledger: Ledger) -> bool:
    try:
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in metadata.tables:
                connection.execute(text(f"VACUUM {table}"))
    except DBAPIError:
        # It may not, or somebody is in its way: autovacuum comes by.
        return False
    return True
