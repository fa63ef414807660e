"""`memlane import`: what agents did before Memlane was there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import checked_group, progress
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted, plain

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

    # Skipped rows are told at the end, not while the bar is drawn.
    logging.getLogger("producers.opencode_db").addHandler(logging.NullHandler())
    name = checked_group(group)
    with progress("importing") as bar:
        task = bar.task_ids[0]
        result = import_opencode(path, name, lambda done, of: bar.update(task, completed=done, total=of))
    if as_json:
        print_json(result.as_json())
        return
    for line in result.skipped:
        say(f"skipped {plain(line)}")
    groups = ", ".join(sorted(result.groups)) or "no group"
    sessions = counted(len(result.sessions), "session")
    typer.echo(f"published {counted(result.types.total(), 'event')} of {sessions} into {groups}")
    for type, count in result.types.most_common():
        typer.echo(f"  {count:6,}  {type}")
