"""How commands answer: for people on stdout, with --json as one JSON object; what happens meanwhile on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: The option every command has. An empty metavar, here and elsewhere: a flag takes no value.
Json = Annotated[bool, typer.Option("--json", metavar="", help="Answer with one JSON object on stdout.")]


def print_json(answer: dict[str, Any]) -> None:
    """The answer of a command with --json: exactly one line."""
    print(json.dumps(answer, ensure_ascii=False), flush=True)


def console(quiet: bool = False) -> Console:
    """Where tables go: stdout, at least wide enough for them where no terminal says how wide it is."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    return Console(highlight=False, soft_wrap=True, width=width, quiet=quiet)


def say(line: str) -> None:
    """Tell the operator what happens, on stderr."""
    with suppress(OSError):  # the terminal may be gone
        print(f"memlane: {line}", file=sys.stderr, flush=True)


def examples(*lines: str) -> str:
    """Text for the end of a command's --help, in Markdown. Each example is a paragraph: lines flow into each other."""
    return "\n\n".join(["**Examples**", *(f"`{line}`" for line in lines)])
