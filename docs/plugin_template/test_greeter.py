"""The plugin's hooks, run as Memlane runs them: registered with an adapter, triggered by events."""

import asyncio
from typing import Any

from memlane_greeter import register_plugin

from memory.plugin_adapter import HookEvent, MemoryPluginAdapter, PluginContext, PluginResult


def triggered(event: str, metadata: dict[str, Any], adapter: MemoryPluginAdapter) -> PluginResult:
    context = PluginContext(session_id="s1", user_id="ada", metadata=metadata)
    [result] = asyncio.run(adapter.trigger(event, context))
    return result


def test_a_session_is_greeted() -> None:
    adapter = MemoryPluginAdapter()
    register_plugin(adapter, {"greeting": "Good morning"})

    result = triggered(HookEvent.ON_SESSION_START, {}, adapter)

    assert result.success
    assert result.message == "greeter.hello: Good morning, ada"


def test_an_event_that_comes_twice_counts_once() -> None:
    adapter = MemoryPluginAdapter()
    register_plugin(adapter)

    for event_id in ("e1", "e1", "e2"):
        result = triggered(HookEvent.FILE_WRITE, {"path": "src/cart.py", "event_id": event_id}, adapter)

    assert result.data == {"path": "src/cart.py", "writes": 2}


def test_a_write_without_a_path_fails() -> None:
    adapter = MemoryPluginAdapter()
    register_plugin(adapter)

    assert not triggered(HookEvent.FILE_WRITE, {}, adapter).success
