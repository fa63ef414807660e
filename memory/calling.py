"""Calling functions of others, which may be coroutine functions or plain ones, from an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

#: Threads that are kept when they have nothing to do. Starting one costs more than most functions take.
KEPT = 4


async def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function returns. A coroutine function is awaited; a plain one runs in a thread that nothing else uses
    meanwhile, so that one that blocks neither blocks the loop nor keeps the process from ending."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **options)
    turns = Turns([partial(contextvars.copy_context().run, function, *args, **options)])
    await turns.wait()
    return await turns.outcomes[0].value()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plain function."""

    returned: Any
    error: BaseException | None = None

    async def value(self) -> Any:
        """What it returned, awaited if need be; raises what it raised."""
        if self.error is not None:
            raise self.error
        return await self.returned if inspect.isawaitable(self.returned) else self.returned


class Turns:
    """Plain functions that one thread, which nothing else uses meanwhile, runs one after the other, beginning at once.
    It ends early behind a function that returns an awaitable: that has yet to be awaited, on the loop."""

    def __init__(self, functions: Sequence[Callable[[], Any]]) -> None:
        self.outcomes: list[Outcome] = []
        self._functions, self._began = functions, time.monotonic()
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._lock, self._stopped = threading.Lock(), False
        _thread().jobs.put((self._run, self._done))

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended; False if it has not within this time."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def running(self) -> tuple[int, float]:
        """Number of the function that runs now, counted from 0, and when it began, by `time.monotonic`."""
        with self._lock:
            return len(self.outcomes), self._began

    def leave(self, number: int) -> bool:
        """Leave the function of this number to itself if it still runs, and run none behind it.

        Returns:
            False if it does not run.
        """
        with self._lock:
            self._stopped = len(self.outcomes) == number
            return self._stopped

    def stop(self) -> None:
        """Run none behind the one that runs now."""
        with self._lock:
            self._stopped = True

    def _run(self) -> None:
        for function in self._functions:
            outcome = _outcome(function)
            with self._lock:
                if self._stopped:
                    return
                self.outcomes.append(outcome)
                self._began = time.monotonic()
            if inspect.isawaitable(outcome.returned):
                return

    def _done(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ended.set)
        except RuntimeError:
            return  # the loop has ended meanwhile


def _outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(function())
    except KeyboardInterrupt:
        # Ctrl-C comes to the main thread only: this one the function has made up.
        return Outcome(None, RuntimeError("KeyboardInterrupt"))
    except BaseException as error:
        return Outcome(None, error)


class _Thread:
    """A thread that works off one job after the other. One that hangs in a job is never asked again."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[tuple[Callable[[], None], Callable[[], None]]] = SimpleQueue()
        threading.Thread(target=self._work, name="call", daemon=True).start()

    def _work(self) -> None:
        while True:
            run, done = self.jobs.get()
            run()
            kept = len(_IDLE) < KEPT
            if kept:
                # Before the caller goes on, who may have the next job.
                _IDLE.append(self)
            done()
            # Neither what was called nor its outcome is held until then.
            del run, done
            if not kept:
                return


_IDLE: deque[_Thread] = deque()
# A forked process has none of its parent's threads.
os.register_at_fork(after_in_child=_IDLE.clear)


def _thread() -> _Thread:
    try:
        return _IDLE.pop()
    except IndexError:
        return _Thread()
