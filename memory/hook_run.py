"""Running a hook so that it stops neither its caller nor another hook: whatever it does becomes a result."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory.calling import call
from memory.hook_event import PluginContext, PluginResult

if TYPE_CHECKING:
    from memory.plugin_adapter import MemoryPluginHook

log = logging.getLogger(__name__)

#: How long a hook that was cancelled, or a task that it left behind, is waited for, s. Then it is left to itself.
GRACE_SECONDS = 1.0


async def run_hook(hook: MemoryPluginHook, context: PluginContext) -> PluginResult:
    """Run a hook in a task of its own: what cancels that does not cancel the caller, and one that does not give way
    when its time is over can be left behind.

    Raises:
        CancelledError: the caller's task was cancelled.
    """
    run, inside = _Run(), contextvars.copy_context()
    inside.run(_RUN.set, run)
    began = time.monotonic()
    task = asyncio.create_task(_outcome(hook, context, run), context=inside)
    try:
        await asyncio.wait({task}, timeout=hook.timeout)
    finally:
        late = not task.done()
        if late:
            run.cancel()
        if run.left:
            await asyncio.wait(run.left, timeout=GRACE_SECONDS)
    seconds = time.monotonic() - began
    if late:
        goes_on = "" if task.done() else ", and goes on although it was cancelled"
        return failed(hook, f"took longer than {hook.timeout:g} s{goes_on}")
    if task.cancelled():
        return failed(hook, "was cancelled")
    if hook.timeout is not None and seconds > hook.timeout + GRACE_SECONDS * bool(run.left):
        return failed(hook, f"took {seconds:.1f} s, longer than {hook.timeout:g} s: it blocks the event loop")
    return task.result()


async def _outcome(hook: MemoryPluginHook, context: PluginContext, run: _Run) -> PluginResult:
    try:
        return result_of(hook, await call(hook._execute_impl, context))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # SystemExit too: a hook may end neither the agent nor a worker.
        log.debug("hook failed name=%s", name_of(hook), exc_info=True)
        return raised(hook, error)
    finally:
        # At once: the loop would still let them take a step before the caller's turn comes.
        run.cancel()


class _Run:
    """One run of a hook."""

    def __init__(self) -> None:
        #: Tasks of it that were cancelled, and may still have to clean up.
        self.left: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """Cancel what still runs of it, but for the task that says so."""
        try:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
        except RuntimeError:
            return  # the loop has ended, and what was left behind is thrown away
        for task in tasks:
            if task.get_context().get(_RUN) is self:
                task.cancel()
                self.left.add(task)


#: The run that a task belongs to: a task inherits it from the one that started it.
_RUN: contextvars.ContextVar[_Run] = contextvars.ContextVar("run of a hook")


def result_of(hook: MemoryPluginHook, returned: Any) -> PluginResult:
    """What came of a hook that returned this."""
    name = name_of(hook)
    if isinstance(returned, PluginResult):
        return PluginResult(bool(returned.success), str(returned.message), dict(returned.data or {}), returned.reason)
    if returned is None:
        return PluginResult(True, f"{name}: done")
    if not isinstance(returned, Mapping):
        return failed(hook, f"returned what is no dictionary, but of type {type(returned).__name__}")
    data = dict(returned)
    if data.get("success") is False:
        said = data.get("error") or data.get("message") or "reported a failure"
        return PluginResult(False, f"{name}: {said}", data, "reported a failure")
    return PluginResult(True, f"{name}: {data.get('message') or 'done'}", data)


def failed(hook: MemoryPluginHook, why: str, reason: str = "") -> PluginResult:
    """The result of a hook that failed. `reason` says why without anything of the event; default: `why`."""
    return PluginResult(False, f"{name_of(hook)}: {why}", {"error": why}, reason or why)


def raised(hook: MemoryPluginHook, error: BaseException) -> PluginResult:
    """The result of a hook that raised."""
    kind, frames = type(error).__name__, traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    try:
        message = str(error)
    except Exception:
        message = ""  # that, too, is a program that may fail
    return failed(hook, f"{kind}: {message}" if message else kind, kind + place)


def name_of(hook: MemoryPluginHook) -> str:
    """The hook's name, also if it is a program that fails."""
    try:
        return str(hook.name)
    except Exception:
        return type(hook).__name__
