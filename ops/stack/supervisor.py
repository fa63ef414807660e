"""The embedded stack: everything Memlane needs on one machine, as processes of one supervisor.

Started in this order, and stopped in reverse:

    queue server ─┐
    graph server ─┴─▶ ledger's schema ─▶ Celery workers ─▶ Flower
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from memory.settings import OPENAI, STACK_FILE
from ops.spools import Sender
from ops.stack import celery_workers, flower, graph_server, ports, queue_server, users
from ops.stack import home as homes
from ops.stack.errors import Interrupted, public
from ops.stack.process import Process, Program

#: How often processes are looked at, seconds.
LOOK_SECONDS = 0.1
#: How long a process may take to end once the stop is in a hurry (a second signal), seconds.
HURRY_SECONDS = 2.0


class Stack:
    """The stack of one home. As a context manager it is up within the block.

    All processes are started, watched and stopped by one thread, since the kernel ends a process when the thread that
    started it ends (see leash.py).
    """

    def __init__(
        self,
        home: Path,
        *,
        valkey_port: int | None = None,
        flower_port: int | None = None,
        workers: int = 1,
        flower: bool = True,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """
        Args:
            home: its folder; made if it isn't there.
            valkey_port, flower_port: None is the usual one or, if that is taken, any free one; 0 is any free one.
            workers: how many Celery workers serve the lanes.
            flower: whether Flower runs too.
            say: takes lines for the operator, from another thread.
        """
        self.home = home.absolute()
        self._ports = valkey_port, flower_port
        self._workers = workers
        self._with_flower = flower
        self._say = say
        self._thread = threading.Thread(target=self._live, name="memlane-stack", daemon=True)
        self._settled = threading.Event()
        #: Times it was asked to stop; above one, in a hurry. A plain number, since signal handlers may interrupt each
        #: other, and would deadlock on an Event's lock.
        self._stops = 0
        self._failure: BaseException | None = None
        self._processes: list[Process] = []
        self._state: dict[str, Any] = {}

    @property
    def addresses(self) -> dict[str, str]:
        """Server -> URL without password: `valkey`, `graph` and, if it runs, `flower`."""
        return public(self._state)

    @property
    def processes(self) -> list[dict[str, Any]]:
        """What runs: `name, purpose, pid, state, restarts, log` of each process."""
        return [process.report for process in self._processes]

    def start(self) -> None:
        """Start everything, and return when all of it is ready.

        Raises:
            AlreadyRunning, StillEnding: the home is in use.
            PortTaken: a port that was asked for is in use.
            NotReady: a process can't start.
            Interrupted: `stop` was called meanwhile.
            LedgerUnavailable: the ledger's database can't be used.
        """
        self._thread.start()
        try:
            self._settled.wait()
        except BaseException:
            self.stop()
            raise
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Stop everything, in reverse order; returns when no process is left. Called again it does nothing."""
        self._stops = self._stops or 1
        if self._thread.ident is not None:
            self._thread.join()

    def run_until_signal(self, ready: Callable[[], None]) -> None:
        """Start, call `ready`, and stop at SIGINT, SIGTERM or SIGHUP; a second one makes the stop a fast one.

        Must be called in the main thread. Raises what `start` raises.
        """
        with _handled(self._signalled):
            self.start()
            try:
                ready()
                self._thread.join()
            finally:
                self.stop()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signalled(self) -> None:
        self._stops += 1

    def _live(self) -> None:
        try:
            homes.prepare(self.home)
            with homes.held(self.home) as lock, graph_server.socket_path(self.home) as socket:
                try:
                    self._bring_up(lock, socket)
                    self._settled.set()
                    self._watch()
                finally:
                    self._take_down()
        except BaseException as failure:  # raised again in the thread that waits
            self._failure = failure
        finally:
            self._settled.set()

    def _bring_up(self, lock: int, socket: Path) -> None:
        self._state = {
            "pid": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": "starting",
        }
        self._publish()
        port = ports.choose(self._ports[0], queue_server.DEFAULT_PORT, "the queue server", "--port", self._say)
        queue_url = queue_server.url(self.home, port, users.OPERATOR)
        self._state |= {
            # The operator's: commands and Flower read this one.
            "valkey_url": queue_url,
            "worker_url": queue_server.url(self.home, port, users.WORKER),
            "producer_url": queue_server.url(self.home, port, users.PRODUCER),
            "graph_url": graph_server.url(socket),
            "logs": str(self.home / "logs"),
        }
        # For commands in other shells.
        if database := os.environ.get("MEMLANE_DATABASE_URL"):
            self._state["database_url"] = database
        for kind in ("llm", "embedding"):
            name, url, key = (
                os.environ.get(f"MEMLANE_{kind}_{part}".upper()) for part in ("model", "base_url", "api_key")
            )
            if name and (url or key):
                # All processes know that there is a model; only those that ask it know its key.
                self._state |= {f"{kind}_model": name, f"{kind}_base_url": url or OPENAI}
        self._start(lock, [queue_server.program(self.home, port), graph_server.program(self.home, socket)])
        self._migrate()
        self._start(lock, celery_workers.programs(queue_url, self._workers, self._state))
        if self._with_flower:
            # Last, since it asks workers what they serve once, when it starts.
            self._start(lock, [self._flower()])
        self._state["state"] = "running"
        self._publish()

    def _flower(self) -> Program:
        port = ports.choose(self._ports[1], flower.DEFAULT_PORT, "Flower", "--flower-port", self._say)
        self._state |= {
            "flower_url": flower.url(port),
            "flower_user": flower.USER,
            "flower_password": flower.password(self.home),
        }
        return flower.program(self.home, port)

    def _start(self, lock: int, programs: list[Program]) -> None:
        """Start programs side by side, and wait until all are ready."""
        self._publish()
        new = [
            Process(
                program,
                logs=self.home / "logs",
                folder=self.home / "run",
                environment=celery_workers.environment(self.home) | program.environment,
                lock=lock,
                say=self._say,
            )
            for program in programs
        ]
        for process in new:
            self._processes.append(process)
            process.start()
        # Lists, here and below: each process must be looked at, also after the first one that is not ready.
        while not all([process.settle() for process in self._processes]):  # noqa: C419
            time.sleep(LOOK_SECONDS)
            if self._stops:
                raise Interrupted("stopped before everything was ready")

    def _migrate(self) -> None:
        from memory.ledger import Ledger, migrate
        from memory.settings import Settings

        ledger = Ledger(Settings(home=self.home).database)
        try:
            migrate(ledger)
        finally:
            ledger.close()

    def _watch(self) -> None:
        sender = Sender(self.home, self._state["producer_url"], self._say)
        sender.start()
        try:
            while not self._stops:
                if any([process.tend() for process in self._processes]):  # noqa: C419
                    self._publish()
                time.sleep(LOOK_SECONDS)
        finally:
            sender.stop()

    def _take_down(self) -> None:
        if self._stops:
            self._say("stopping (a second signal makes it faster)")
        self._state["state"] = "stopping"
        self._publish()
        servers = [process for process in self._processes if process.program.name in ("valkey", "falkordb")]
        others = [process for process in self._processes if process not in servers]
        for tier in (others, *([server] for server in reversed(servers))):
            self._end(tier[::-1])
        (self.home / STACK_FILE).unlink(missing_ok=True)

    def _end(self, processes: list[Process]) -> None:
        for process in processes:
            process.ask_to_end()
        asked = time.monotonic()
        while processes := [process for process in processes if not process.ended()]:
            for process in processes:
                allowed = process.program.stop_seconds if self._stops < 2 else HURRY_SECONDS
                if time.monotonic() - asked > allowed:
                    self._say(f"{process.program.name} did not end within {allowed:g} s: killed")
                    process.kill()
            time.sleep(LOOK_SECONDS)

    def _publish(self) -> None:
        try:
            homes.write_state(self.home, self._state | {"processes": self.processes})
        except OSError as error:
            # A full disk must not stop the servers that hold events.
            self._say(f"can't write {self.home / STACK_FILE}: {error.strerror}")


@contextmanager
def _handled(handler: Callable[[], None]) -> Iterator[None]:
    """Give the signals that end a program to a handler."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the terminal may go
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: handler()) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
