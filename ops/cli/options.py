"""Options and small steps that several commands share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

#: What an age may be given in, s.
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: Groups that are named to somebody who may have mistaken one.
SHOWN_GROUPS = 10


class TimeInvalid(ValueError):
    """A time that was given can't be understood; the message shows how it may be given."""


#: The group a command works on.
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        "-g",
        show_default="MEMLANE_GROUP, else of this folder's repository",
        help="The shared memory to use.",
    ),
]

#: The group that a command is limited to.
OnlyGroup = Annotated[
    str | None, typer.Option("--group", "-g", show_default="all groups", help="Only this shared memory.")
]


def group_or_default(group: str | None) -> str:
    """The group that was named, else that of the working folder.

    Raises:
        GroupInvalid: the name can't be a group's.
    """
    from producers.group import group_of

    return checked_group(group) or group_of(Path.cwd(), os.environ)


def checked_group(group: str | None) -> str | None:
    """The group that was named, if one was.

    Raises:
        GroupInvalid: the name can't be a group's.
    """
    from producers.group import GROUP, GroupInvalid

    if group is not None and not GROUP.fullmatch(group):
        raise GroupInvalid(f"--group is {group[:80]!r}: a group is 1 to 64 of the characters A-Z, a-z, 0-9, _ and -")
    return group


def hint_at_groups(name: str | None) -> None:
    """Where nothing was found in a group of which no event was ever recorded, say so, and which groups there are: the
    name may be mistaken. Silent where the ledger can't be asked."""
    from memory.ledger import LedgerUnavailable, books
    from ops import clients
    from ops.cli.output import say

    if name is None:
        return
    try:
        with clients.ledger() as ledger, ledger.read() as connection:
            known = books.groups(connection)
    except (clients.LedgerNotReady, LedgerUnavailable):
        return
    if name not in known:
        more = f" and {len(known) - SHOWN_GROUPS:,} more" if len(known) > SHOWN_GROUPS else ""
        names = ", ".join(known[:SHOWN_GROUPS]) or "none"
        say(f"no event was ever recorded in group {name}; known groups: {names}{more}")


def project_root() -> Path:
    """Top of the working tree that the working folder is in, which stored paths are relative to; outside of git, the
    working folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def stored_path(path: Path) -> str:
    """A path as the user gave it, seen from the working folder, in the form in which paths are stored."""
    from memory.events import normal_path

    return normal_path(Path.cwd().joinpath(path).as_posix(), project_root().as_posix())


def stored_glob(glob: str) -> str:
    """A pattern of paths as the user gave it, as it is held against stored paths. One that says where it begins, by
    `./`, `../` or as an absolute path of this project, is seen from the working folder, as paths are; any other is
    below the project's root, as in a .gitignore there."""
    root = project_root().as_posix()
    if not (glob.startswith(("./", "../", f"{root}/")) or glob in (".", "..", root)):
        return glob
    stored = stored_path(Path(glob))
    if stored == ".":
        return "**"
    folder = "/" if glob.endswith("/") else ""
    # Without a slash it would match in any folder.
    return (stored if "/" in stored else f"/{stored}") + folder


def in_order(first: int | None, last: int | None, since: str, until: str) -> None:
    """
    Raises:
        TimeInvalid: of two times, the first is after the last, so that nothing can be between them.
    """
    if first is not None and last is not None and first > last:
        raise TimeInvalid(f"{since} is after {until}: nothing can be between them")


def moment(given: str | None, option: str, *, end: bool = False) -> datetime | None:
    """A time as the user gave it: `2026-11-21`, `2026-11-21T10:00`, with an offset or else in UTC; or how long ago,
    as in `30d`, `12h`, `30m` or `45s`. None if none was given.

    Args:
        end: whether it is the last moment that counts. A date alone is that whole day, in UTC: it stands for the day's
            last millisecond then, else for its first.

    Raises:
        TimeInvalid: it is none of these.
    """
    if given is None:
        return None
    if ago := re.fullmatch(r"([0-9]{1,9})([smhd])", given):
        return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * UNITS[ago[2]])
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise TimeInvalid(
            f"{option} is {given[:80]!r}: a time as 2026-11-21 or 2026-11-21T10:00Z, or how long ago, as 30d or 12h"
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found.replace(hour=23, minute=59, second=59, microsecond=999_000) if end and _is_date(given) else found


def milliseconds(time: datetime | None) -> int | None:
    """A time in ms since 1970."""
    return None if time is None else round(time.timestamp() * 1000)


def _is_date(given: str) -> bool:
    """Whether a time names a day and no time of it."""
    try:
        date.fromisoformat(given)
    except ValueError:
        return False
    return True


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Progress]:
    """A progress bar on stderr, shown only where a person looks; its one task is number 0."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(what, total=total)
        yield bar
