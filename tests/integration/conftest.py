"""What lets this process do a worker's work, on a queue and a ledger of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers_here import workers_here


@pytest.fixture
def environ(home: Path, queue_url: str, database_url: str) -> dict[str, str]:
    """Variables of a worker; modules add their own."""
    return {
        "MEMLANE_HOME": str(home),
        "MEMLANE_VALKEY_URL": queue_url,
        "MEMLANE_DATABASE_URL": database_url,
        "MEMLANE_DATADOG": "false",
    }


@pytest.fixture
def worker(environ: dict[str, str]) -> Iterator[None]:
    """This process may do a worker's work."""
    with workers_here(environ):
        yield
