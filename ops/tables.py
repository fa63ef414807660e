"""The status as tables for a terminal. Nothing in it is taken for markup."""

from __future__ import annotations

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ops.status import Status
from ops.text import counted


def render(status: Status) -> RenderableType:
    """The status as tables for a terminal."""
    groups = _table("group", "captured", "recorded", "duplicates", "pending", "dead", "refused", "cache hits", "misses")
    for group in status.groups:
        terms = (group.captured, group.recorded, group.duplicates, group.pending, group.dead, group.refused)
        cache = (group.cache_hits, group.cache_misses)
        groups.add_row(Text(group.group), *(f"{term:,}" for term in (*terms, *cache)), _verdict(group.off_by))
    stages = _table("stage", "of interest", "done", "pending", "dead")
    for stage in status.as_json()["stages"]:
        interest, done, pending, dead = (stage[term] for term in ("interest", "done", "pending", "dead"))
        cells = (f"{term:,}" for term in (interest, done, pending, dead))
        stages.add_row(Text(stage["stage"]), *cells, _verdict(interest - done - pending - dead))
    queue = status.queue
    most = f" of {queue['maxmemory'] / 2**20:,.0f}" if queue["maxmemory"] else ""
    lanes = "all lanes are drained"
    if waiting := queue["pending_groups"]:
        lanes = f"{counted(waiting, 'lane')} waiting, the oldest event for {queue['oldest_age']:.1f} s"
    lines = (
        f"queue   {queue['address']}, {queue['used_memory'] / 2**20:,.1f}{most} MiB, {lanes}\nledger  {status.ledger}\n"
    )
    if not status.groups:
        return Text(f"{lines}\nnothing was captured yet: `memlane publish --help` and `memlane import --help` say how")
    return Lines(Text(lines), groups, "", stages)


def _table(first: str, *others: str) -> Table:
    """A table of counts with what the books say in its last column."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for column in (*others, "books"):
        table.add_column(column, justify="right")
    return table


def _verdict(off_by: int) -> Text:
    return Text(f"off by {off_by:+,}", "red") if off_by else Text("balance")
