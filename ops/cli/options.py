"""Options and small steps that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

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


def group_or_default(group: str | None) -> str:
    """The group that was named, else that of the working folder.

    Raises:
        GroupInvalid: the name can't be a group's.
    """
    from producers.group import group_of

    return group_of(Path.cwd(), {"MEMLANE_GROUP": group} if group else os.environ)


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
