"""`memlane dead`: events that could not be dealt with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from ops.cli.options import Group
from ops.cli.output import Json, examples, print_json

app = typer.Typer(help="Look at dead letters: events that could not be dealt with.", no_args_is_help=True)


@app.command("list", epilog=examples("memlane dead list --stage record", "memlane dead list --group shop --json"))
def list_(
    stage: Annotated[str | None, typer.Option(help="Only those of this stage.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first; of all groups, or of one."""
    from memory.ledger.dead import letters
    from ops import clients

    with clients.ledger() as ledger, ledger.read() as connection:
        found = letters(connection, group=group, stage=stage, limit=limit)
    if as_json:
        print_json({"dead": [letter.summary() for letter in found]})
        return
    for letter in found:
        when = datetime.fromtimestamp(letter.time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        typer.echo(f"{letter.n}  {when}  {letter.stage}  {letter.group}  attempts {letter.attempts}  {letter.error}")
    if not found:
        typer.echo("no dead letters")


@app.command("show", epilog=examples("memlane dead show 17"))
def show(
    number: Annotated[int, typer.Argument(help="Number of the dead letter, from `memlane dead list`.")],
    as_json: Json = False,
) -> None:
    """Show one dead letter, with the whole event as it was found."""
    from memory.ledger.dead import letter
    from ops import clients

    with clients.ledger() as ledger, ledger.read() as connection:
        found = letter(connection, number)
    if as_json:
        print_json({**found.summary(), "event": found.event})
        return
    for name, value in found.summary().items():
        typer.echo(f"{name:9} {value if value is not None else '-'}")
    typer.echo(found.event)
