"""Stage `plugins`: users' hooks, for each recorded event, in order within a group, at least once.

A worker loads the plugins that are installed and those that the user's config.json names; what a project brings along
is not run here. Hooks run in a thread of their own, on an event loop of their own: one that blocks it is left behind
with it, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from memory import lua
from memory.events import Event
from memory.hook_run import failed
from memory.ledger import cursors
from memory.ledger.log import read
from memory.plugin_adapter import MemoryPluginAdapter, MemoryPluginHook, PluginContext, PluginResult
from memory.plugins import Loaded, load
from memory.settings import settings
from workers import resources
from workers.stage import Follower
from workers.wake import wake_followers

log = logging.getLogger(__name__)

#: How long the hooks of one event may take together, s; below the time limit of a task.
EVENT_SECONDS = 60.0
#: After its time, a hook may take so much longer to give way, s, before it is taken to block the loop.
GRACE_SECONDS = 2.0


class Plugins(Follower):
    name = queue = "plugins"

    def step(self, group: str, token: int, limit: int) -> bool:
        """As every follower's; but hooks may be slow, so the cursor is moved as far as they came in one turn."""
        hooks, ledger = plugins(), resources.ledger()
        with ledger.read() as connection:
            head = cursors.position(connection, self.follows, group)
            start = cursors.position(connection, self.name, group)
            if start >= head:
                return False
            idle = not hooks.adapter.list_registered_hooks()
            events = None if idle else read(connection, group, start, head, None, limit)
        upto = head
        if events is not None:
            dealt = hooks.run(events.events, events.seqs)
            # Behind the last one may come some that were forgotten.
            upto = dealt if events.seqs and dealt < events.seqs[-1] else events.upto
        with ledger.write() as connection:
            cursors.claim(connection, self.name, group, token, start)
            cursors.advance(connection, self.name, group, upto, upto - start)
        wake_followers(self.name, group, ())
        return upto < head

    def before(self, group: str, events: Any) -> None:
        """For a dead letter that is retried."""
        plugins().run(events.events, events.seqs)


class Hooks:
    """The hooks of this process, and the thread that they run in."""

    def __init__(self, home: Path) -> None:
        self.adapter = MemoryPluginAdapter()
        #: What was loaded, and what was skipped and why.
        self.loaded: list[Loaded] = load(self.adapter, home=home)
        for one in self.loaded:
            if problem := one.problem():
                log.error("plugin: %s", problem)
        self._loop = _Loop()

    def run(self, events: Iterable[Event], seqs: Iterable[int]) -> int:
        """Run the hooks of events, for one turn.

        Returns:
            Seq of the last event that was dealt with.
        """
        end = time.monotonic() + settings().turn_seconds
        counts: Counter[str] = Counter()
        upto = 0
        for event, upto in zip(events, seqs, strict=True):  # noqa: B007 - the last one is wanted
            for result, hook in self._one(event):
                counts[f"{hook.name}:{'done' if result.success else 'failed'}"] += 1
            if time.monotonic() > end:
                break
        _count(counts)
        return upto

    def close(self) -> None:
        self._loop.end()

    def _one(self, event: Event) -> list[tuple[PluginResult, MemoryPluginHook]]:
        end = time.monotonic() + EVENT_SECONDS
        results = []
        for hook in self.adapter.hooks(event.type):
            # A plugin may have set it to what is no number, or to None: no limit of its own.
            own = hook.timeout if isinstance(hook.timeout, int | float) else EVENT_SECONDS
            seconds = max(0.0, min(own, end - time.monotonic()))
            if not self._loop.lives():
                self._loop = _Loop()
            result = self._loop.run(hook, context_of(event), seconds)
            if result is None:
                self._loop.leave()
                self._loop = _Loop()
                result = failed(hook, f"took longer than {seconds:g} s, and blocks its event loop")
            if not result.success:
                log.warning("hook failed name=%s event=%s reason=%r", hook.name, event.id, result.reason)
            results.append((result, hook))
        return results


def context_of(event: Event) -> PluginContext:
    """What a hook is told of an event."""
    envelope = {
        "event_id": event.id,
        "type": event.type,
        "group": event.group,
        "session_id": event.session,
        "agent": event.agent,
        "user_id": event.user,
        "project_root": event.project,
        "path": event.subject,
    }
    return PluginContext(
        session_id=event.session or "",
        project_root=Path(event.project) if event.project else None,
        user_id=event.user,
        timestamp=event.time.isoformat(timespec="milliseconds"),
        metadata={**event.data, **{name: value for name, value in envelope.items() if value is not None}},
    )


class _Loop:
    """An event loop in a thread that nobody need wait for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        self._thread.start()

    def lives(self) -> bool:
        """False if a task that a hook left behind has ended it."""
        return self._thread.is_alive()

    def run(self, hook: MemoryPluginHook, context: PluginContext, seconds: float) -> PluginResult | None:
        """Run a hook; None if it blocks the loop, which is then of no use any more."""
        running = asyncio.run_coroutine_threadsafe(_alone(hook, context, seconds), self._loop)
        try:
            return running.result(seconds + GRACE_SECONDS)
        except TimeoutError:
            return None

    def end(self) -> None:
        """End it, and wait a moment for that."""
        self.leave()
        self._thread.join(GRACE_SECONDS)

    def leave(self) -> None:
        """End it as soon as it can."""
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        except SystemExit:
            log.warning("a task that a hook left behind wanted to end the worker")
        finally:
            self._loop.close()


async def _alone(hook: MemoryPluginHook, context: PluginContext, seconds: float) -> PluginResult:
    """Run a hook, and end what it leaves behind."""
    try:
        async with asyncio.timeout(seconds):
            result = await hook.execute(context)
    except TimeoutError:
        result = failed(hook, f"took longer than {seconds:g} s")
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    return result


def _count(counts: Counter[str]) -> None:
    """Count results for the operators; also those of events that are dealt with a second time."""
    if counts:
        with resources.valkey().pipeline(transaction=False) as pipeline:
            for name, count in counts.items():
                pipeline.hincrby(lua.PLUGINS, name, count)
            pipeline.execute()


@resources.one_a_process
def plugins() -> Hooks:
    """The hooks of this process, loaded when they are first needed."""
    return Hooks(settings().home)
