"""`memlane import`: what was before Memlane was there, or in another Memlane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import checked_group, moment, progress
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted, plain

if TYPE_CHECKING:
    from memory.ledger import Ledger
    from ops.imports import Imported, Progress

app = typer.Typer(help="Import what was before, or an export.", no_args_is_help=True)

#: Lines that are told of what could not be imported; with --json all of them are.
MOST_TOLD = 20


def _group(default: str) -> object:
    return typer.Option("--group", "-g", show_default=default, help="Put all into this group.")


@app.callback()
def sources() -> None:
    """Import what was before, or an export. Importing again changes nothing."""


@app.command("opencode", epilog=examples("memlane import opencode", "memlane import opencode ~/old/opencode.db --json"))
def opencode(
    path: Annotated[
        Path | None,
        typer.Argument(show_default="OPENCODE_DB, else ~/.local/share/opencode/opencode.db", help="The database."),
    ] = None,
    group: Annotated[str | None, _group("that of each session's folder")] = None,
    as_json: Json = False,
) -> None:
    """Publish the sessions, messages, file writes, errors and completions of an OpenCode database.

    It is only read, also while OpenCode runs. An event that was imported or captured before changes nothing.
    """
    from ops.imports import import_opencode

    # Skipped rows are told at the end, not while the bar is drawn.
    logging.getLogger("producers.opencode_db").addHandler(logging.NullHandler())
    name = checked_group(group)
    with _ledger() as ledger:
        _run(lambda told: import_opencode(path, name, told, ledger), as_json)


@app.command(
    "claude-code",
    epilog=examples(
        "memlane import claude-code",
        "memlane import claude-code ~/.claude/projects/-home-dev-shop",
        "memlane import claude-code old.jsonl --group shop --json",
    ),
)
def claude_code(
    path: Annotated[
        Path | None,
        typer.Argument(
            show_default="CLAUDE_CONFIG_DIR, else ~/.claude; in there projects",
            help="A folder of transcripts, or one of them.",
        ),
    ] = None,
    group: Annotated[str | None, _group("that of the folder each session began in")] = None,
    as_json: Json = False,
) -> None:
    """Publish what Claude Code's transcripts tell: messages, tool calls, file writes, errors, todos, compactions.

    They are only read, also while Claude Code runs; import again later for what came since.
    """
    from ops.imports import import_claude_code

    name = checked_group(group)
    with _ledger() as ledger:
        _run(lambda told: import_claude_code(path, name, told, ledger), as_json)


@app.command(
    "git",
    epilog=examples(
        "memlane import git",
        "memlane import git ~/shop --since 365d",
        "memlane import git ~/shop --branch release --limit 1000 --json",
    ),
)
def git(
    repository: Annotated[
        Path, typer.Argument(show_default="this folder's", help="A folder of the repository, or a bare one.")
    ] = Path(),
    branch: Annotated[str, typer.Option("--branch", "-b", help="A branch, or any revision.")] = "HEAD",
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only commits since then: 2026-11-21, or how long ago: 365d.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=2**31 - 1, help="Only so many, the newest.")] = None,
    group: Annotated[str | None, _group("MEMLANE_GROUP, else the repository's")] = None,
    as_json: Json = False,
) -> None:
    """Publish the commits of a git repository: message, paths, author as agent; parents before children.

    Nothing that the repository's configuration names is run. A commit that is known already changes nothing.
    """
    from ops.imports import import_git
    from producers.git_log import Range

    name = checked_group(group)
    chosen = Range(branch, moment(since, "--since"), limit)
    with _ledger() as ledger:
        _run(lambda told: import_git(repository, chosen, name, told, ledger), as_json)


@app.command(
    "jsonl",
    epilog=examples(
        "memlane import jsonl shop.jsonl.gz",
        "memlane import jsonl shop.jsonl --group shop-copy --json",
    ),
)
def jsonl(
    file: Annotated[Path, typer.Argument(help="A file of `memlane export`, gzipped or not, whatever its name.")],
    group: Annotated[str | None, _group("the one that each event names")] = None,
    as_json: Json = False,
) -> None:
    """Publish the events of an export, with all their attributes, in their order.

    Events that the ledger has already, in whatever group, are left out, and counted: an id is unique, and an event is
    in one group. Lines that are no events are named, and the rest goes through; then it exits with 1. Of a file that
    begins with none at all nothing is published.
    """
    from ops import clients
    from ops.export import import_lines

    name = checked_group(group)
    with clients.ledger() as ledger:
        result = _run(lambda told: import_lines(file, ledger, name, told), as_json)
    if result.skipped:
        raise typer.Exit(1)


@contextmanager
def _ledger() -> Iterator[Ledger | None]:
    """The ledger, to see what is known before; None where this machine has none, or it can't be used now."""
    from memory.ledger import LedgerUnavailable
    from ops import clients

    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(clients.ledger())
        except (clients.LedgerNotReady, LedgerUnavailable):
            ledger = None
        yield ledger


def _run(importing: Callable[[Progress], Imported], as_json: bool) -> Imported:
    """Import with a progress bar, and tell what was done.

    Raises:
        typer.Exit: it was interrupted.
    """
    from ops.imports import ImportStopped

    try:
        with progress("importing") as bar:
            task = bar.task_ids[0]
            result = importing(lambda done, of: bar.update(task, completed=done, total=of))
    except ImportStopped as stopped:
        if not isinstance(stopped.__cause__, KeyboardInterrupt):
            raise
        say(str(stopped))
        raise typer.Exit(130) from None
    for note in result.notes:
        say(plain(note))
    if as_json:
        print_json(result.as_json())
        return result
    for line in result.skipped[:MOST_TOLD]:
        say(f"skipped {plain(line)}")
    if len(result.skipped) > MOST_TOLD:
        say(f"skipped {len(result.skipped):,} in all; --json names each")
    typer.echo(f"published {_published(result)}")
    for type, count in result.types.most_common():
        typer.echo(f"  {count:6,}  {type}")
    return result


def _published(result: Imported) -> str:
    """`28 events of 2 sessions into shop: 8 new, 20 known before; 1 text clipped to its first 32,768 bytes`, as far as
    it is known."""
    from memory.events import MAX_TEXT_BYTES

    into = f" into {', '.join(sorted(result.groups))}" if result.groups else ""
    sessions = f" of {counted(len(result.sessions), 'session')}" if result.sessions else ""
    before = ""
    if result.known:
        forgotten = result.forgotten or 0
        before = f": {result.new:,} new, {result.known.total() - forgotten:,} known before"
        before += f", {forgotten:,} forgotten before, which stay forgotten" if forgotten else ""
    clipped = ""
    if result.clipped:
        each = "its" if result.clipped == 1 else "their"
        clipped = f"; {counted(result.clipped, 'text')} clipped to {each} first {MAX_TEXT_BYTES:,} bytes"
    return f"{counted(result.types.total(), 'event')}{sessions}{into}{before}{clipped}"
