"""Flower: what Celery is doing, in the browser."""

from __future__ import annotations

import http.client
import signal
from base64 import b64encode
from pathlib import Path

from ops.stack import home as homes
from ops.stack.celery_workers import celery
from ops.stack.ports import HOST
from ops.stack.process import Program

#: Its port, unless that is taken.
DEFAULT_PORT = 5555
#: Its only user.
USER = "memlane"
#: How long it may take to start, and to end (it writes its state), seconds.
START_SECONDS, STOP_SECONDS = 120.0, 10.0
#: How long it may take to answer whether it is up, seconds.
PING_SECONDS = 1.0

_CONFIG = Path(__file__).parents[1] / "flower" / "config.py"


def password(home: Path) -> str:
    return homes.secret(home, "flower")


def url(port: int) -> str:
    return f"http://{HOST}:{port}"


def program(home: Path, port: int) -> Program:
    return Program(
        name="flower",
        purpose="tasks and workers in the browser",
        command=celery("flower", f"--conf={_CONFIG}", f"--address={HOST}", f"--port={port}"),
        ready=lambda: _answers(port, password(home)),
        # What it would write at its end is at most `state_save_interval` old on disk.
        death_signal=signal.SIGKILL,
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )


def _answers(port: int, secret: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PING_SECONDS)
    token = b64encode(f"{USER}:{secret}".encode()).decode()
    try:
        connection.request("GET", "/", headers={"Authorization": f"Basic {token}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
