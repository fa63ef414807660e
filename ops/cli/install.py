"""`memlane install`: have agents use Memlane."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import project_root
from ops.cli.output import Json, examples, print_json, say

app = typer.Typer(help="Have agents on this machine use Memlane.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """Have agents on this machine use Memlane."""


@app.command(
    "opencode",
    epilog=examples(
        "memlane install opencode", "memlane install opencode --project", "memlane install opencode --uninstall"
    ),
)
def opencode(
    project: Annotated[
        bool, typer.Option("--project", metavar="", help="In this project's configuration, not in the user's.")
    ] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", metavar="", help="Take the plugin out again.")] = False,
    as_json: Json = False,
) -> None:
    """Add Memlane's plugin to OpenCode's configuration.

    It is one entry of the list `plugin` in opencode.json (or opencode.jsonc); comments and all else stay as they are,
    and what was there before is kept beside it. Done again, it changes nothing.
    """
    from ops.install import opencode as there
    from producers.address import QueueUnknown, queue_url, without_password

    file = there.configuration(project_root() if project else None)
    done = there.uninstall(file) if uninstall else there.install(file)
    loaded = there.installed(file)
    try:
        queue = without_password(queue_url())
    except QueueUnknown:
        queue = None
    if as_json:
        backup = str(done.backup) if done.backup else None
        found = {"file": str(done.file), "plugin": done.plugin, "installed": loaded is not None}
        print_json({**found, "changed": done.changed, "backup": backup, "queue": queue})
        return
    if uninstall:
        typer.echo(f"taken out of {done.file}" if done.changed else f"{done.file} does not have it")
        return
    typer.echo(f"{done.file} {'now loads' if done.changed else 'loads'} {done.plugin}")
    if done.backup:
        typer.echo(f"as it was before: {done.backup}")
    if queue is None:
        say("no queue server runs here yet: start it with `memlane up`, or set MEMLANE_VALKEY_URL for OpenCode")
