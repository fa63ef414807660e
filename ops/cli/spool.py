"""`memlane spool`: events that wait on this machine for the queue server."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import OnlyGroup, checked_group, progress
from ops.cli.output import Json, console, examples, print_json, say
from ops.text import counted

app = typer.Typer(
    help="Look at the events that wait on this machine for the queue server, and send them.", no_args_is_help=True
)


@app.command("list", epilog=examples("memlane spool list", "memlane spool list --json"))
def list_(group: OnlyGroup = None, as_json: Json = False) -> None:
    """List the spools of this home that hold events."""
    from rich.table import Table
    from rich.text import Text

    from memory.settings import settings
    from ops.spools import waiting

    found = waiting(settings().home, checked_group(group))
    if as_json:
        print_json({"spools": [{"group": one.group, "events": one.events, "bytes": one.bytes} for one in found]})
        return
    if not found:
        typer.echo("nothing waits")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("group", overflow="fold")
    table.add_column("events", justify="right")
    table.add_column("bytes", justify="right")
    for one in found:
        table.add_row(Text(one.group), f"{one.events:,}", f"{one.bytes:,}")
    console().print(table)


@app.command("flush", epilog=examples("memlane spool flush", "memlane spool flush --group shop-3f2a91bc --timeout 5"))
def flush(
    group: OnlyGroup = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Give up after so many seconds.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Send what waits, in its order. Exits 1 if something still waits afterwards."""
    from memory.settings import settings
    from ops import spools

    name, home = checked_group(group), settings().home
    with progress("sending", sum(one.events for one in spools.waiting(home, name))) as bar:
        flushed, problem = spools.flush(home, name, timeout, progress=lambda sent: bar.advance(bar.task_ids[0], sent))
    sent, left, torn = (sum(getattr(one, term) for one in flushed) for term in ("sent", "waiting", "torn"))
    if as_json:
        print_json({"sent": sent, "waiting": left, "torn": torn})
    else:
        typer.echo(f"sent {counted(sent, 'event')}" + (f", {left:,} still wait" if left else ""))
    if torn:
        say(f"left out {counted(torn, 'line')} that a power cut or a full disk had torn off before it was accepted")
    if problem:
        say(problem)
    if left:
        raise typer.Exit(1)
