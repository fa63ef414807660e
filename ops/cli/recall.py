"""`memlane recall`: a question to the group's memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import Group, group_or_default, stored_path
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted, plain

EXAMPLES = examples(
    'memlane recall "why did the limiter test fail?"',
    'memlane recall "how are carts priced?" --path src/cart.py --tokens 500 --json',
)


def command(
    question: Annotated[str, typer.Argument(help="What you want to know, in words.")],
    path: Annotated[list[Path] | None, typer.Option(help="File being worked on; may be given again.")] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, show_default="1500", help="How long the context may be, in tokens.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer that is not cached.")] = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Ask the group's memory: what it knows, with the session, time and file that each fact comes from."""
    from producers.recall import Recall

    with Recall(group=group_or_default(group)) as memory:
        began = time.perf_counter()
        answer = memory.ask(question, paths=[stored_path(one) for one in path or []], tokens=tokens, deadline=deadline)
        took = (time.perf_counter() - began) * 1000
    if as_json:
        print_json({"group": memory.group, "milliseconds": round(took, 3), **answer})
        return
    size = f"{counted(len(answer['items']), 'fact')}, {counted(answer['tokens'], 'token')}"
    say(f"cache {answer['cache']}, {took:.1f} ms, {size}")
    typer.echo(plain(answer["context"]) or f"nothing is known about that in {memory.group}")
