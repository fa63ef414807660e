"""`memlane status`: the books, the lanes and the stages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import OnlyGroup, checked_group, hint_at_groups
from ops.cli.output import Json, console, examples, print_json

if TYPE_CHECKING:
    from ops.status import Status

EXAMPLES = examples(
    "memlane status",
    "memlane status --watch",
    "memlane status --watch --json  # one line every second",
    "memlane status --group shop-3f2a91bc --json",
)

#: Pause between two looks of --watch, s.
WATCH_SECONDS = 1.0


def command(
    watch: Annotated[bool, typer.Option("--watch", metavar="", help="Look again every second, until Ctrl-C.")] = False,
    group: OnlyGroup = None,
    as_json: Json = False,
) -> None:
    """Show the books: what was captured, and what became of it.

    Exits 1 if they do not balance: captured = recorded + duplicates + pending + spooled + dead + refused + lost for
    each group, and interest = done + pending + dead for each stage.
    """
    from memory.settings import settings
    from ops import clients
    from ops.home import Home
    from ops.status import look

    only = checked_group(group)
    home = Home(settings().home, settings().valkey)
    with clients.queue() as queue, clients.ledger() as ledger:

        def found() -> Status:
            return look(queue, home, ledger, only)

        if watch:
            _watch(found, as_json)
            return
        status = found()
    hint_at_groups(only)
    if as_json:
        print_json(status.as_json())
    else:
        from ops.tables import render

        console().print(render(status))
    if not status.balanced:
        raise typer.Exit(1)


def _watch(found: Callable[[], Status], as_json: bool) -> None:
    """Show the status again and again, in place on a terminal, until Ctrl-C."""
    from rich.live import Live

    from ops.tables import render

    out = console()
    try:
        if as_json or not out.is_terminal:
            while True:
                status = found()
                if as_json:
                    print_json(status.as_json())
                else:
                    out.print(render(status), "")
                time.sleep(WATCH_SECONDS)
        with Live(render(found()), console=out, auto_refresh=False) as live:
            while True:
                live.update(render(found()), refresh=True)
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return
