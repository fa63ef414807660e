"""What the demo runs on: the database of a real OpenCode session, as SQL.

Recorded with OpenCode 1.18.33, the model's replies being scripted: a rate limiter is written, its test fails, an edit
fixes it, another edit fails, all is committed, and the session is compacted. Tests use the same dump.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

#: The database as SQL statements (the output of `.dump` of the sqlite3 shell).
DUMP = files(__name__) / "single-session.opencode-db.sql"


def recorded_database(folder: Path) -> Path:
    """Rebuild the session's database in a folder that has none yet.

    Returns:
        path of `opencode.db`, in WAL mode, as OpenCode has it.
    """
    path = folder / "opencode.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text("utf-8"))
        connection.execute("PRAGMA journal_mode=WAL")
    return path
