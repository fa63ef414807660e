"""Processes that a worker forks while its main process has the ledger open, and its dispatcher is at work.

SQLite keeps what it has locked of a file in the process's memory, so a child could take its parent's locks for its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from memory.ledger import Ledger, cursors, migrate
from producers import Publisher
from tests import servers

GROUP = "forks"


class _Worker:
    """A real worker of `record` with one process, on a ledger in SQLite."""

    def __init__(self, folder: Path, queue_url: str, pid: int, ledger: Ledger) -> None:
        self.database = folder / "ledger.sqlite3"
        self.main = psutil.Process(pid)
        self._ledger = ledger
        self._publisher = Publisher(queue_url, source="test", group=GROUP, spool=False)
        self.published = 0

    def process(self) -> psutil.Process:
        servers.wait_until(lambda: len(self.main.children()) == 1, "one process of the pool")
        return self.main.children()[0]

    def publish(self) -> None:
        self._publisher.publish_many([{"type": "note", "data": {"text": f"number {self.published}"}}])
        self.published += 1

    def recorded(self) -> int:
        with self._ledger.read() as connection:
            return cursors.position(connection, "record", GROUP)

    def all_recorded(self) -> bool:
        return self.recorded() == self.published

    def has_open(self, process: psutil.Process) -> bool:
        """Whether a process has the ledger open."""
        return str(self.database) in {file.path for file in process.open_files()}


@contextmanager
def _worker(folder: Path, **environ: str) -> Iterator[_Worker]:
    database = f"sqlite:///{folder / 'ledger.sqlite3'}"
    with closing(Ledger(database)) as ledger, servers.queue_server(folder / "queue") as queue_url:
        migrate(ledger)
        environ |= {
            "MEMLANE_HOME": str(folder),
            "MEMLANE_VALKEY_URL": queue_url,
            "MEMLANE_DATABASE_URL": database,
            "MEMLANE_DATADOG": "false",
            "MEMLANE_LEASE_SECONDS": "1",
        }
        with servers.worker(environ, "record", folder / "worker.log") as running:
            yield _Worker(folder, queue_url, running.pid, ledger)


def test_each_process_locks_the_ledger_itself(tmp_path: Path) -> None:
    """Given a worker whose main process has the ledger open, I expect its pool's process, and the one that replaces it,
    to hold the locks by which SQLite knows that somebody uses a database."""
    with _worker(tmp_path, MEMLANE_SWEEP_SECONDS="0.2") as worker:
        for _ in range(2):
            worker.publish()
            servers.wait_until(worker.all_recorded, "the event in the ledger")
            servers.wait_until(lambda: worker.has_open(worker.main), "a sweep")
            assert worker.has_open(worker.process())
            assert _locked(worker.process().pid, worker.database), "the database"
            assert _locked(worker.process().pid, worker.database.with_name("ledger.sqlite3-shm")), "its log's index"
            worker.process().kill()


def test_processes_are_replaced_beside_a_busy_dispatcher(tmp_path: Path) -> None:
    """Given a dispatcher that sweeps all the time, and a process that is killed 30 times, I expect every event recorded,
    and none to wait long."""
    with _worker(tmp_path, MEMLANE_SWEEP_SECONDS="0.001") as worker:
        longest = 0.0
        for _ in range(30):
            worker.process().kill()
            worker.publish()
            began = time.monotonic()
            servers.wait_until(worker.all_recorded, "the event in the ledger")
            longest = max(longest, time.monotonic() - began)
        assert longest < 15, "seconds"
        assert "forked while" not in (tmp_path / "worker.log").read_text()


def _locked(pid: int, file: Path) -> bool:
    """Whether a process holds a lock on a file."""
    locks = Path("/proc/locks").read_text()
    return bool(re.search(rf"POSIX +ADVISORY +\w+ {pid} [0-9a-f]+:[0-9a-f]+:{file.stat().st_ino} ", locks))
