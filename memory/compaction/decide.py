"""Whether an event is a reason for a checkpoint, and why.

Where a session's context is compacted, where the session ends, and where somebody asks, it always is. On a warning of a
context that fills up, strategies are asked: those of the settings, then those of plugins.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from memory.compaction.words import text_of
from memory.compaction_engine import (
    CompactionEngine,
    CompactionStrategy,
    ContextPercentage,
    Decision,
    EntryCount,
    TokenCount,
)
from memory.events import Event
from memory.plugin_adapter import MemoryPluginAdapter
from memory.plugins import load
from memory.settings import Settings

log = logging.getLogger(__name__)

#: Types of event that are asked about.
TYPES = frozenset({"context.warning", "session.compacting", "session.compacted", "session.end"})
#: How long strategies may take together, s: plugins bring some.
SECONDS = 5.0


class Occasion(CompactionStrategy):
    """The session is compacted, or ends, or somebody asks for a checkpoint."""

    def __init__(self) -> None:
        self._reason = ""

    def should_compact(self, context: dict[str, Any]) -> bool:
        self._reason = _OCCASIONS.get(str(context.get("trigger")), "")
        if self._reason and (context.get("requested") or text_of(context.get("reason"))):
            self._reason = text_of(context.get("reason")) or "asked for"
        return bool(self._reason)

    def get_trigger_reason(self) -> str:
        return self._reason


_OCCASIONS = {
    "session.compacting": "the session is being compacted",
    "session.compacted": "the session was compacted",
    "session.end": "the session ended",
}


def engine_of(settings: Settings) -> CompactionEngine:
    """The engine of a process: an occasion, then the settings' strategies, then those that plugins register.

    A plugin finds it as the adapter's engine. If it sets one of its own instead, that one's strategies are taken over.
    """
    engine = CompactionEngine(settings.home)
    engine.register_strategy(Occasion())
    for strategy in _of_settings(settings):
        engine.register_strategy(strategy)
    adapter = MemoryPluginAdapter()
    adapter.set_compaction_engine(engine)
    for loaded in load(adapter, home=settings.home):
        if loaded.error:
            log.error("plugin was skipped module=%s source=%s: %s", loaded.module, loaded.source, loaded.error)
    own = adapter.compaction_engine
    for strategy in own.strategies if own is not None and own is not engine else ():
        engine.register_strategy(strategy)
    return engine


def decide(engine: CompactionEngine, event: Event, events: int) -> Decision:
    """Whether an event is a reason for a checkpoint. Never raises, and takes a few seconds at most.

    Args:
        events: how many events of the session, that say something, came since the checkpoint before.
    """
    if not events:
        return Decision(False, "nothing happened since the checkpoint before")
    context = {
        "token_count": event.data.get("context_size") or event.data.get("tokens_before") or 0,
        **event.data,
        "session_id": event.session,
        "project_root": Path(event.project) if event.project else None,
        "timestamp": event.time.isoformat(timespec="milliseconds"),
        "entry_count": events,
        "last_activity": event.time.isoformat(timespec="milliseconds"),
        "trigger": event.type,
    }
    decided: list[Decision] = []
    # Not in this thread: a plugin's strategy that hangs must not take the worker with it.
    asking = threading.Thread(target=lambda: decided.append(engine.decide(context)), name="strategies", daemon=True)
    asking.start()
    asking.join(SECONDS)
    if decided:
        return decided[0]
    log.warning("strategies took longer than seconds=%s event=%s", SECONDS, event.id)
    return Decision(False, f"strategies took longer than {SECONDS:g} s")


def _of_settings(settings: Settings) -> list[CompactionStrategy]:
    strategies: list[CompactionStrategy] = []
    if settings.compact_percentage:
        strategies.append(ContextPercentage(settings.compact_percentage))
    if settings.compact_tokens:
        strategies.append(TokenCount(settings.compact_tokens))
    if settings.compact_events:
        strategies.append(EntryCount(settings.compact_events))
    return strategies
