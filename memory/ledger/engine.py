"""Connections to the ledger's database: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

#: How long a writer waits for another one, ms. Below the lease, so that a waiting worker is not taken for dead.
LOCK_TIMEOUT_MS = 5_000
#: PostgreSQL ends a transaction whose worker was stopped in the middle of it after this, ms.
IDLE_IN_TRANSACTION_MS = 8_000

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_NOT_UNDERSTOOD = (
    "the database URL can't be understood: set MEMLANE_DATABASE_URL to sqlite:///path or "
    "postgresql://user:password@host/database, with special characters of the password percent-encoded"
)


class LedgerUnavailable(Exception):
    """The ledger's database can't be reached, or is busy beyond the time limit; the message names its address."""


class Ledger:
    """One process's connections to the ledger."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: SQLAlchemy URL, `sqlite:///path` or `postgresql://user:password@host/database`.

        Raises:
            LedgerUnavailable: the URL can't be understood, names another kind of database, or a folder that can't be
                made.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            raise LedgerUnavailable(_NOT_UNDERSTOOD) from None
        if "@" in (parsed.host or ""):
            raise LedgerUnavailable(_NOT_UNDERSTOOD)
        kind = parsed.get_backend_name()
        if kind not in _DRIVERS:
            raise LedgerUnavailable(f"the ledger can't be kept in {kind}: use sqlite:///path or postgresql://…")
        parsed = parsed.set(drivername=_DRIVERS[kind])
        #: Address without the password, for messages; options may hold another one.
        self.address = parsed.set(query={}).render_as_string(hide_password=True)
        self.is_sqlite = kind == "sqlite"
        #: The dialect's INSERT, which knows ON CONFLICT.
        self.insert = sqlite.insert if self.is_sqlite else postgresql.insert
        self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes. On SQLite it takes the write lock at once: a deferred one that reads and then
        writes fails when another writer committed in between, whatever the busy timeout.

        Raises:
            LedgerUnavailable: the database can't be reached or stays locked.
        """
        with self._reached(), self.engine.connect() as connection:
            with connection.execution_options(write=True).begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one snapshot.

        Raises:
            LedgerUnavailable: the database can't be reached.
        """
        with self._reached(), self.engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise LedgerUnavailable(f"the ledger at {self.address} can't be used: {_reason(error)}") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise LedgerUnavailable(f"the ledger at {self.address} went away: {_reason(error)}") from error
            raise


def _reason(error: DBAPIError) -> str:
    return str(error.orig).strip().split("\n")[0]


def _sqlite(url: Any) -> Engine:
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # It holds what was said in sessions; SQLite gives its log the same mode.
            path.touch(mode=0o600)
        except OSError as error:
            raise LedgerUnavailable(f"the ledger at {url.database} can't be made: {error}") from error
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": LOCK_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        # Transactions are begun below, by hand: sqlite3's own implicit ones can't be IMMEDIATE.
        connection.isolation_level = None
        _write_ahead(connection)
        # An event is deleted from its lane once it is committed here, so a commit must survive a power cut.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA temp_store=MEMORY")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for the lock that changing the mode of a new database takes, whatever its timeout: where
    several processes open one at once, somebody must try again."""
    end = time.monotonic() + LOCK_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _postgresql(url: Any) -> Engine:
    options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
    return create_engine(
        url,
        hide_parameters=True,
        connect_args={"options": options, "connect_timeout": 5, "application_name": "memlane"},
    )
