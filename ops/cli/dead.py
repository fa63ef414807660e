"""`memlane dead`: events that could not be dealt with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from ops.cli.options import OnlyGroup, checked_group, progress
from ops.cli.output import Json, console, examples, print_json, say
from ops.text import plain

app = typer.Typer(help="Look at events that could not be dealt with, and retry them.", no_args_is_help=True)


#: Most letters that one `retry --stage` takes.
MOST_RETRIED = 10_000


class NoSuchStage(Exception):
    """There is no stage of this name; the message names those there are."""


@app.command("list", epilog=examples("memlane dead list --stage record", "memlane dead list --group shop --json"))
def list_(
    stage: Annotated[str | None, typer.Option(help="Only those of this stage.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    group: OnlyGroup = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first; of all groups, or of one."""
    from rich.table import Table
    from rich.text import Text

    from memory.ledger.dead import letters
    from ops import clients

    with clients.ledger() as ledger, ledger.read() as connection:
        found = letters(connection, group=checked_group(group), stage=_checked_stage(stage), limit=limit)
    if as_json:
        print_json({"dead": [letter.summary() for letter in found]})
        return
    if not found:
        typer.echo("no dead letters")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("number", "time (UTC)", "stage", "group"):
        table.add_column(column, no_wrap=True)
    table.add_column("attempts", justify="right")
    table.add_column("error", overflow="fold")
    for letter in found:
        cells = (str(letter.n), _utc(letter.time), letter.stage, letter.group, str(letter.attempts), letter.error)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console().print(table)
    if len(found) == limit:
        typer.echo(f"the newest {limit}; --limit shows more")


@app.command("show", epilog=examples("memlane dead show 17", "memlane dead show 17 --json"))
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
    for name, value in {**found.summary(), "time": f"{_utc(found.time)} UTC"}.items():
        typer.echo(f"{name:9} {plain(str(value)) if value is not None else '-'}")
    typer.echo(f"event\n{plain(_laid_out(found.event))}")


@app.command("retry", epilog=examples("memlane dead retry 17 18", "memlane dead retry --stage episodes"))
def retry(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers, from `memlane dead list`.")] = None,
    stage: Annotated[str | None, typer.Option(help="All those of this stage.")] = None,
    group: OnlyGroup = None,
    as_json: Json = False,
) -> None:
    """Deal with dead letters again, oldest first, once what was wrong is mended. Exits 1 if one fails again."""
    from memory.ledger.dead import letter, letters
    from ops import clients
    from ops.retry import RetryFailed
    from ops.retry import retry as again

    if bool(numbers) == (stage is not None):
        raise typer.BadParameter("give either numbers, or --stage")
    with clients.ledger() as ledger, ledger.read() as connection:
        if numbers:
            found = [letter(connection, number) for number in numbers]
        else:
            found = letters(connection, group=checked_group(group), stage=_checked_stage(stage), limit=MOST_RETRIED)
    retried: list[int] = []
    failed: list[dict[str, object]] = []
    with progress("retrying", len(found)) as bar:
        for each in sorted(found, key=lambda one: one.n):
            try:
                again(each)
                retried.append(each.n)
            except RetryFailed as error:
                failed.append({"number": each.n, "error": str(error)})
                say(plain(str(error)))
            bar.advance(bar.task_ids[0])
    if as_json:
        print_json({"retried": retried, "failed": failed})
    else:
        typer.echo(f"retried {len(retried)}" + (f", {len(failed)} failed again" if failed else ""))
    if failed:
        raise typer.Exit(1)


def _checked_stage(stage: str | None) -> str | None:
    if stage is not None:
        from workers.stages import STAGES

        if stage not in STAGES:
            raise NoSuchStage(f"there is no stage {stage[:80]!r}: the stages are {', '.join(STAGES)}")
    return stage


def _laid_out(event: str) -> str:
    """JSON on lines of its own; all else as it is."""
    try:
        return json.dumps(json.loads(event), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return event


def _utc(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
