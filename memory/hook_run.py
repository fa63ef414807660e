"""Running a hook so that it stops neither its caller nor another hook: whatever it does becomes a result."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from memory.calling import Outcome, Turns
from memory.hook_event import PluginContext, PluginResult

if TYPE_CHECKING:
    from memory.plugin_adapter import MemoryPluginHook

log = logging.getLogger(__name__)

#: How long a hook that was cancelled, or a task that it left behind, is waited for, s. Then it is left to itself.
GRACE_SECONDS = 1.0
#: How often it is looked, at most, whether a plain function has begun whose time is short, s.
LOOK_SECONDS = 0.01


async def run_hook(hook: MemoryPluginHook, work: Callable[[], Awaitable[Any]]) -> PluginResult:
    """Run a hook in a task of its own: what cancels that does not cancel the caller, and one that does not give way
    when its time is over can be left behind.

    Args:
        work: what the hook does.

    Raises:
        CancelledError: the caller's task was cancelled.
    """
    run = _Run()
    began = time.monotonic()
    task = asyncio.create_task(_outcome(hook, work, run), context=run.context())
    try:
        await asyncio.wait({task}, timeout=hook.timeout)
    finally:
        late = not task.done()
        if late:
            run.cancel()
        await run.cleaned_up()
    seconds = time.monotonic() - began
    if late:
        return _late(hook, hook.timeout, "" if task.done() else ", and goes on although it was cancelled")
    if task.cancelled():
        return failed(hook, "was cancelled")
    if hook.timeout is not None and seconds > hook.timeout + GRACE_SECONDS * bool(run.left):
        return failed(hook, f"took {seconds:.1f} s, longer than {hook.timeout:g} s: it blocks the event loop")
    return task.result()


class PlainHook(NamedTuple):
    """A hook that is a plain function."""

    hook: MemoryPluginHook
    function: Callable[[PluginContext], Any]
    timeout: float | None


async def run_plain_hooks(hooks: Sequence[PlainHook], own: Callable[[], PluginContext]) -> list[PluginResult]:
    """Run plain functions one after the other, in a thread of theirs, since waking one takes longer than most of them.

    Args:
        own: makes the context that a hook gets.

    Returns:
        Results of the first of them, at least of one. Those behind have not run: the last one did not give way when
        its time was over, or has returned an awaitable.

    Raises:
        CancelledError: the caller's task was cancelled; none runs behind the one that ran then.
    """
    run = _Run()
    inside = run.context()
    turns = Turns([partial(inside.copy().run, _plain, each.function, own) for each in hooks])
    try:
        while True:
            number, began = turns.running()
            if ended := await turns.wait(_until_next_look(hooks[number:], began)):
                break
            timeout = hooks[number].timeout
            if timeout is not None and time.monotonic() >= began + timeout and turns.leave(number):
                break
    finally:
        turns.stop()
        run.cancel()
        await run.cleaned_up()
    results = [await _plain_result(each.hook, outcome) for each, outcome in zip(hooks, turns.outcomes, strict=False)]
    return results if ended else [*results, _late(hooks[number].hook, hooks[number].timeout)]


def _until_next_look(hooks: Sequence[PlainHook], began: float) -> float | None:
    """Seconds until the time of the first of these hooks is over, which runs since `began`, or that of one behind it
    may be: when that one begins, its thread does not say, since that takes longer than most hooks."""
    seconds = [max(hook.timeout, LOOK_SECONDS) for hook in hooks[1:] if hook.timeout is not None]
    if hooks and hooks[0].timeout is not None:
        seconds.append(began + hooks[0].timeout - time.monotonic())
    return min(seconds, default=None)


def _plain(function: Callable[[PluginContext], Any], own: Callable[[], PluginContext]) -> Any:
    return function(own())


async def _plain_result(hook: MemoryPluginHook, outcome: Outcome) -> PluginResult:
    if inspect.isawaitable(outcome.returned):
        return await run_hook(hook, outcome.value)
    try:
        return result_of(hook, await outcome.value())
    except (asyncio.CancelledError, KeyboardInterrupt):
        return failed(hook, "was cancelled")
    except BaseException as error:
        log.debug("hook failed name=%s", name_of(hook), exc_info=True)
        return raised(hook, error)


async def _outcome(hook: MemoryPluginHook, work: Callable[[], Awaitable[Any]], run: _Run) -> PluginResult:
    try:
        return result_of(hook, await work())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # SystemExit too: a hook may end neither the agent nor a worker.
        log.debug("hook failed name=%s", name_of(hook), exc_info=True)
        return raised(hook, error)
    finally:
        # At once: the loop would still let them take a step before the caller's turn comes.
        run.cancel()


def _late(hook: MemoryPluginHook, timeout: float | None, goes_on: str = "") -> PluginResult:
    return failed(hook, f"took longer than {timeout:g} s{goes_on}")


class _Run:
    """One run of a hook, or of plain ones that follow one another."""

    def __init__(self) -> None:
        #: Tasks of it that were cancelled, and may still have to clean up.
        self.left: set[asyncio.Task[Any]] = set()

    def context(self) -> contextvars.Context:
        """A copy of the caller's, in which what is started belongs to this run."""
        inside = contextvars.copy_context()
        inside.run(_RUN.set, self)
        return inside

    async def cleaned_up(self) -> None:
        """Let those that were cancelled clean up."""
        if self.left:
            await asyncio.wait(self.left, timeout=GRACE_SECONDS)

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
