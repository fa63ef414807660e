"""A connection to an OpenCode database that only reads it, and leaves no trace.

`mode=ro` alone would leave `-wal` and `-shm` files behind where there were none: SQLite makes them for a database in
WAL mode, and a reader can't remove them. So a database that no one has open is opened as `immutable`, and what was read
is read again if the file turns out to have changed, or to have been opened, meanwhile.

Source: https://sqlite.org/wal.html#readonly
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

#: Columns read, by table; the first ones, up to the number given, must be there. Older databases lack some.
COLUMNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "session": (2, ("id", "directory", "time_created", "project_id", "parent_id", "title", "model", "agent")),
    "message": (4, ("id", "session_id", "time_created", "data")),
    "part": (3, ("id", "message_id", "data")),
}
#: The same of the tables that may be missing.
OPTIONAL: dict[str, tuple[str, ...]] = {
    "project": ("id", "worktree", "sandboxes"),
    "todo": ("session_id", "position", "content", "status", "priority", "time_updated"),
}
#: Seconds to wait for a writer that locks the whole database.
BUSY_TIMEOUT = 5.0

#: (-wal is there, inode, size, ns of the last change): tells whether a file that was read as immutable was.
type _State = tuple[bool, int, int, int]


class OpenCodeDatabaseError(Exception):
    """An OpenCode database can't be read. The message names its path, and says what to do."""


class DatabaseNotFound(OpenCodeDatabaseError):
    """There is no file at the path."""


class DatabaseUnreadable(OpenCodeDatabaseError):
    """The file can't be read: its rights, its disk, or SQLite says no."""


class NotOpenCodeDatabase(OpenCodeDatabaseError):
    """The file is no SQLite database, or not one of OpenCode's."""


class Database:
    """A connection that leaves no trace. Every query is fetched whole, so that no snapshot holds up OpenCode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        #: The state of the file when it was opened as immutable; None if it is open in the usual way.
        self._frozen: _State | None = None
        self._selects: dict[str, str] = {}
        self._open()
        try:
            self._learn_columns()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def table(self, name: str, order: str = "1") -> list[tuple[Any, ...]]:
        """All rows of a table: the columns named above, None for what isn't there."""
        select = self._selects.get(name)
        return self.rows(f"{select} ORDER BY {order}") if select else []

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows that a query finds. Text that isn't UTF-8 is replaced where it is wrong.

        Raises:
            DatabaseUnreadable: SQLite says so.
        """
        while True:
            assert self._connection is not None
            failed: sqlite3.Error | None = None
            found: list[tuple[Any, ...]] = []
            try:
                found = self._connection.execute(query, parameters).fetchall()
            except sqlite3.Error as error:
                failed = error
            if self._frozen is not None and self._state() != self._frozen:
                self._open()
                continue
            if failed is not None:
                raise self._unreadable(failed)
            return found

    def _open(self) -> None:
        self.close()
        try:
            with self._path.open("rb") as file:
                header = file.read(20)
        except FileNotFoundError:
            raise DatabaseNotFound(
                f"no OpenCode database at {self._path}: name it, or set OPENCODE_DB (OpenCode makes it when it starts)"
            ) from None
        except OSError as error:
            raise DatabaseUnreadable(f"{self._path} can't be read: {error.strerror}") from None
        if not header.startswith(b"SQLite format 3\0"):
            raise NotOpenCodeDatabase(f"{self._path} is no SQLite database: name OpenCode's opencode.db")
        state = self._state()
        # Bytes 18 and 19 say 2 in WAL mode. With a -wal, someone has it open, or had and was killed.
        self._frozen = state if header[18:20] == b"\2\2" and not state[0] else None
        options = "mode=ro&immutable=1" if self._frozen else "mode=ro"
        try:
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?{options}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
            )
        except sqlite3.Error as error:
            raise self._unreadable(error) from None
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def _learn_columns(self) -> None:
        for table, (needed, columns) in COLUMNS.items():
            there = self._columns(table)
            missing = [column for column in columns[:needed] if column not in there]
            if missing:
                what = f"table {table}" if not there else f"column {table}.{missing[0]}"
                raise NotOpenCodeDatabase(
                    f"{self._path} has no {what}: it isn't OpenCode's, or of a version unknown here; name another"
                )
        for table, columns in [*((table, columns) for table, (_, columns) in COLUMNS.items()), *OPTIONAL.items()]:
            there = self._columns(table)
            if there:
                listed = ", ".join(column if column in there else f"NULL AS {column}" for column in columns)
                self._selects[table] = f"SELECT {listed} FROM {table}"

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self.rows(f"PRAGMA table_info({table})")}

    def _state(self) -> _State:
        try:
            found = self._path.stat()
        except OSError as error:
            raise DatabaseUnreadable(f"{self._path} can't be read any more: {error.strerror}") from None
        wal = self._path.with_name(self._path.name + "-wal").exists()
        return wal, found.st_ino, found.st_size, found.st_mtime_ns

    def _unreadable(self, error: sqlite3.Error) -> DatabaseUnreadable:
        advice = "check that it is whole (sqlite3 FILE 'PRAGMA integrity_check'), or name another"
        if getattr(error, "sqlite_errorname", "") == "SQLITE_CANTOPEN":
            advice = "its folder must be writable while there is a -wal file: copy both elsewhere, and name the copy"
        return DatabaseUnreadable(f"{self._path} can't be read: {error}: {advice}")
