"""The home folder: who holds it, where its servers answer, and the passwords made for it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory.settings import STACK_FILE
from ops.stack.errors import AlreadyRunning, StackError, StillEnding

#: Held (flock) while a supervisor or one of its processes lives.
LOCK_FILE = Path("run") / "lock"
#: Folders in the home, all of them private.
FOLDERS = ("run", "logs", "secrets", "valkey", "graph", "flower")
#: How long the processes of a supervisor that was killed may take to end, seconds.
REMNANT_SECONDS = 10.0
#: Length of a generated password, bytes of randomness.
PASSWORD_BYTES = 32


def prepare(home: Path) -> None:
    """Make the home and its folders, readable by their owner only.

    Raises:
        StackError: a folder can't be made, or belongs to somebody else.
    """
    for folder in (home, *(home / name for name in FOLDERS)):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise StackError(f"can't use {folder} ({error.strerror}): set MEMLANE_HOME to a folder of yours") from None


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 600 in one step: a reader sees the old text or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def secret(home: Path, name: str) -> str:
    """A password of this home, made when it is first asked for; only characters that are safe in a URL."""
    path = home / "secrets" / name
    try:
        if known := path.read_text(encoding="utf-8").strip():
            return known
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = secrets.token_urlsafe(PASSWORD_BYTES)
    write_private(path, new + "\n")
    return new


def read_state(home: Path) -> dict[str, Any]:
    """What stack.json says, which may be stale; empty if there is none."""
    try:
        state = json.loads((home / STACK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(home: Path, state: dict[str, Any]) -> None:
    """Replace stack.json."""
    write_private(home / STACK_FILE, json.dumps(state, indent=2) + "\n")


def running(home: Path) -> dict[str, Any] | None:
    """The stack that runs in this home, as its stack.json has it (passwords included), or None."""
    try:
        descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two who ask at once don't take each other for a stack.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _alive(read_state(home))
    finally:
        os.close(descriptor)
    return None


@contextmanager
def held(home: Path) -> Iterator[int]:
    """Hold the home; yields the lock's file descriptor.

    The descriptor is to be inherited by every process of the stack: an flock lasts until its last holder is gone, so
    that after a SIGKILL of the supervisor no second server opens data which the first one is still writing.

    Raises:
        AlreadyRunning: somebody else holds it.
        StillEnding: its supervisor is gone, but some process of it is not.
    """
    descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(home, descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(home: Path, descriptor: int) -> None:
    deadline = time.monotonic() + REMNANT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if state := _alive(read_state(home)):
                raise AlreadyRunning(home, state) from None
        if time.monotonic() > deadline:
            raise StillEnding(
                f"processes of an earlier stack still use {home}: find them with `fuser {home / LOCK_FILE}`, end them"
            )
        time.sleep(0.05)


def _alive(state: dict[str, Any]) -> dict[str, Any] | None:
    """The state, if the supervisor that wrote it lives."""
    try:
        os.kill(state["pid"], 0)
    except (KeyError, ProcessLookupError):
        return None
    except PermissionError:
        pass  # alive, and somebody else's
    return state
