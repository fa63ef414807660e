"""One process of the stack: started on a leash, watched, restarted with growing pauses, and ended with all it began."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.stack.errors import NotReady, how_it_ended

#: Pause before the first restart, seconds; it doubles with each one, up to the maximum.
FIRST_PAUSE = 0.5
MAX_PAUSE = 30.0
#: A process that ran this long, seconds, is taken for healthy: its next restart is a first one again.
HEALTHY_SECONDS = 60.0
#: A log above this size is moved to NAME.log.1 when its process starts, bytes.
LARGE_LOG = 10 * 2**20

_LEASH = Path(__file__).with_name("leash.py")


@dataclass(frozen=True)
class Program:
    """What a process of the stack runs."""

    name: str
    #: What it does, for people.
    purpose: str
    #: Absolute path of the executable, and arguments; no secrets, since every user of the machine can read them.
    command: list[str]
    #: Is it up? Asked again and again while it starts, so it must answer within about a second.
    ready: Callable[[], bool]
    #: What the kernel sends when the supervisor dies. Servers need SIGTERM, to write what they hold.
    death_signal: signal.Signals
    #: How long a start may take, seconds.
    start_seconds: float
    #: How long it may take to end after SIGTERM, seconds; then it gets SIGKILL.
    stop_seconds: float
    #: What it needs besides the stack's environment.
    environment: dict[str, str] = field(default_factory=dict)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Process:
    """A program in its own session, with a log. Used by one thread, whose end ends the process too (see leash.py)."""

    def __init__(
        self,
        program: Program,
        *,
        logs: Path,
        folder: Path,
        environment: dict[str, str],
        lock: int,
        say: Callable[[str], None],
    ) -> None:
        """
        Args:
            logs: folder of the log.
            folder: working directory.
            environment: all of it.
            lock: descriptor of the home's lock, to be inherited.
            say: takes one line for the operator.
        """
        self.program = program
        self.log = logs / f"{program.name}.log"
        #: `waiting` (for its turn, or for a restart), `starting`, `running` or `stopped`.
        self.state = "waiting"
        self.restarts = 0
        self._folder = folder
        self._environment = environment
        self._lock = lock
        self._say = say
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = FIRST_PAUSE
        self._due = 0.0
        self._log_start = 0

    @property
    def report(self) -> dict[str, Any]:
        """What stack.json says of it."""
        return {
            "name": self.program.name,
            "purpose": self.program.purpose,
            "pid": self._popen.pid if self._popen is not None else None,
            "state": self.state,
            "restarts": self.restarts,
            "log": str(self.log),
        }

    def start(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LARGE_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        leash = [
            sys.executable,
            "-I",
            "-S",
            str(_LEASH),
            str(int(self.program.death_signal)),
            str(os.getpid()),
        ]
        with open(self.log, "ab", opener=_private) as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                [*leash, *self.program.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                umask=0o077,
                pass_fds=(self._lock,),
                # Its own session: Ctrl-C in the terminal reaches the supervisor alone, which then stops all in order.
                start_new_session=True,
            )
        self._started = time.monotonic()
        self.state = "starting"

    def settle(self) -> bool:
        """While the stack starts: is it running now?

        Raises:
            NotReady: it ended, or takes too long; the message has the end of its log.
        """
        status = self._reaped()
        if status is not None:
            raise self._not_ready(f"ended while starting ({how_it_ended(status)})")
        if self.state == "starting" and self.program.ready():
            self.state = "running"
        if self.state == "starting" and self._age() > self.program.start_seconds:
            raise self._not_ready(f"was not ready after {self.program.start_seconds:.0f} s")
        return self.state == "running"

    def tend(self) -> bool:
        """Once the stack is up: heal what is to be healed, without waiting. True if anything changed."""
        before = self.state
        if self.state == "waiting":
            if time.monotonic() >= self._due:
                self.start()
        elif (status := self._reaped()) is not None:
            self._plan_restart(f"ended unexpectedly ({how_it_ended(status)})")
        elif self.state == "starting" and self.program.ready():
            self.state = "running"
            self._say(f"{self.program.name} runs again")
        elif self.state == "starting" and self._age() > self.program.start_seconds:
            self.kill()
        return self.state != before

    def ask_to_end(self) -> None:
        """SIGTERM to the main process alone: a Celery worker tells its pool itself, after the tasks in hand."""
        if self._popen is None:
            self.state = "stopped"
        else:
            # Not reaped yet, so the pid can't be anybody else's.
            os.kill(self._popen.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and to all it began."""
        if self._popen is not None:
            # macOS refuses a group of which only the zombie of its leader is left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Has it ended, after it was asked to?"""
        if self._popen is not None and self._reaped() is None:
            return False
        self.state = "stopped"
        return True

    def _reaped(self) -> int | None:
        """Its return code, if it has ended; whatever it left of its process group is killed."""
        if self._popen is None:
            return None
        # The dead leader is kept as a zombie until the group is killed: until then its number can't be used again.
        if os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.kill()
        status = self._popen.wait()
        self._popen = None
        return status

    def _plan_restart(self, what: str) -> None:
        if self._age() > HEALTHY_SECONDS:
            self._pause = FIRST_PAUSE
        self._say(f"{self.program.name} {what}; starting it again in {self._pause:g} s (log: {self.log})")
        self.state = "waiting"
        self.restarts += 1
        self._due = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, MAX_PAUSE)

    def _not_ready(self, what: str) -> NotReady:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return NotReady(self.program.name, what, self.log, log.read().decode(errors="replace"))

    def _age(self) -> float:
        return time.monotonic() - self._started
