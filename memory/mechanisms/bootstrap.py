"""At a session's start: load what memory holds on it, to be given to the agent."""

from __future__ import annotations

from typing import Any

from memory.mechanisms.given import Recall, used
from memory.plugin_adapter import HookEvent, MemoryPluginHook, PluginContext


class BootstrapMechanism(MemoryPluginHook):
    """Asks for what is relevant to the session: its `query`, its title, or else the project."""

    def __init__(self, recall: Recall | None = None, tokens: int | None = None) -> None:
        """
        Args:
            tokens: budget of what is loaded; None: that of `recall`.
        """
        self._recall = recall
        self._tokens = tokens

    @property
    def name(self) -> str:
        return "bootstrap"

    @property
    def trigger_event(self) -> str:
        return HookEvent.ON_SESSION_START

    async def _execute_impl(self, context: PluginContext) -> dict[str, Any]:
        """
        Returns:
            `question`, `context` (text for the agent; empty if nothing is known), `tokens`, `items` (their number).

        Raises:
            NotGiven: there is no `recall`.
        """
        question = question_of(context)
        options = {} if self._tokens is None else {"tokens": self._tokens}
        answer = await used("recall", self._recall, question, **options)
        items = len(answer.get("items") or ())
        return {
            "question": question,
            "context": answer.get("context") or "",
            "tokens": answer.get("tokens") or 0,
            "items": items,
            "message": f"{items} memories loaded",
        }


def question_of(context: PluginContext) -> str:
    """What a session that starts is likely to need."""
    for name in ("query", "request", "title"):
        text = context.metadata.get(name)
        if isinstance(text, str) and text.strip():
            return text.strip()
    project = f" in {context.project_root.name}" if context.project_root and context.project_root.name else ""
    return f"recent work, decisions, errors and open tasks{project}"
