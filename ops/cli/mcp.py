"""`memlane mcp`: the memory for any agent that speaks MCP."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import Group, group_or_default, project_root
from ops.cli.output import Json, examples, print_json

EXAMPLES = examples(
    "memlane mcp  # started by the agent, over stdin and stdout",
    "memlane mcp --http --port 6390",
    "claude mcp add memlane -- memlane mcp",
)


def command(
    http: Annotated[
        bool, typer.Option("--http", metavar="", help="Serve streamable HTTP on 127.0.0.1, for who has the token.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port for --http; 0: any that is free.")] = 6390,
    session: Annotated[
        str | None, typer.Option(envvar="MEMLANE_SESSION", help="Id of the session that asks, if it is known.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(envvar="MEMLANE_AGENT", help="Agent that remembers, for the memory.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a worker's answer.")] = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Serve the group's memory to an agent by the Model Context Protocol: tools memory, remember and memory_compact,
    and its sessions and checkpoints as resources. docs/mcp.md has the lines for each client.

    While the queue server is away, calls fail with what to do, and what is to be remembered waits in the spool.
    """
    if as_json and not http:
        raise typer.BadParameter("--json needs --http: without, stdout is the protocol's")
    # stdout is the protocol's; so that nothing of an event gets into a log, only what is wrong is told.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="memlane: %(message)s")
    from memory.settings import settings
    from ops.mcp.tools import Tools

    tools = Tools(group_or_default(group), project_root(), settings().plans, session, agent, deadline)
    if not http:
        from ops.mcp import stdio

        stdio.run(tools)
        return
    from ops.mcp import http as over_http

    def ready(address: str, token_file: Path) -> None:
        if as_json:
            print_json({"group": tools.group, "url": address, "token_file": str(token_file)})
        else:
            typer.echo(f"memory of {tools.group} at {address}, token in {token_file}; Ctrl-C stops it")

    over_http.run(tools, settings().home, port, ready)
