"""The dispatcher: a thread in every worker that serves `record`. It turns rings of the bell into Celery tasks, and
sweeps on a timer. Producers know nothing of Celery: a ring is all they give."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, ClassVar

import redis
from celery import bootsteps
from celery.worker import WorkController
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from memory import lua
from memory.ledger import LedgerUnavailable
from memory.settings import settings
from workers import resources
from workers.app import app
from workers.forks import no_fork
from workers.sweep import sweep
from workers.wake import NoRoom, wake

log = logging.getLogger(__name__)

#: How long one wait for a ring lasts, s; also how long a stop may take.
WAIT_SECONDS = 0.5
#: A busy group's lane is drained at most this often, s, so that its events come in batches; an idle one at once.
BATCHING_SECONDS = 0.1
#: Pause after the queue server or the broker failed, s.
PAUSE_SECONDS = 1.0


class Dispatcher(bootsteps.StartStopStep):
    """Celery starts and stops it with the worker."""

    requires: ClassVar = {"celery.worker.components:Pool"}

    def __init__(self, parent: WorkController, **options: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        #: When each group was last woken, and which are to be woken when; monotonic, s.
        self._woken: dict[str, float] = {}
        self._due: dict[str, float] = {}
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
                    with no_fork():
                        sweep()
                self._answer(resources.valkey())
            except (RedisError, LedgerUnavailable, OperationalError, NoRoom) as error:
                log.warning("dispatcher waits seconds=%s: %s", PAUSE_SECONDS, error)
                self._stop.wait(PAUSE_SECONDS)
            except Exception:
                # The thread must outlive whatever happens: without it nothing is woken.
                log.exception("dispatcher failed, goes on")
                self._stop.wait(PAUSE_SECONDS)

    def _answer(self, client: redis.Redis) -> None:
        """Wait for a ring, or for the next group that is due."""
        now = time.monotonic()
        wait = min([WAIT_SECONDS, *(due - now for due in self._due.values())])
        rung = client.brpop([lua.BELL], timeout=max(wait, 0.001))
        with no_fork():
            if rung:
                self._ring(rung[1].decode("utf-8", "replace"))
            now = time.monotonic()
            for group in [group for group, due in self._due.items() if due <= now]:
                del self._due[group]
                self._woken[group] = now
                wake("record", group)
        if len(self._woken) > 10_000:
            self._woken = {group: at for group, at in self._woken.items() if at > now - BATCHING_SECONDS}

    def _ring(self, ring: str) -> None:
        kind, _, name = ring.partition(" ")
        if kind == "lane":
            self._due[name] = max(time.monotonic(), self._woken.get(name, 0.0) + BATCHING_SECONDS)
        elif kind == "ask":
            app.send_task("memlane.recall", args=[name], queue="recall")
        else:
            log.warning("unknown ring of the bell was ignored")


app.steps["worker"].add(Dispatcher)
