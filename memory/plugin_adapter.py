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
import contextvars
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory.calling import call

if TYPE_CHECKING:
    from memory.compaction_engine import CompactionEngine

log = logging.getLogger(__name__)

#: How long a hook may take where it does not say so itself, s.
TIMEOUT_SECONDS = 30.0
#: How long a hook that was cancelled, or a task that it left behind, is waited for, s. Then it is left to itself.
GRACE_SECONDS = 1.0


class HookEvent(StrEnum):
    """What hooks may wait for. The first four are spelled as agents' hooks are; the others are types of event."""

    ON_SESSION_START = "on_session_start"
    ON_CONTEXT_WARNING = "on_context_warning"
    ON_SESSION_END = "on_session_end"
    ON_USER_REQUEST = "on_user_request"
    CHAT_START = "chat.start"
    CHAT_MESSAGE = "chat.message"
    FILE_WRITE = "file.write"
    TOOL_CALL = "tool.call"
    TODO_UPDATED = "todo.updated"
    VCS_COMMIT = "vcs.commit"
    ERROR = "error"
    COMPLETION = "completion"
    SESSION_COMPACTING = "session.compacting"
    SESSION_COMPACTED = "session.compacted"
    CHECKPOINT_CREATED = "checkpoint.created"
    PART_HIDDEN = "part.hidden"
    PART_SHOWN = "part.shown"
    SWARM_AGENT = "swarm.agent"
    SWARM_TASK = "swarm.task"
    SWARM_RESERVATION = "swarm.reservation"
    SWARM_MESSAGE = "swarm.message"
    SWARM_CONFLICT = "swarm.conflict"


#: What hooks know by another spelling: four types of event, and older spellings of types.
_SPELLED = {
    "session.start": HookEvent.ON_SESSION_START,
    "context.warning": HookEvent.ON_CONTEXT_WARNING,
    "session.end": HookEvent.ON_SESSION_END,
    "user.request": HookEvent.ON_USER_REQUEST,
    "chat:start": HookEvent.CHAT_START,
    "file:write": HookEvent.FILE_WRITE,
    "experimental.session.compacting": HookEvent.SESSION_COMPACTING,
}


def hook_event(name: str) -> str:
    """The name under which hooks wait for an event: a value of `HookEvent`, or the name itself where nobody of ours
    knows it, since agents may have events of their own."""
    return str(_SPELLED.get(name, name))


@dataclass(frozen=True)
class PluginContext:
    """What a hook is told.

    `timestamp` is ISO 8601; `metadata` holds the event's `data`, and in a worker also, as far as known, `event_id`,
    `type`, `group`, `session_id`, `agent`, `user_id`, `project_root` and `path`.
    """

    session_id: str
    project_root: Path | None = None
    user_id: str | None = None
    timestamp: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PluginResult:
    """What became of one hook: `message` names it and says what happened, `data` is what it returned."""

    success: bool
    message: str
    data: dict[str, Any] = field(default_factory=dict)


class MemoryPluginHook(ABC):
    """One hook. `execute` is for callers; what the hook does is `_execute_impl`, a coroutine or a plain method."""

    #: How long it may take, s.
    timeout: float = TIMEOUT_SECONDS

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
            return await _isolated(self, context)
        except asyncio.CancelledError:
            # The caller's: whoever cancelled it sees it in `Task.cancelling`.
            return _failed(self, "was cancelled")
        except Exception as error:
            return _failed(self, _said(error))


class FunctionBasedHook(MemoryPluginHook):
    """A hook made of a function, which may be a coroutine function or a plain one."""

    def __init__(
        self, name: str, trigger_event: str, func: Callable[[PluginContext], Any], timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """
        Raises:
            TypeError: the function can't be called.
        """
        if not callable(func):
            raise TypeError(f"FunctionBasedHook takes a function, not a {type(func).__name__}")
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
            TypeError: it is no hook, or its name or event is no text.
        """
        if not isinstance(hook, MemoryPluginHook):
            raise TypeError(f"register_hook takes a MemoryPluginHook, not a {type(hook).__name__}")
        name, event = hook.name, hook.trigger_event
        for what, text in (("name", name), ("trigger_event", event)):
            if not isinstance(text, str) or not text:
                raise TypeError(f"{type(hook).__name__}.{what} must be a text that is not empty")
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
            raise TypeError(f"set_compaction_engine takes a CompactionEngine, not a {type(engine).__name__}")
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
        results = []
        caller = asyncio.current_task()
        cancelled = caller.cancelling() if caller else 0
        for hook in self.hooks(event):
            try:
                own = replace(context, metadata=dict(context.metadata))
                result = _result(hook, await hook.execute(own))
            except (Exception, SystemExit) as error:  # of an `execute` that somebody has overridden
                result = _failed(hook, _said(error))
            log.debug("hook ran name=%s event=%s success=%s", _name(hook), event, result.success)
            results.append(result)
            if caller and caller.cancelling() > cancelled:
                raise asyncio.CancelledError
        return results


async def _isolated(hook: MemoryPluginHook, context: PluginContext) -> PluginResult:
    """Run a hook in a task of its own: what cancels that does not cancel the caller, and one that does not give way
    when its time is over can be left behind."""
    run, inside = _Run(), contextvars.copy_context()
    inside.run(_RUN.set, run)
    task = asyncio.create_task(_outcome(hook, context, run), context=inside)
    try:
        await asyncio.wait({task}, timeout=hook.timeout)
        if not task.done():
            return _failed(hook, f"took longer than {hook.timeout:g} s")
        return _failed(hook, "was cancelled") if task.cancelled() else task.result()
    finally:
        if not task.done():
            run.cancel()
        if run.left:
            await asyncio.wait(run.left, timeout=GRACE_SECONDS)


async def _outcome(hook: MemoryPluginHook, context: PluginContext, run: _Run) -> PluginResult:
    try:
        return _result(hook, await call(hook._execute_impl, context))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # SystemExit too: a hook may end neither the agent nor a worker.
        log.debug("hook failed name=%s", _name(hook), exc_info=True)
        return _failed(hook, _said(error))
    finally:
        # At once: the loop would still let them take a step before the caller's turn comes.
        run.cancel(but=asyncio.current_task())


class _Run:
    """One run of a hook."""

    def __init__(self) -> None:
        #: Tasks of it that were cancelled, and may still have to clean up.
        self.left: set[asyncio.Task[Any]] = set()

    def cancel(self, but: asyncio.Task[Any] | None = None) -> None:
        """Cancel what still runs of it."""
        for task in asyncio.all_tasks():
            if task is not but and task.get_context().get(_RUN) is self:
                task.cancel()
                self.left.add(task)


#: The run that a task belongs to: a task inherits it from the one that started it.
_RUN: contextvars.ContextVar[_Run] = contextvars.ContextVar("run of a hook")


def _result(hook: MemoryPluginHook, returned: Any) -> PluginResult:
    name = _name(hook)
    if isinstance(returned, PluginResult):
        return PluginResult(bool(returned.success), str(returned.message), dict(returned.data or {}))
    if returned is None:
        return PluginResult(True, f"{name}: done")
    if not isinstance(returned, Mapping):
        return _failed(hook, f"returned a {type(returned).__name__}, and not a dictionary")
    data = dict(returned)
    if data.get("success") is False:
        said = data.get("error") or data.get("message") or "reported a failure"
        return PluginResult(False, f"{name}: {said}", data)
    return PluginResult(True, f"{name}: {data.get('message') or 'done'}", data)


def _failed(hook: MemoryPluginHook, why: str) -> PluginResult:
    return PluginResult(False, f"{_name(hook)}: {why}", {"error": why})


def _name(hook: MemoryPluginHook) -> str:
    """The hook's name, also if it is a program that fails."""
    try:
        return str(hook.name)
    except Exception:
        return type(hook).__name__


def _said(error: BaseException) -> str:
    """The kind of error and its message, also if that is a program that fails."""
    try:
        message = str(error)
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
