"""The demo: the main job on a recorded OpenCode session, with a system of its own in a temporary home.

Each step says what it does, and fails the demo if it does not do it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from memory.ledger import Ledger
from memory.settings import settings
from ops import clients
from ops.demo_data import recorded_database
from ops.home import Home
from ops.imports import import_opencode
from ops.stack import Stack
from producers import Publisher
from producers.recall import Recall

if TYPE_CHECKING:
    from ops.status import Status

QUESTION = "why did the limiter test fail?"
GROUP = "limiter-demo"
#: Facts of the answer that are shown.
SHOWN = 6
#: How long all stages may take to deal with the session, s; it takes about one.
FLOW_SECONDS = 60.0


class DemoFailed(Exception):
    """A step did not do what it says; the message says which."""


class Demo:
    """One run of the demo."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = 0
        self._ending = False

    def run(self, *, keep: bool, done: Callable[[dict[str, Any]], None]) -> None:
        """Run all steps.

        Args:
            keep: then leave the system up until SIGINT or SIGTERM.
            done: told what each step gave, as `memlane demo --json` prints it, once all are done.

        Raises:
            DemoFailed, and what starting the stack raises.
            SystemExit: it was told to end before it was done.
        """
        _leave_at_signals()
        with tempfile.TemporaryDirectory(prefix="memlane-demo-") as home:
            _alone_in(home)
            self._say("Starting queue server, graph server, workers and Flower in a temporary home")
            with Stack(Path(home), say=self._said) as stack:
                try:
                    where = f"queue at {stack.addresses['valkey']}, Flower at {stack.addresses['flower']}"
                    self._console.print(f"  {len(stack.processes)} processes, {where}")
                    result = self._main_job(Path(home))
                    result |= {"home": home if keep else None, "flower": stack.addresses["flower"] if keep else None}
                    if keep:
                        self._tell_where(home, stack)
                    done(result)
                    if keep:
                        _until_told()
                finally:
                    # What is left is to stop everything and to remove the home, which must not be interrupted.
                    _ignore_signals()
                    self._console.print(f"\nStopping{'' if keep else '; KEEP=1 leaves it up, and Flower with it'}")
                    self._ending = True

    def _main_job(self, home: Path) -> dict[str, Any]:
        from ops.tables import render

        self._say("Importing a recorded OpenCode session: a rate limiter, its failing test, the fix")
        imported = import_opencode(recorded_database(home), GROUP)
        kinds = ", ".join(f"{count} {type}" for type, count in imported.types.most_common())
        self._console.print(f"  {imported.types.total()} events published: {kinds}")

        self._say("The events flow through the stages")
        # Of a session that was compacted workers make a checkpoint, which is told of by one more event.
        expected = imported.types.total() + imported.types["session.compacted"]
        with clients.ledger() as ledger:
            self._flow(ledger, expected)

        self._say(f"Asking: {QUESTION}")
        with Recall(group=GROUP) as memory:
            first, _ = self._ask(memory, "miss", show=True)
            self._say("Asking again: the answer is cached")
            self._ask(memory, "hit")
            path = next(item["path"] for item in first["items"] if item["type"] == "file.write")
            self._say(f"An agent edits {path}: answers that depend on it are dropped")
            with Publisher(source="demo", group=GROUP) as publisher:
                edit = {"path": path, "tool": "edit", "additions": 1, "deletions": 0, "summary": "cap the refill"}
                publisher.publish({"type": "file.write", "session": "ses_demo", "agent": "build", "data": edit})
            self._say("Asking again: made anew")
            self._ask(memory, "miss")

        self._say("The books")
        with clients.ledger() as ledger:
            status = self._settled(ledger, expected + 1)
        self._console.print(render(status))
        return {
            "events": imported.types.total(),
            "question": QUESTION,
            "facts": len(first["items"]),
            "books": status.as_json(),
        }

    def _flow(self, ledger: Ledger, events: int) -> None:
        """Tell, as it happens, how far each stage has come."""
        told: dict[str, tuple[int, int]] = {}
        began = time.monotonic()
        while True:
            status = self._look(ledger)
            group = status.groups[0]
            now = {"record": (group.recorded, events)}
            now |= {stage.stage: (stage.done, stage.interest) for stage in group.stages}
            for stage, (done, of) in now.items():
                if told.get(stage) != (done, of) and done:
                    took = (time.monotonic() - began) * 1000
                    self._console.print(f"  {took:6.0f} ms  {stage:15} {done:3} of {of}")
            told = now
            if group.recorded == events and not any(stage.pending for stage in group.stages):
                return
            if time.monotonic() > began + FLOW_SECONDS:
                raise DemoFailed(f"the events did not get through within {FLOW_SECONDS:.0f} s: {now}")
            time.sleep(0.02)

    def _ask(self, memory: Recall, expected: str, show: bool = False) -> tuple[dict[str, Any], float]:
        began = time.perf_counter()
        answer = memory.ask(QUESTION)
        took = (time.perf_counter() - began) * 1000
        self._console.print(f"  cache {answer['cache']}, {took:.1f} ms, {len(answer['items'])} facts")
        if answer["cache"] != expected:
            raise DemoFailed(f"the answer should have been a cache {expected}, and was a {answer['cache']}")
        if not any("failed" in item["text"] for item in answer["items"]):
            raise DemoFailed("the answer does not hold the failed test")
        if show:
            for item in answer["items"][:SHOWN]:
                text = " ".join(item["text"].split())
                when = datetime.fromtimestamp(item["time"] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
                source = ", ".join(part for part in (item["session"], when, item["path"]) if part)
                self._console.print(f"  • {escape(text[:150])}{'…' if len(text) > 150 else ''}")
                self._console.print(f"    [dim]{escape(source)}[/dim]")
        return answer, took

    def _settled(self, ledger: Ledger, events: int) -> Status:
        """The status once all stages have dealt with all events."""
        end = time.monotonic() + FLOW_SECONDS
        while True:
            status = self._look(ledger)
            group = status.groups[0]
            if group.recorded == events and not any(stage.pending for stage in group.stages) and status.balanced:
                return status
            if time.monotonic() > end:
                raise DemoFailed("the books do not balance: see the table above")
            time.sleep(0.05)

    def _look(self, ledger: Ledger) -> Status:
        from ops.status import look

        with clients.queue() as queue:
            return look(queue, Home(settings().home, settings().valkey), ledger, GROUP)

    def _tell_where(self, home: str, stack: Stack) -> None:
        self._console.print(f"\nFlower shows the tasks at {stack.addresses['flower']}")
        self._console.print(f"  user memlane, password in {home}/secrets/flower")
        self._console.print(f"It stays up. Other shells: export MEMLANE_HOME={home}")
        self._console.print(f"Ctrl-C ends it, or kill {os.getpid()}")

    def _said(self, line: str) -> None:
        """A line of the stack for the operator."""
        if not self._ending:
            self._console.print(f"  {escape(line)}")

    def _say(self, line: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold]{self._step}. {escape(line)}[/bold]")


#: What ends the demo; the last one where its terminal is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _alone_in(home: str) -> None:
    """See to it that nothing of the caller's environment leads elsewhere than to this home.

    Done before settings are read, which importing the stages does.
    """
    for name in [name for name in os.environ if name.startswith("MEMLANE_") and name != "MEMLANE_DEBUG"]:
        del os.environ[name]
    os.environ["MEMLANE_HOME"] = home
    # The error in the recorded session is nobody's incident.
    os.environ["MEMLANE_DATADOG"] = "false"
    settings.cache_clear()


def _leave_at_signals() -> None:
    """Have the first signal leave all blocks, so that they clean up; others are ignored from then on."""

    def leave(number: int, _: object) -> None:
        _ignore_signals()
        sys.exit(128 + number)

    for number in _SIGNALS:
        signal.signal(number, leave)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _until_told() -> None:
    """Wait for a signal."""
    with suppress(SystemExit):
        while True:
            signal.pause()
