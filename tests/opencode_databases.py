"""OpenCode databases that tests read: the recorded ones, and how to change them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from memory.events import Event
from ops.demo_data import recorded_database
from producers.opencode_db import SkippedRow, read_events

RECORDINGS = Path(__file__).parent / "recordings"

#: The session of recording `single-session`, and the two of `two-sessions`.
LIMITER = "ses_e0378b67bffe7jKL94WGHJQZLU"
AUTH, LOGIN = "ses_e03789c6dffedpAx9HHck26tgO", "ses_e03789c63ffehMlQ2N3UOznPi9"


def recorded(name: str, folder: Path) -> Path:
    """Rebuild the database of a recording, as OpenCode left it."""
    if name == "single-session":
        return recorded_database(folder)
    path = folder / "opencode.db"
    dump = (RECORDINGS / f"{name}.opencode-db.sql").read_text("utf-8")
    change(path, dump, "PRAGMA journal_mode=WAL")
    return path


def change(path: Path, *statements: str) -> None:
    """Run statements, each of which may be several, and close the database again."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.executescript(statement)


def renamed(path: Path, session: str, name: str) -> Path:
    """Give a session another id, and so its events others: a ledger has each id once, in whatever group."""
    columns = (("session", "id"), ("message", "session_id"), ("part", "session_id"), ("todo", "session_id"))
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, column in columns:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (name, session))
    return path


def replace_data(path: Path, table: str, id: str, data: Any) -> None:
    """Give a message or a part other JSON: text as it is, all else encoded."""
    text = data if isinstance(data, str | bytes) or data is None else json.dumps(data)
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = connection.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (text, id))
        assert changed.rowcount == 1


def data_of(path: Path, table: str, id: str) -> Any:
    """The JSON of a message or a part."""
    with closing(sqlite3.connect(path)) as connection:
        return json.loads(connection.execute(f"SELECT data FROM {table} WHERE id = ?", (id,)).fetchone()[0])


def read(path: Path, skipped: list[SkippedRow] | None = None) -> list[Event]:
    """All events. Rows that are skipped are added to the list; without one, none may be."""
    left_out: list[SkippedRow] = []
    events = list(read_events(path, group_for=lambda _: "shop", on_skipped=left_out.append))
    if skipped is None:
        assert left_out == []
    else:
        skipped += left_out
    return events


def of(events: list[Event], type: str) -> list[Event]:
    """The events of one type."""
    return [event for event in events if event.type == type]


def contents(folder: Path) -> dict[str, str]:
    """Names of the files in a folder, each with the hash of what it holds."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
