"""The plugin API: hooks that run when something happens in an agent.

    class Greeter(MemoryPluginHook):
        name = "greeter"
        trigger_event = HookEvent.ON_SESSION_START

        async def _execute_impl(self, context: PluginContext) -> dict:
            return {"greeted": context.session_id}

    adapter = MemoryPluginAdapter(project_root=Path("/home/dev/shop"))
    adapter.register_hook(Greeter())
    results = await adapter.trigger(HookEvent.ON_SESSION_START, PluginContext(session_id="s1"))

A hook never stops another one, nor its caller: whatever it raises, and running over its time, becomes a failed result,
and what it leaves running is ended with it. It runs on the caller's event loop, so a coroutine must not block.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory.calling import call
from memory.hook_event import HookEvent, PluginContext, PluginResult, hook_event, kind_of
from memory.hook_run import PlainHook, failed, name_of, raised, result_of, run_hook, run_plain_hooks

if TYPE_CHECKING:
    from memory.compaction_engine import CompactionEngine

log = logging.getLogger(__name__)

__all__ = [
    "FunctionBasedHook",
    "HookEvent",
    "MemoryPluginAdapter",
    "MemoryPluginHook",
    "PluginContext",
    "PluginResult",
    "hook_event",
]

#: How long a hook may take where it does not say so itself, s.
TIMEOUT_SECONDS = 30.0


class MemoryPluginHook(ABC):
    """One hook. `execute` is for callers; what the hook does is `_execute_impl`, a coroutine or a plain method."""

    #: How long it may take, s; None: as long as it likes.
    timeout: float | None = TIMEOUT_SECONDS

    @property
    @abstractmethod
    def name(self) -> str:
        """Unique among the hooks of its event."""

    @property
    @abstractmethod
    def trigger_event(self) -> str:
        """The event it waits for: a `HookEvent`, or a type of event."""

    @abstractmethod
    async def _execute_impl(self, context: PluginContext) -> Any:
        """Do it. A dictionary becomes the result's data; `{"success": False, "error": …}` makes it a failed one."""

    async def execute(self, context: PluginContext) -> PluginResult:
        """Run the hook. Never raises: an error, running over its time, and cancellation, of the hook or of the caller,
        become a failed result. (Only Ctrl-C goes through.)"""
        try:
            return await run_hook(self, lambda: call(self._execute_impl, context))
        except asyncio.CancelledError:
            # The caller's: whoever cancelled it sees it in `Task.cancelling`.
            return failed(self, "was cancelled")
        except Exception as error:
            return raised(self, error)


class FunctionBasedHook(MemoryPluginHook):
    """A hook made of a function, which may be a coroutine function or a plain one."""

    def __init__(
        self,
        name: str,
        trigger_event: str,
        func: Callable[[PluginContext], Any],
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> None:
        """
        Raises:
            TypeError: the function can't be called.
        """
        if not callable(func):
            raise TypeError(f"FunctionBasedHook takes a function, not {kind_of(func)}")
        self._name = name
        self._trigger_event = trigger_event
        self._func = func
        self.timeout = timeout

    @property
    def name(self) -> str:
        return self._name

    @property
    def trigger_event(self) -> str:
        return self._trigger_event

    async def _execute_impl(self, context: PluginContext) -> Any:
        return await call(self._func, context)


class MemoryPluginAdapter:
    """The hooks of one project. Those of an event run one after the other, in the order of their registration."""

    def __init__(self, project_root: Path | None = None) -> None:
        self.project_root = project_root
        self.compaction_engine: CompactionEngine | None = None
        self._hooks: dict[str, dict[str, MemoryPluginHook]] = {}

    def register_hook(self, hook: MemoryPluginHook) -> None:
        """Add a hook, behind those of its event. One of the same name is replaced, and keeps its place.

        Raises:
            TypeError: it is no hook, its name or event is no text, or its timeout no time.
        """
        if not isinstance(hook, MemoryPluginHook):
            raise TypeError(f"register_hook takes a MemoryPluginHook, not {kind_of(hook)}")
        name, event = hook.name, hook.trigger_event
        for what, text in (("name", name), ("trigger_event", event)):
            if not isinstance(text, str) or not text:
                raise TypeError(f"{type(hook).__name__}.{what} must be a text that is not empty")
        timeout = hook.timeout
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise TypeError(f"{type(hook).__name__}.timeout must be seconds above zero, or None for no limit")
        hooks = self._hooks.setdefault(hook_event(event), {})
        log.debug("hook %s name=%s event=%s", "replaced" if name in hooks else "registered", name, event)
        hooks[name] = hook

    def unregister_hook(self, name: str) -> bool:
        """Remove the hooks of this name; False if there is none."""
        removed = [hooks.pop(name) for hooks in self._hooks.values() if name in hooks]
        self._hooks = {event: hooks for event, hooks in self._hooks.items() if hooks}
        return bool(removed)

    def list_registered_hooks(self) -> dict[str, list[str]]:
        """Names of the hooks, by the event that they wait for, in the order in which they run."""
        return {event: list(hooks) for event, hooks in self._hooks.items()}

    def hooks(self, event: str) -> list[MemoryPluginHook]:
        """The hooks that wait for an event, in the order in which they run."""
        return list(self._hooks.get(hook_event(event), {}).values())

    def set_compaction_engine(self, engine: CompactionEngine) -> None:
        """Have this engine decide when a session is compacted.

        Raises:
            TypeError: it is no engine.
        """
        from memory.compaction_engine import CompactionEngine

        if not isinstance(engine, CompactionEngine):
            raise TypeError(f"set_compaction_engine takes a CompactionEngine, not {kind_of(engine)}")
        self.compaction_engine = engine

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What is registered within stays only if nothing is raised: hooks, the engine, and the engine's strategies."""
        hooks = {event: dict(named) for event, named in self._hooks.items()}
        engine = self.compaction_engine
        strategies = list(engine.strategies) if engine else []
        try:
            yield
        except BaseException:
            self._hooks, self.compaction_engine = hooks, engine
            if engine:
                engine.strategies[:] = strategies
            raise

    async def trigger(self, event: str, context: PluginContext) -> list[PluginResult]:
        """Run the hooks of an event, one after the other. No hook makes it raise.

        Args:
            event: a `HookEvent`, or a type of event.
            context: each hook gets a copy, so that none changes the others' metadata.

        Returns:
            A result for each hook, in the order in which they ran.

        Raises:
            CancelledError: the caller's task was cancelled; the hook that ran then is ended, and those behind it don't
                run.
        """
        hooks, results = self.hooks(event), list[PluginResult]()
        caller = asyncio.current_task()
        cancelled = caller.cancelling() if caller else 0
        while waiting := hooks[len(results) :]:
            ran = await _run_first(waiting, context)
            for hook, result in zip(waiting, ran, strict=False):
                log.debug("hook ran name=%s event=%s success=%s", name_of(hook), event, result.success)
            results += ran
            if caller and caller.cancelling() > cancelled:
                raise asyncio.CancelledError
        return results


async def _run_first(hooks: Sequence[MemoryPluginHook], context: PluginContext) -> list[PluginResult]:
    """Run the first of these hooks; if it is a plain function, then those that are, and come next, with it.

    Returns:
        Results of those that ran.
    """

    def own() -> PluginContext:
        return replace(context, metadata=dict(context.metadata))

    plain = [each for each in takewhile(bool, map(_plain, hooks)) if each]
    if plain:
        return await run_plain_hooks(plain, own)
    hook = hooks[0]
    try:
        return [result_of(hook, await hook.execute(own()))]
    except (Exception, SystemExit) as error:  # of an `execute` that somebody has overridden
        return [raised(hook, error)]


def _plain(hook: MemoryPluginHook) -> PlainHook | None:
    """The hook if it is a plain function, and runs as we run it."""
    try:
        if getattr(hook.execute, "__func__", None) is not MemoryPluginHook.execute:
            return None
        function: Callable[[PluginContext], Any] = hook._execute_impl
        if (
            isinstance(hook, FunctionBasedHook)
            and getattr(function, "__func__", None) is FunctionBasedHook._execute_impl
        ):
            function = hook._func
        return None if inspect.iscoroutinefunction(function) else PlainHook(hook, function, hook.timeout)
    except Exception:
        return None  # it fails when it runs
