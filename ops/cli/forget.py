"""`memlane forget`: delete what was said, everywhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import Group, group_or_default, in_order, milliseconds, moment, progress, stored_glob
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted, plain

if TYPE_CHECKING:
    from memory.forget import Forgotten
    from ops.choosing import MatchedPaths

EXAMPLES = examples(
    "memlane forget --id 01JD8XQ4ZK3V9M2N7P5R6S8T0W",
    "memlane forget --session ses_1 --dry-run",
    "memlane forget --path ./src/login.py --dry-run  # this file, as seen from here",
    "memlane forget --path login.py  # in any folder",
    "memlane forget --path 'secrets/*' --yes  # all below the project's secrets/, folders in it, too",
    "memlane forget --user ann@example.org --before 2026-01-01 --yes --json",
)


class NotConfirmed(Exception):
    """Nothing is forgotten without somebody having said so; the message says how to."""


def command(
    id: Annotated[list[str] | None, typer.Option("--id", help="The event with this id; may be given again.")] = None,
    session: Annotated[
        list[str] | None, typer.Option(help="Events of this session, by its whole id; may be given again.")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB",
            help="Events about paths that this matches, as in .gitignore: `src/*` is all below src/, `cart.py` is any "
            "file or folder of that name, `/cart.py` or `./cart.py` only the one at the top, or here.",
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(help="Events of this user, upper and lower case as recorded; may be given again."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="That happened then or later: 2026-11-21, or how long ago: 7d.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="That happened before then; of a date alone, before that day begins (UTC)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only count them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Forget events of a group, for good: those for which all that is given holds.

    Their content goes from the ledger, the full text, the graph, dead letters and cached answers. An empty row keeps
    each id known: published or imported again, it stays forgotten. The servers' files are cleaned each time, also where
    nothing is left to be forgotten. Nothing in an agent's own database is touched.
    """
    from memory.cache import Glob
    from memory.forget import Chosen, matching
    from memory.ledger import books
    from memory.settings import settings
    from ops import clients
    from ops.choosing import check, matched_paths
    from ops.forgetting import Outcome, forget_in, under_way
    from ops.home import Home

    name = group_or_default(group)
    glob = Glob(stored_glob(path)) if path is not None else None
    times = milliseconds(moment(since, "--since")), milliseconds(moment(before, "--before"))
    in_order(*times, "--since", "--before")
    chosen = Chosen(id or (), session or (), glob, user or (), *times)
    with clients.queue() as queue, clients.ledger() as ledger:
        with progress("waiting for the lane"):
            outcome = Outcome(name, matching(ledger, name, chosen), dry_run)
            under_way(outcome, queue, Home(settings().home, settings().valkey), ledger, 0 if dry_run else 30.0)
            with ledger.read() as connection:
                books.exists(connection, name)
            outcome.notes += check(ledger, name, chosen, under_way=bool(outcome.pending or outcome.spooled))
            outcome.forgotten = found = matching(ledger, name, chosen)
            paths = matched_paths(ledger, name, chosen)
        if not dry_run:
            if (found.events or found.dead_letters) and not yes:
                _confirm(found, paths, name)
            with progress("forgetting", found.events) as bar:
                of_ledger, of_graph = bar.task_ids[0], bar.add_task("taking out of the graph", total=found.events)

                def taken_out(events: int, total: int) -> None:
                    bar.update(of_graph, advance=events, total=total)

                forget_in(outcome, queue, ledger, chosen, lambda events: bar.advance(of_ledger, events), taken_out)
    for note in outcome.notes:
        say(note)
    if as_json:
        print_json({**outcome.as_json(), "matched_paths": paths.as_json() if paths else None})
        return
    done = outcome.forgotten
    typer.echo(f"{'would forget' if dry_run else 'forgot'} {counted(done.events, 'event')} of {name}")
    for type, count in done.types.most_common():
        typer.echo(f"  {count:6,}  {plain(type)}")
    if dry_run and paths and paths.count:
        typer.echo(f"about {counted(paths.count, 'path')}: {paths}")
    parts = ("dead_letters", "paths", "sessions", "episodes", "entities", "facts")
    for what in parts if not dry_run else parts[:1]:
        if count := getattr(done, what):
            typer.echo(f"  {count:6,}  {what.replace('_', ' ')}")


def _confirm(found: Forgotten, paths: MatchedPaths | None, group: str) -> None:
    """
    Raises:
        NotConfirmed: nobody can be asked, or the answer is no.
    """
    what = counted(found.events, "event")
    what += f" and {counted(found.dead_letters, 'dead letter')}" if found.dead_letters else ""
    about = f", about {counted(paths.count, 'path')} ({paths})," if paths and paths.count else ""
    if not sys.stdin.isatty():
        raise NotConfirmed(
            f"{what} of {group}{about} would be forgotten for good, and nobody can be asked here: add --yes"
        )
    if about:
        say(f"{what} of {group}{about.rstrip(',')}")
    if not typer.confirm(f"forget {what} of {group} for good?", err=True):
        raise NotConfirmed("nothing was forgotten")
