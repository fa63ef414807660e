"""`memlane demo`: the main job on a recorded OpenCode session."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.output import Json, console, examples, print_json

EXAMPLES = examples("memlane demo", "memlane demo --keep  # stays up until Ctrl-C")


def command(
    keep: Annotated[
        bool, typer.Option("--keep", envvar="KEEP", metavar="", help="Leave the system up until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a system of its own in a temporary home, and run the main job on a recorded OpenCode session.

    Imports the session, shows its events flow through the stages, asks the memory, edits a file, asks again, and
    prints the books.
    """
    from ops.demo import Demo

    Demo(console(quiet=as_json)).run(keep=keep, done=print_json if as_json else lambda _: None)
