"""`memlane up`: the whole system on this machine."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.options import progress
from ops.cli.output import Json, console, examples, print_json, say

if TYPE_CHECKING:
    from ops.stack import Stack

EXAMPLES = examples(
    "memlane up  # servers, workers and Flower, until Ctrl-C",
    "memlane up --workers 2 --no-flower",
    "memlane up --port 0 --flower-port 0  # any free ports",
    "MEMLANE_HOME=/srv/memlane memlane up --json  # for scripts: one line when all is ready",
)


def command(
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            show_default="6380 or a free one",
            help="Port of the queue server; 0: any free one.",
        ),
    ] = None,
    flower_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, show_default="5555 or a free one", help="Port of Flower; 0: any free one."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many Celery workers serve the lanes.")] = 1,
    flower: Annotated[
        bool, typer.Option(metavar="", help="Run Flower, which shows tasks and workers in the browser.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Start the whole system on this machine: queue server, graph server, workers, Flower.

    Runs until Ctrl-C or SIGTERM, and then stops everything in order. Data, logs and passwords are kept in MEMLANE_HOME
    (default ~/.memlane), where other commands and agents find the addresses.
    """
    from memory.settings import settings
    from ops.stack import Stack

    for variable in ("MEMLANE_VALKEY_URL", "MEMLANE_GRAPH_URL"):
        if os.environ.get(variable):
            say(f"{variable} is set: this stack doesn't use it, but other commands will go there; unset it")
    stack = Stack(settings().home, valkey_port=port, flower_port=flower_port, workers=workers, flower=flower, say=say)
    with progress("starting") as bar:

        def ready() -> None:
            bar.stop()
            print_json(_answer(stack)) if as_json else _print_table(stack)

        stack.run_until_signal(ready)


def _answer(stack: Stack) -> dict[str, Any]:
    from memory.settings import STACK_FILE

    return {
        "home": str(stack.home),
        "pid": os.getpid(),
        # Passwords are there, not here: what a command prints ends up in logs.
        "stack_file": str(stack.home / STACK_FILE),
        "addresses": stack.addresses,
        "processes": stack.processes,
    }


def _print_table(stack: Stack) -> None:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    out = console()
    addresses = {"valkey": stack.addresses["valkey"], "falkordb": stack.addresses["graph"]}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("process", no_wrap=True)
    table.add_column("pid", no_wrap=True)
    table.add_column("does")
    table.add_column("address", overflow="fold")
    for process in stack.processes:
        name = process["name"]
        table.add_row(name, str(process["pid"]), process["purpose"], Text(addresses.get(name, "")))
    out.print(table)
    out.print()
    if flower := stack.addresses.get("flower"):
        out.print(f"Flower  {flower} (user memlane, password in {escape(str(stack.home / 'secrets' / 'flower'))})")
    out.print(f"Logs    {escape(str(stack.home / 'logs'))}")
    out.print(f"Stop    Ctrl-C, or kill {os.getpid()}")
    if stack.home != Path("~/.memlane").expanduser():
        out.print(f"Other shells and agents need  export MEMLANE_HOME={escape(shlex.quote(str(stack.home)))}")
