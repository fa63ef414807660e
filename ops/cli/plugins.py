"""`memlane plugins`: hooks of users' plugins."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.options import project_root
from ops.cli.output import Json, console, examples, print_json, say
from ops.text import plain

if TYPE_CHECKING:
    from memory.plugin_adapter import MemoryPluginAdapter
    from memory.plugins import Loaded

app = typer.Typer(help="Look at the hooks of plugins, and try them.", no_args_is_help=True)


@app.command("list", epilog=examples("memlane plugins list", "memlane plugins list --json"))
def list_(as_json: Json = False) -> None:
    """List the plugins that are found from this folder, and their hooks, in the order in which they run.

    Workers run those that are installed or named in the home's config.json; what a project names runs in its agents.
    What was skipped, and why, is said on stderr; the exit code is 0 all the same.
    """
    from rich.table import Table
    from rich.text import Text

    with redirect_stdout(sys.stderr):  # plugins may print
        adapter, loaded = _loaded()
    hooks = adapter.list_registered_hooks()
    if as_json:
        plugins = [
            {
                "module": one.module,
                "source": one.source,
                "workers": one.in_workers,
                "hooks": list(one.hooks),
                "replaced": list(one.replaced),
                "error": one.error or None,
            }
            for one in loaded
        ]
        print_json({"plugins": plugins, "events": hooks})
        return
    if not loaded:
        typer.echo("no plugins: docs/plugins.md says how to name one")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("plugin", "named by", "runs in", "hooks"):
        table.add_column(heading, overflow="fold")
    for one in loaded:
        if not one.error:
            runs_in = "agents, workers" if one.in_workers else "agents"
            cells = (one.module, one.source, runs_in, ", ".join(one.hooks) or "-")
            table.add_row(*(Text(plain(cell)) for cell in cells))
    if table.row_count:
        console().print(table)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("event", no_wrap=True)
    table.add_column("hooks", overflow="fold")
    for event, names in hooks.items():
        table.add_row(Text(plain(event)), Text(plain(", ".join(names))))
    if table.row_count:
        console().print()
        console().print(table)
    _say_problems(loaded)


@app.command(
    "run",
    epilog=examples(
        "memlane plugins run on_session_start --session s1",
        'memlane plugins run context.warning --data \'{"context_size": 150000, "limit": 200000}\'',
    ),
)
def run(
    event: Annotated[str, typer.Argument(help="What happened: a hook event, or a type of event.")],
    session: Annotated[str, typer.Option(help="Session it happened in.")] = "manual",
    user: Annotated[str | None, typer.Option(help="User it happened to.")] = None,
    data: Annotated[str, typer.Option(help="The event's data, as a JSON object.")] = "{}",
    as_json: Json = False,
) -> None:
    """Run the hooks of an event here and now, with debug logging; nothing is published or stored by Memlane itself.

    Exits 1 if a hook failed, or if none waits for the event.
    """
    from memory.plugin_adapter import PluginContext
    from ops.cli.publish import parse_object

    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    given = parse_object(data, "data")
    with redirect_stdout(sys.stderr):  # plugins may print
        adapter, loaded = _loaded()
        _say_problems(loaded)
        metadata: dict[str, Any] = {"session_id": session, "project_root": str(project_root()), **given}
        context = PluginContext(session, project_root(), user, metadata=metadata)
        names = [hook.name for hook in adapter.hooks(event)]
        loop = asyncio.new_event_loop()
        results = loop.run_until_complete(adapter.trigger(event, context))
    if as_json:
        answers = [
            {"hook": name, "success": result.success, "message": result.message, "data": _shown(result.data)}
            for name, result in zip(names, results, strict=True)
        ]
        print_json({"event": event, "results": answers})
    else:
        for result in results:
            typer.echo(f"{'done  ' if result.success else 'failed'}  {plain(result.message)}")
            if result.success and set(result.data) - {"message"}:
                typer.echo(f"        {plain(json.dumps(_shown(result.data), ensure_ascii=False))}")
    if not results:
        say(f"no hook waits for {event!r}: `memlane plugins list` shows what they wait for")
    failed = not results or not all(result.success for result in results)
    if any(not task.done() for task in asyncio.all_tasks(loop)):
        # What goes on although it was cancelled would keep a loop that is closed in order from ever closing.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(failed))
    loop.close()
    if failed:
        raise typer.Exit(1)


def _shown(data: dict[str, Any]) -> Any:
    """A hook's data as JSON has it; what JSON can't hold, as text."""
    return json.loads(json.dumps(data, default=str, skipkeys=True))


def _say_problems(loaded: list[Loaded]) -> None:
    for one in loaded:
        if problem := one.problem():
            say(plain(problem))


def _loaded() -> tuple[MemoryPluginAdapter, list[Loaded]]:
    """The adapter with all plugins that are found from here, and what became of each."""
    from memory.plugin_adapter import MemoryPluginAdapter
    from memory.plugins import load
    from memory.settings import settings

    adapter = MemoryPluginAdapter(project_root=project_root())
    return adapter, load(adapter, home=settings().home, project_root=project_root())
