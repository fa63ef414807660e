"""The protocol's side: the official SDK's server, with our tools and resources."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mcp_types as types
from anyio import to_thread
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from memory.history.operations import HistoryError
from ops.cli import OURS
from ops.mcp import resources
from ops.mcp.tools import Tools, definitions

log = logging.getLogger(__name__)

INSTRUCTIONS = (
    "Memlane is the memory that all agents working on this project share. Recall before you begin; remember decisions, "
    "conventions and pitfalls that others will need."
)


def server(tools: Tools) -> Server[Any]:
    """A server for these tools. What fails in a tool is an error of the tool, told to the model."""

    async def list_tools(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=definitions())

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            text = await to_thread.run_sync(tools.call, params.name, params.arguments or {})
        except Exception as error:
            return types.CallToolResult(content=[types.TextContent(text=_told(error))], is_error=True)
        return types.CallToolResult(content=[types.TextContent(text=text)])

    async def list_resources(_: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        found: types.ListResourcesResult = await _resource(resources.listed, tools, params.cursor if params else None)
        return found

    async def list_templates(_: Any, __: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=resources.TEMPLATES)

    async def read_resource(_: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        text: str = await _resource(resources.read, tools, params.uri)
        contents = types.TextResourceContents(uri=params.uri, mime_type="text/markdown", text=text)
        return types.ReadResourceResult(contents=[contents], ttl_ms=0)

    return Server(
        "memlane",
        title="Memlane",
        version=version("memlane"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _resource(look: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return await to_thread.run_sync(look, *arguments)
    except Exception as error:
        code = types.INVALID_PARAMS if isinstance(error, HistoryError) else types.INTERNAL_ERROR
        raise MCPError(code=code, message=_told(error)) from None


def _told(error: Exception) -> str:
    """What the model is told of an error: ours say what happened and what to do; of others, only the kind."""
    if type(error).__module__.partition(".")[0] in OURS:
        return str(error)
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    return f"unexpected {type(error).__name__} in Memlane's MCP server: its log says where"
