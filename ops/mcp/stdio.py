"""Over stdin and stdout: the client starts us, and ends us by closing our stdin."""

from __future__ import annotations

import os
import signal

import anyio
from mcp.server.stdio import stdio_server

from ops.mcp.server import server
from ops.mcp.tools import Tools


def run(tools: Tools) -> None:
    """Serve until stdin ends, or a signal says so."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # At once: the thread that waits for a line can't be interrupted, and what was remembered is in the lane or the
        # spool before anybody is told so.
        signal.signal(number, lambda *_: os._exit(0))
    anyio.run(_serve, tools)


async def _serve(tools: Tools) -> None:
    found = server(tools)
    async with stdio_server() as (incoming, outgoing):
        await found.run(incoming, outgoing, found.create_initialization_options())
