"""`memlane dead`: events that could not be dealt with."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import UNITS, OnlyGroup, checked_group, hint_at_groups, progress
from ops.cli.output import Json, console, examples, print_json, say
from ops.text import counted, plain

if TYPE_CHECKING:
    from memory.ledger.dead import Selection

app = typer.Typer(help="Look at events that could not be dealt with; retry or drop them.", no_args_is_help=True)

#: Letters that are read at once to be retried, each with its event; and those that one transaction deletes.
RETRIED_AT_ONCE, DROPPED_AT_ONCE = 50, 500

#: The largest number that a row can have.
_LAST = 2**63 - 1
Numbers = Annotated[list[int] | None, typer.Argument(min=1, max=_LAST, help="Their numbers, from `memlane dead list`.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only of the event with this id; may be given again.")]
OnlyStage = Annotated[str | None, typer.Option("--stage", help="Only of this stage.")]
WithError = Annotated[
    str | None, typer.Option("--error", metavar="TEXT", help="Only where the error holds this text, in any case.")
]
OlderThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Only those given up longer ago than this: 7d, 12h, 30m or 45s.")
]


class NoSuchStage(Exception):
    """There is no stage of this name; the message names those there are."""


class NotConfirmed(Exception):
    """Letters are not deleted without somebody having said so; the message says how to."""


@app.command(
    "list",
    epilog=examples(
        "memlane dead list --stage record",
        "memlane dead list --error timeout --older-than 12h",
        "memlane dead list --group shop --json",
    ),
)
def list_(
    numbers: Numbers = None,
    id: Ids = None,
    stage: OnlyStage = None,
    error: WithError = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=_LAST, help="At most so many, newest first.")] = 50,
    group: OnlyGroup = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first; all, or those for which all that is given holds."""
    from rich.table import Table
    from rich.text import Text

    from memory.ledger.dead import Selected
    from ops import clients

    selection = _selection(numbers, id, stage, error, older_than, group)
    with clients.ledger() as ledger, ledger.read() as connection:
        selected = Selected(connection, selection)
        found = selected.newest(connection, limit)
    if not found:
        hint_at_groups(group)
    if as_json:
        print_json({"dead": [letter.summary() for letter in found], "total": selected.total})
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
    if len(found) < selected.total:
        typer.echo(f"the newest {len(found):,} of {selected.total:,}; --limit shows more")


@app.command("show", epilog=examples("memlane dead show 17", "memlane dead show 17 --json"))
def show(
    number: Annotated[
        int, typer.Argument(min=1, max=_LAST, help="Number of the dead letter, from `memlane dead list`.")
    ],
    as_json: Json = False,
) -> None:
    """Show one dead letter, with the whole event as it was found, but for secrets and private text."""
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


@app.command(
    "retry",
    epilog=examples(
        "memlane dead retry 17 18",
        "memlane dead retry --stage episodes --older-than 30m",
        "memlane dead retry --id 01JD8XQ4ZK3V9M2N7P5R6S8T0W",
    ),
)
def retry(
    numbers: Numbers = None,
    id: Ids = None,
    stage: OnlyStage = None,
    error: WithError = None,
    older_than: OlderThan = None,
    group: OnlyGroup = None,
    as_json: Json = False,
) -> None:
    """Deal with dead letters again, oldest first, once what was wrong is mended. Exits 1 if one fails again."""
    from memory.ledger.dead import NoSuchLetter, Selected
    from ops import clients
    from ops.retry import RetryFailed
    from ops.retry import retry as again

    selection = _chosen(_selection(numbers, id, stage, error, older_than, group))
    retried: list[int] = []
    failed: list[dict[str, object]] = []
    with clients.ledger() as ledger:
        with ledger.read() as connection:
            selected = Selected(connection, selection)
        last = 0
        with progress("retrying", selected.total) as bar:
            while True:
                with ledger.read() as connection:
                    letters = selected.following(connection, last, RETRIED_AT_ONCE)
                if not letters:
                    break
                for each in letters:
                    try:
                        again(each)
                        retried.append(each.n)
                    except (RetryFailed, NoSuchLetter) as problem:
                        failed.append({"number": each.n, "error": str(problem)})
                        say(plain(str(problem)))
                    bar.advance(bar.task_ids[0])
                last = letters[-1].n
    if as_json:
        print_json({"retried": retried, "failed": failed})
    else:
        typer.echo(f"retried {len(retried):,}" + (f", {len(failed):,} failed again" if failed else ""))
    if failed:
        raise typer.Exit(1)


@app.command(
    "drop",
    epilog=examples(
        "memlane dead drop 17 18",
        'memlane dead drop --stage record --error "not valid JSON"',
        "memlane dead drop --older-than 7d --yes",
    ),
)
def drop(
    numbers: Numbers = None,
    id: Ids = None,
    stage: OnlyStage = None,
    error: WithError = None,
    older_than: OlderThan = None,
    group: OnlyGroup = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete dead letters for good. Asks first, unless each is named by its number. The books go on counting them."""
    from memory.ledger import dead
    from ops import clients

    selection = _chosen(_selection(numbers, id, stage, error, older_than, group))
    dropped: list[int] = []
    with clients.ledger() as ledger:
        with ledger.read() as connection:
            selected = dead.Selected(connection, selection)
        if selected.total and not yes and selection != dead.Selection(numbers=selection.numbers):
            _confirm(selected.total)
        try:
            last = 0
            with progress("dropping", selected.total) as bar:
                while True:
                    with ledger.write() as connection:
                        following = selected.numbers(connection, last, DROPPED_AT_ONCE)
                        gone = dead.drop(ledger, connection, following) if following else []
                    dropped += gone
                    if not following:
                        break
                    bar.advance(bar.task_ids[0], len(following))
                    last = following[-1]
        except BaseException:
            say(f"{counted(len(dropped), 'dead letter')} of {selected.total:,} had been dropped before it stopped")
            raise
    if as_json:
        print_json({"dropped": dropped})
    else:
        typer.echo(f"dropped {len(dropped):,}")


def _selection(
    numbers: list[int] | None,
    ids: list[str] | None,
    stage: str | None,
    error: str | None,
    older_than: str | None,
    group: str | None,
) -> Selection:
    from memory.ledger.dead import Selection

    return Selection(
        numbers=tuple(numbers or ()),
        ids=tuple(ids or ()),
        stage=_checked_stage(stage),
        group=checked_group(group),
        error=error,
        before=None if older_than is None else int((time.time() - _seconds(older_than)) * 1000),
    )


def _chosen(selection: Selection) -> Selection:
    """A selection that is not of all letters."""
    from memory.ledger.dead import Selection

    if selection == Selection():
        raise typer.BadParameter("say which: numbers, --id, --stage, --error, --older-than or --group")
    return selection


def _confirm(letters: int) -> None:
    """Ask whether so many letters are to be deleted.

    Raises:
        NotConfirmed: they are not, or nobody can be asked.
    """
    what = counted(letters, "dead letter")
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{what} would be deleted for good, and nobody can be asked here: confirm with --yes")
    if not typer.confirm(f"delete {what} for good?", err=True):
        raise NotConfirmed("nothing was dropped")


def _seconds(age: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", age)
    if match is None:
        raise typer.BadParameter(f"--older-than is {age[:80]!r}: a number and one of d, h, m and s, as in 7d or 12h")
    return int(match[1]) * UNITS[match[2]]


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
