"""`memlane plugins`: hooks of users' plugins."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

import typer

from ops.cli.options import project_root
from ops.cli.output import Json, console, examples, print_json, say
from ops.text import plain

app = typer.Typer(help="Look at the hooks of plugins, and try them.", no_args_is_help=True)


@app.command("list", epilog=examples("memlane plugins list", "memlane plugins list --json"))
def list_(as_json: Json = False) -> None:
    """List the plugins that are found from this folder, and their hooks, in the order in which they run.

    Workers run those that are installed or named in the home's config.json; what a project names runs in its agents.
    """
    from rich.table import Table
    from rich.text import Text

    adapter, loaded = _loaded()
    hooks = adapter.list_registered_hooks()
    if as_json:
        plugins = [
            {"module": one.module, "source": one.source, "hooks": list(one.hooks), "error": one.error or None}
            for one in loaded
        ]
        print_json({"plugins": plugins, "events": hooks})
        return
    if not loaded:
        typer.echo("no plugins: docs/plugins.md says how to name one")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("event", no_wrap=True)
    table.add_column("hooks", overflow="fold")
    for event, names in hooks.items():
        table.add_row(Text(event), Text(plain(", ".join(names))))
    console().print(table)
    for one in loaded:
        if one.error:
            say(plain(f"{one.module} was skipped, named by {one.source}: {one.error}"))


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
    adapter, loaded = _loaded()
    for one in loaded:
        if one.error:
            say(plain(f"{one.module} was skipped, named by {one.source}: {one.error}"))
    given = parse_object(data, "data")
    metadata: dict[str, Any] = {"session_id": session, "project_root": str(project_root()), **given}
    context = PluginContext(session, project_root(), user, metadata=metadata)
    names = [hook.name for hook in adapter.hooks(event)]
    results = asyncio.run(adapter.trigger(event, context))
    if as_json:
        answers = [
            {"hook": name, "success": result.success, "message": result.message}
            for name, result in zip(names, results, strict=True)
        ]
        print_json({"event": event, "results": answers})
    else:
        for result in results:
            typer.echo(f"{'done  ' if result.success else 'failed'}  {plain(result.message)}")
    if not results:
        say(f"no hook waits for {event!r}: `memlane plugins list` shows what they wait for")
    if not results or not all(result.success for result in results):
        raise typer.Exit(1)


def _loaded() -> Any:
    """The adapter with all plugins that are found from here, and what became of each."""
    from memory.plugin_adapter import MemoryPluginAdapter
    from memory.plugins import load
    from memory.settings import settings

    adapter = MemoryPluginAdapter(project_root=project_root())
    return adapter, load(adapter, home=settings().home, project_root=project_root())
