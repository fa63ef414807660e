"""Celery's consumer, made to come back soon after the queue server does, and to end where it can't go on."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from typing import Any

from billiard.process import active_children
from celery.exceptions import WorkerTerminate
from celery.platforms import EX_FAILURE
from celery.worker import consumer

log = logging.getLogger(__name__)

#: Pause between two tries to connect, s: at first, and at most. Celery's own grows to 30 s; lanes would sleep as long.
FIRST_SECONDS, MOST_SECONDS = 0.5, 2.0


class Consumer(consumer.Consumer):
    """Tries to connect every two seconds, however long the queue server is away."""

    def start(self) -> None:
        """Run until the worker ends.

        Raises:
            WorkerTerminate: something failed that Celery does not know. By itself it would then wait for the processes
                of the pool, of which one may wait, too: for its result to be read, which nobody does any more. So they
                are killed: what they were at is done again by another worker.
        """
        try:
            super().start()
        except Exception as error:
            log.critical("the worker can't go on, and ends", exc_info=True)
            for process in active_children():
                # Asked to end (SIGTERM), one whose result was not read waits 30 s for that.
                os.kill(process.pid, signal.SIGKILL)
            self.controller.exitcode = EX_FAILURE
            raise WorkerTerminate(EX_FAILURE) from error

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=FIRST_SECONDS, interval_step=FIRST_SECONDS, interval_max=MOST_SECONDS
        )
        return super().ensure_connected(conn)
