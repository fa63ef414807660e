"""A plugin for Memlane: greets sessions, and counts what is written in them."""

from collections import Counter, deque
from typing import Any

from memory.plugin_adapter import FunctionBasedHook, HookEvent, MemoryPluginAdapter, MemoryPluginHook, PluginContext


class Greeter(MemoryPluginHook):
    """Says hello when a session starts."""

    #: How long it may take, s.
    timeout = 5.0

    def __init__(self, greeting: str = "Hello") -> None:
        self.greeting = greeting

    @property
    def name(self) -> str:
        return "greeter.hello"

    @property
    def trigger_event(self) -> str:
        return HookEvent.ON_SESSION_START

    async def _execute_impl(self, context: PluginContext) -> dict[str, Any]:
        return {"message": f"{self.greeting}, {context.user_id or 'whoever you are'}", "session": context.session_id}


class Writes:
    """Counts how often each file was written, since this process started. The same event may come to a worker a second
    time, soon after the first, so the last ids are kept."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._seen: deque[str] = deque(maxlen=1_000)

    def __call__(self, context: PluginContext) -> dict[str, Any]:
        path, event = context.metadata.get("path"), context.metadata.get("event_id")
        if not path:
            return {"success": False, "error": "a file.write without a path"}
        if event is None or event not in self._seen:
            self.count[path] += 1
            self._seen.append(event or "")
        return {"path": path, "writes": self.count[path]}


def register_plugin(adapter: MemoryPluginAdapter, config: dict[str, Any] | None = None) -> None:
    """Memlane calls this once a process, with what the configuration says under "config"."""
    config = config or {}
    adapter.register_hook(Greeter(greeting=config.get("greeting", "Hello")))
    adapter.register_hook(FunctionBasedHook("greeter.writes", HookEvent.FILE_WRITE, Writes()))
