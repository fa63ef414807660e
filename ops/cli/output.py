"""How commands answer: for people on stdout, with --json as one JSON object; what happens meanwhile on stderr."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

#: The option every command has.
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]


def print_json(answer: dict[str, Any]) -> None:
    """The answer of a command with --json: exactly one line."""
    print(json.dumps(answer, ensure_ascii=False), flush=True)


def say(line: str) -> None:
    """Tell the operator what happens, on stderr."""
    print(f"memlane: {line}", file=sys.stderr, flush=True)


def examples(*lines: str) -> str:
    """Text for the end of a command's --help. Each example is a paragraph, as help text is wrapped otherwise."""
    return "\n\n".join(["[bold]Examples[/bold]", *lines])
