"""`memlane import`: what agents did before Memlane was there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import progress
from ops.cli.output import Json, examples, print_json, say

app = typer.Typer(help="Import what agents did before.", no_args_is_help=True)


@app.callback()
def sources() -> None:
    """Import what agents did before. Importing again changes nothing."""


@app.command("opencode", epilog=examples("memlane import opencode", "memlane import opencode ~/old/opencode.db --json"))
def opencode(
    path: Annotated[
        Path | None,
        typer.Argument(show_default="OPENCODE_DB, else ~/.local/share/opencode/opencode.db", help="The database."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", "-g", show_default="that of each session's folder", help="Put all into this group."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish the sessions, messages, file writes, errors and completions of an OpenCode database.

    It is only read, also while OpenCode runs. An event that was imported or captured before changes nothing.
    """
    from ops.imports import import_opencode

    with progress("importing") as bar:
        result = import_opencode(path, group, lambda done, of: bar.update(bar.task_ids[0], completed=done, total=of))
    if as_json:
        print_json(result.as_json())
        return
    for line in result.skipped:
        say(f"skipped {line}")
    groups = ", ".join(sorted(result.groups)) or "no group"
    typer.echo(f"published {result.types.total()} events of {len(result.sessions)} sessions into {groups}")
    for type, count in result.types.most_common():
        typer.echo(f"  {count:6,}  {type}")
