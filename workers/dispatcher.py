"""The dispatcher: a thread in every worker that serves `record`. It turns rings of the bell into Celery tasks, and
sweeps on a timer. Producers know nothing of Celery: a ring is all they give."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import redis
from celery import bootsteps
from celery.worker import WorkController
from redis.exceptions import RedisError

from memory import lua
from memory.ledger import LedgerUnavailable
from memory.settings import settings
from workers import resources
from workers.app import app
from workers.sweep import sweep
from workers.wake import wake

log = logging.getLogger(__name__)

#: How long one wait for a ring lasts, s; also how long a stop may take.
WAIT_SECONDS = 0.5
#: Pause after the queue server or the broker failed, s.
PAUSE_SECONDS = 1.0


class Dispatcher(bootsteps.StartStopStep):  # type: ignore[misc]
    """Celery starts and stops it with the worker."""

    requires = {"celery.worker.components:Pool"}

    def __init__(self, parent: WorkController, **options: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(parent, **options)

    def include_if(self, parent: WorkController) -> bool:
        return "record" in parent.app.amqp.queues.consume_from

    def start(self, parent: WorkController) -> None:
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def stop(self, parent: WorkController) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(WAIT_SECONDS * 4)

    terminate = stop

    def _run(self) -> None:
        swept = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() - swept > settings().sweep_seconds:
                    swept = time.monotonic()
                    sweep()
                self._answer(resources.valkey())
            except (RedisError, LedgerUnavailable, app.connection_errors) as error:
                log.warning("dispatcher waits seconds=%s: %s", PAUSE_SECONDS, error)
                self._stop.wait(PAUSE_SECONDS)
            except Exception:
                # The thread must outlive whatever happens: without it nothing is woken.
                log.exception("dispatcher failed, goes on")
                self._stop.wait(PAUSE_SECONDS)

    def _answer(self, client: redis.Redis) -> None:
        rung = client.brpop([lua.BELL], timeout=WAIT_SECONDS)  # type: ignore[arg-type]
        if not rung:
            return
        kind, _, name = rung[1].decode("utf-8", "replace").partition(" ")  # type: ignore[index]
        if kind == "lane":
            wake("record", name)
        elif kind == "ask":
            app.send_task("memlane.recall", args=[name], queue="recall")
        else:
            log.warning("unknown ring of the bell was ignored")


app.steps["worker"].add(Dispatcher)
