"""What an event costs that hooks wait for: `MemoryPluginAdapter.trigger`, beside awaiting the same functions bare.

Five trivial hooks, one event a call: coroutine functions, and plain functions, which are handed to a thread together;
and a single plain function, for which a thread is woken.

    python -m bench.plugins
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.publish import percentiles
from memory.plugin_adapter import FunctionBasedHook, HookEvent, MemoryPluginAdapter, PluginContext

TRIGGERS = 1_000
HOOKS = 5


def run() -> dict[str, Any]:
    """For coroutine functions and plain ones, microseconds that one hook took; `bare` are the functions alone."""
    return asyncio.run(measure())


async def measure() -> dict[str, Any]:
    async def coroutine(context: PluginContext) -> dict[str, Any]:
        return {"session": context.session_id}

    def plain(context: PluginContext) -> dict[str, Any]:
        return {"session": context.session_id}

    context = PluginContext("s1", metadata={"path": "src/cart.py", "additions": 4})
    figures: dict[str, Any] = {"triggers": TRIGGERS, "hooks": HOOKS}
    for kind, function, hooks in (("coroutine", coroutine, HOOKS), ("plain", plain, HOOKS), ("plain_alone", plain, 1)):
        adapter = adapter_of(function, hooks)
        times = []
        for _ in range(TRIGGERS + TRIGGERS // 10):
            began = time.perf_counter()
            results = await adapter.trigger(HookEvent.FILE_WRITE, context)
            times.append((time.perf_counter() - began) / hooks)
            assert all(result.success for result in results)
        figures[kind] = percentiles(times[TRIGGERS // 10 :])
    times = []
    for _ in range(TRIGGERS):
        began = time.perf_counter()
        for _ in range(HOOKS):
            await coroutine(context)
        times.append((time.perf_counter() - began) / HOOKS)
    figures["bare"] = percentiles(times)
    return figures


def adapter_of(function: Callable[[PluginContext], Any], hooks: int) -> MemoryPluginAdapter:
    adapter = MemoryPluginAdapter()
    for number in range(hooks):
        adapter.register_hook(FunctionBasedHook(f"hook-{number}", HookEvent.FILE_WRITE, function))
    return adapter


if __name__ == "__main__":
    import json

    print(json.dumps(run()))
