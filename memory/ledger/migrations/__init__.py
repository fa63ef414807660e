"""The ledger's schema over time, as Alembic revisions in `versions/`."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from memory.ledger.engine import Ledger

#: Key of the PostgreSQL advisory lock that keeps two processes from migrating at once ("memlane" in ASCII).
_LOCK = 0x6D656D6C616E65
#: Alembic keeps what it works on in its module, so in one process it works for one thread at a time.
_one_thread = threading.Lock()


def migrate(ledger: Ledger) -> None:
    """Bring the ledger's schema to the newest revision. Safe to be called by many processes and threads at once.

    Raises:
        LedgerUnavailable: the database can't be reached.
    """
    # Here, since who only looks at a ledger does not need it.
    from alembic import command
    from alembic.config import Config

    with _one_thread, ledger.write() as connection:
        if not ledger.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def revisions() -> list[str]:
    """All revisions, the newest last. Told without Alembic, which loads slowly, as `revision_of` is."""
    return sorted(path.name.partition("_")[0] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))


def revision_of(connection: Connection) -> str | None:
    """Revision of a database; None if it holds no ledger."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
