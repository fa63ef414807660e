"""`memlane up`: the whole system on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import Json, examples, print_json, say

if TYPE_CHECKING:
    from ops.stack import Stack

EXAMPLES = examples(
    "memlane up  [dim]# servers, workers and Flower, until Ctrl-C[/dim]",
    "memlane up --workers 2 --no-flower",
    "memlane up --port 0 --flower-port 0  [dim]# any free ports[/dim]",
    "MEMLANE_HOME=/srv/memlane memlane up --json  [dim]# for scripts: one line when all is ready[/dim]",
)


def command(
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, show_default="6380 or a free one", help="Port of the queue server; 0: any free one."
        ),
    ] = None,
    flower_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, show_default="5555 or a free one", help="Port of Flower; 0: any free one."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many Celery workers serve the lanes.")] = 1,
    flower: Annotated[bool, typer.Option(help="Run Flower, which shows tasks and workers in the browser.")] = True,
    as_json: Json = False,
) -> None:
    """Start the whole system on this machine: queue server, graph server, workers, Flower.

    Runs until Ctrl-C or SIGTERM, and then stops everything in order. Data, logs and passwords are kept in MEMLANE_HOME
    (default ~/.memlane), where other commands and agents find the addresses.
    """
    from memory.settings import Settings
    from ops.stack import Stack

    for variable in ("MEMLANE_VALKEY_URL", "MEMLANE_GRAPH_URL"):
        if os.environ.get(variable):
            say(f"{variable} is set: this stack doesn't use it, but other commands will go there; unset it")
    home = Settings().home
    stack = Stack(home, valkey_port=port, flower_port=flower_port, workers=workers, flower=flower, say=say)
    stack.run_until_signal(lambda: print_json(_answer(stack)) if as_json else _print_table(stack))


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
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    addresses = {"falkordb": stack.addresses["graph"], **stack.addresses}
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "does", "pid", "address"):
        table.add_column(column)
    for process in stack.processes:
        name = process["name"]
        address = addresses.get(name, "") if name != "graph" else ""
        table.add_row(name, process["purpose"], str(process["pid"]), address)
    console.print(table)
    console.print()
    if "flower" in addresses:
        secret = stack.home / "secrets" / "flower"
        console.print(f"Flower    {addresses['flower']}  (user memlane, password in {secret})", soft_wrap=True)
    console.print(f"Logs      {stack.home / 'logs'}", soft_wrap=True)
    console.print(f"Stop      Ctrl-C, or kill {os.getpid()}")
    if stack.home != Path("~/.memlane").expanduser():
        console.print(f"Elsewhere export MEMLANE_HOME={stack.home}  (other shells and agents need it)", soft_wrap=True)
