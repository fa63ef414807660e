"""What a worker's process does, done in the test's own: a drain, a sweep or an answer can be called between two looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from memory.settings import settings
from workers import resources
from workers.app import app


@contextmanager
def workers_here(environ: Mapping[str, str]) -> Iterator[None]:
    """Take these settings, and close afterwards what was opened by them.

    Celery connects once a process, so the queue server must be the tests' shared one.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        forget()
        app.conf.broker_url = environ["MEMLANE_VALKEY_URL"]
        try:
            yield
        finally:
            forget()


def forget() -> None:
    """Read the settings anew, and connect anew, as a new process would."""
    resources.close()
    settings.cache_clear()
