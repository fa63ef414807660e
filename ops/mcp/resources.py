"""The resources: sessions and checkpoints, to be listed and read."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from mcp_types import ListResourcesResult, Resource, ResourceTemplate

from memory.history.markdown import one_line, when
from memory.history.operations import HistoryError
from ops.mcp.tools import Tools

SESSION, CHECKPOINT = "memlane://session/", "memlane://checkpoint/"
#: Resources on one page of the list, and messages that a session is read with; its text is bounded anyway.
PAGE, MESSAGES = 50, 200

TEMPLATES = [
    ResourceTemplate(
        uri_template=SESSION + "{sessionId}",
        name="session",
        title="What was said in a session",
        mime_type="text/markdown",
    ),
    ResourceTemplate(
        uri_template=CHECKPOINT + "{checkpoint}",
        name="checkpoint",
        title="Summary of a session at a compaction or checkpoint; `latest` is the last one",
        mime_type="text/markdown",
    ),
]


def listed(tools: Tools, cursor: str | None) -> ListResourcesResult:
    """One page: sessions, the one that was active last first; before the first of them, the latest checkpoints.

    Args:
        cursor: `nextCursor` of the page before.

    Raises:
        As `Tools.call`.
    """
    found = tools.ask("sessions", {"limit": PAGE} | ({"before": cursor} if cursor else {}))["data"]
    resources = [_session(each) for each in found["sessions"]]
    if cursor is None:
        compactions = tools.ask("compactions", {"limit": PAGE})["data"]["compactions"]
        resources = [_checkpoint(each) for each in compactions] + resources
    full = len(found["sessions"]) == PAGE
    return ListResourcesResult(
        resources=resources, next_cursor=found["sessions"][-1]["session"] if full else None, ttl_ms=0
    )


def read(tools: Tools, uri: str) -> str:
    """The text of a resource, as Markdown.

    Raises:
        HistoryError: there is none of this address.
        As `Tools.call`.
    """
    for prefix, tool in ((SESSION, "messages"), (CHECKPOINT, "compactions")):
        if uri.startswith(prefix) and (name := unquote(uri.removeprefix(prefix))):
            args = {"sessionId": name, "limit": MESSAGES} if tool == "messages" else {"read": name}
            text: str = tools.ask(tool, args)["text"]
            return text
    raise HistoryError(f"there is no resource {uri[:200]!r}, use {SESSION}ID or {CHECKPOINT}ID")


def _session(found: dict[str, Any]) -> Resource:
    return Resource(
        uri=SESSION + quote(found["session"], safe=""),
        name=found["session"],
        title=one_line(found["name"], 100),
        description=f"Session of {when(found['started'])} UTC, {found['messages']} messages, {found['writes']} writes"
        + (f", in {found['project']}" if found["project"] else ""),
        mime_type="text/markdown",
    )


def _checkpoint(found: dict[str, Any]) -> Resource:
    return Resource(
        uri=f"{CHECKPOINT}{found['number']}",
        name=f"checkpoint {found['number']}",
        title=f"Checkpoint of {found['session']}",
        description=f"{when(found['time'])} UTC: {one_line(found['summary'], 150)}",
        mime_type="text/markdown",
    )
