"""When a session's context fills up: ask the adapter's engine, and start a compaction if it says so."""

from __future__ import annotations

from typing import Any

from memory.mechanisms.given import Publish, count, published
from memory.plugin_adapter import HookEvent, MemoryPluginAdapter, MemoryPluginHook, PluginContext


class CompactionMechanism(MemoryPluginHook):
    """Compacts by the engine's own compactor. Where it has none, `session.compacting` is published, for whoever does
    compact the session."""

    def __init__(self, adapter: MemoryPluginAdapter, publish: Publish | None = None) -> None:
        """
        Args:
            adapter: its engine is asked; it may be set later.
        """
        self._adapter = adapter
        self._publish = publish

    @property
    def name(self) -> str:
        return "compaction"

    @property
    def trigger_event(self) -> str:
        return HookEvent.ON_CONTEXT_WARNING

    async def _execute_impl(self, context: PluginContext) -> dict[str, Any]:
        """
        Returns:
            `compact`, `reason`, and if it was started, what the run says of itself.
        """
        engine = self._adapter.compaction_engine
        if engine is None:
            return {
                "success": False,
                "error": "no compaction engine: adapter.set_compaction_engine(CompactionEngine(…))",
            }
        known = known_of(context)
        decision = engine.decide(known)
        if not decision.compact:
            return {"compact": False, "reason": decision.reason, "message": f"not compacted: {decision.reason}"}

        async def announce(known: dict[str, Any]) -> dict[str, Any]:
            data = {"auto": True, "tokens_before": count(known.get("token_count")), "reason": known["reason"]}
            data = {name: value for name, value in data.items() if value is not None}
            id = await published(self._publish, context, "session.compacting", data)
            return {"event": id, "message": "session.compacting was published", **data}

        stats = await engine.run(known, decision, announce)
        told = {"compact": True, "reason": decision.reason, "strategy": decision.strategy, **stats.data}
        if not stats.success:
            return {**told, "success": False, "error": stats.message}
        return {**told, "tokens_before": stats.tokens_before, "message": f"{stats.message}: {decision.reason}"}


def known_of(context: PluginContext) -> dict[str, Any]:
    """What strategies are told: the metadata, the session, and the size of the context as `token_count`."""
    return {
        "token_count": context.metadata.get("context_size", 0),
        **context.metadata,
        "session_id": context.session_id,
        "project_root": context.project_root,
        "timestamp": context.timestamp,
    }
