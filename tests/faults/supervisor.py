"""A supervisor, as every deployment has one: `memlane up`, Docker's restart policy, Kubernetes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.faults.programs import Worker

#: Pause between two looks at who has died, s.
PAUSE_SECONDS = 0.5


class Supervisor:
    """Starts workers again that have died, as long as it is entered."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.restarts = 0
        self._workers = workers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            for worker in self._workers:
                if not worker.alive:
                    worker.kill()  # what it left of its pool
                    worker.launch()
                    self.restarts += 1
