"""`memlane status`: the books, the lanes and the stages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.options import Group
from ops.cli.output import Json, console, examples, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ops.status import Status

EXAMPLES = examples("memlane status", "memlane status --watch", "memlane status --group shop-3f2a91bc --json")

#: Pause between two looks of --watch, s.
WATCH_SECONDS = 1.0


def command(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Show the books: what was captured, and what became of it.

    Exits 1 if they do not balance: captured = recorded + duplicates + pending + dead + refused for each group,
    and interest = done + pending + dead for each stage.
    """
    from memory.settings import settings
    from ops import clients
    from ops.status import look

    with clients.queue() as queue, clients.ledger() as ledger:
        found = look(queue, settings().valkey, ledger, group)
        if watch and not as_json:
            _watch(lambda: look(queue, settings().valkey, ledger, group))
            return
    if as_json:
        print_json(found.as_json())
    else:
        console().print(render(found))
    if not found.balanced:
        raise typer.Exit(1)


def _watch(look: object) -> None:
    from rich.live import Live

    assert callable(look)
    with Live(render(look()), auto_refresh=False) as live:
        try:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(render(look()), refresh=True)
        except KeyboardInterrupt:
            return


def render(status: Status) -> RenderableType:
    """The status as tables for a terminal."""
    from rich.console import Group as Lines
    from rich.table import Table

    groups = Table(box=None, pad_edge=False, header_style="dim")
    columns = ("captured", "recorded", "duplicates", "pending", "dead", "refused")
    groups.add_column("group")
    for column in (*columns, "cache hits", "misses", "books"):
        groups.add_column(column, justify="right")
    for group in status.groups:
        terms = [f"{getattr(group, column):,}" for column in columns]
        verdict = "balance" if group.balanced else f"[red]off by {group.off_by:+,}[/red]"
        groups.add_row(group.group, *terms, f"{group.cache_hits:,}", f"{group.cache_misses:,}", verdict)
    stages = Table(box=None, pad_edge=False, header_style="dim")
    stages.add_column("stage")
    for column in ("of interest", "done", "pending", "dead"):
        stages.add_column(column, justify="right")
    for stage in status.as_json()["stages"]:
        stages.add_row(stage["stage"], *(f"{stage[term]:,}" for term in ("interest", "done", "pending", "dead")))
    queue = status.queue
    most = f" of {queue['maxmemory'] / 2**20:,.0f}" if queue["maxmemory"] else ""
    line = (
        f"queue {queue['address']}  {queue['used_memory'] / 2**20:,.1f}{most} MiB  "
        f"{queue['pending_groups']} lanes waiting, the oldest event for {queue['oldest_age']:.1f} s"
    )
    return Lines(line, f"ledger {status.ledger}", "", groups, "", stages)
