"""What a user asks memory for: remember, query, forget."""

from __future__ import annotations

import re
from typing import Any

from memory.mechanisms.given import Forget, Publish, Recall, published, used
from memory.plugin_adapter import HookEvent, MemoryPluginHook, PluginContext

ACTIONS = ("remember", "query", "forget")

#: A request that says what to do: "/forget the old rule", "remember: deploys are on Tuesdays", "remember that …". Not
#: "remember when …?", nor "forget it".
_COMMAND = re.compile(r"(?:/(\w+)\s|(\w+)\s*:|(remember)\s+that\s)\s*(\S.*)", re.IGNORECASE | re.DOTALL)


class UserRequestMechanism(MemoryPluginHook):
    """Does what `action` says, or else what the request begins with; else it is a question."""

    def __init__(
        self, publish: Publish | None = None, recall: Recall | None = None, forget: Forget | None = None
    ) -> None:
        self._publish = publish
        self._recall = recall
        self._forget = forget

    @property
    def name(self) -> str:
        return "user_request"

    @property
    def trigger_event(self) -> str:
        return HookEvent.ON_USER_REQUEST

    async def _execute_impl(self, context: PluginContext) -> dict[str, Any]:
        """
        Returns:
            `action`; of remember `event`, of query and forget what the callables return.

        Raises:
            NotGiven: the callable for it was not given.
        """
        action, request = asked(context.metadata)
        if not request:
            return {"success": False, "error": "no request: metadata has no text `request`"}
        if action not in ACTIONS:
            return {"success": False, "error": f"unknown action: it must be one of {', '.join(ACTIONS)}"}
        if action == "remember":
            return {"action": action, "event": await self._remembered(context, request), "message": "remembered"}
        if action == "forget":
            options = {"session": context.session_id} if context.session_id else {}
            found = await used("forget", self._forget, request, **options)
            return {"message": "forgotten", **_dictionary(found), "action": action}
        found = _dictionary(await used("recall", self._recall, request))
        return {"message": f"{len(found.get('items') or ())} memories found", **found, "action": action}

    async def _remembered(self, context: PluginContext, request: str) -> str:
        if context.metadata.get("event_id"):
            # It was published already, and a worker runs this for it: to publish it again would never end.
            return str(context.metadata["event_id"])
        return await published(self._publish, context, "user.request", {"request": request, "action": "remember"})


def asked(metadata: dict[str, Any]) -> tuple[str, str]:
    """What to do, and with what: of "remember that deploys are on Tuesdays" the second is "deploys are on Tuesdays"."""
    action, request = metadata.get("action"), metadata.get("request")
    request = request.strip() if isinstance(request, str) else ""
    if action is not None:
        return str(action).lower(), request
    command = _COMMAND.fullmatch(request)
    word = (command[1] or command[2] or command[3]).lower() if command else ""
    return (word, command[4]) if command and word in ACTIONS else ("query", request)


def _dictionary(value: Any) -> dict[str, Any]:
    """What a callable returned, as data."""
    return dict(value) if isinstance(value, dict) else {} if value is None else {"result": value}
