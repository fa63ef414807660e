"""The workers' app, its main process breaking when an event was published: `celery -A tests.faults.broken worker …`.

At that moment a process of the pool has a result of a megabyte to give, more than a pipe holds, and so waits for the main
process to read it. And the main process has forgotten the job, as Celery's does with what it had just handed over when
the connection to the queue server is lost: it waits for the process to end, and for no result.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import bootsteps

from workers import tasks
from workers.app import app

_AT_WORK, _BROKEN = (Path(os.environ["FAULTS_ORDERS"]) / name for name in ("at-work", "broken"))


def _work_off(group: str) -> str:
    _AT_WORK.touch()
    while not _BROKEN.exists():
        time.sleep(0.05)
    return "x" * 1_000_000


class Breaking(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Breaks the main process once a process of the pool is at work."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        parent.timer.call_repeatedly(0.1, self._look, (parent,))

    def _look(self, parent: Any) -> None:
        if _AT_WORK.exists():
            # What fails in a timer is only logged.
            parent.hub.call_soon(self._break, parent)

    def _break(self, parent: Any) -> None:
        for job in list(parent.pool._pool._cache.values()):
            job.discard()
        _BROKEN.touch()
        raise RuntimeError("broken on purpose")


app.loader.import_default_modules()
app.tasks["memlane.record"].run = _work_off
app.steps["consumer"].add(Breaking)

__all__ = ["app", "tasks"]
