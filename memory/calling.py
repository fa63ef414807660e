"""Calling functions of others, which may be coroutine functions or plain ones, from an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

#: Threads that are kept when they have nothing to do. Starting one costs more than most functions take.
KEPT = 4


async def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function returns. A coroutine function is awaited; a plain one runs in a thread that nothing else uses
    meanwhile, so that one that blocks neither blocks the loop nor keeps the process from ending."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **options)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    context = contextvars.copy_context()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((context.run(function, *args, **options), None))
        except KeyboardInterrupt:
            # Ctrl-C comes to the main thread only: this one the function has made up.
            outcome.extend((None, RuntimeError("KeyboardInterrupt")))
        except BaseException as error:
            outcome.extend((None, error))

    def done() -> None:
        try:
            loop.call_soon_threadsafe(ended.set)
        except RuntimeError:
            return  # the loop has ended meanwhile

    _thread().jobs.put((run, done))
    await ended.wait()
    returned, error = outcome
    if error is not None:
        raise error
    return await returned if inspect.isawaitable(returned) else returned


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
