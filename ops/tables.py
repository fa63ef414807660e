"""The status as tables for a terminal. Nothing in it is taken for markup."""

from __future__ import annotations

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ops.status import ModelStatus, Status
from ops.text import counted


def render(status: Status) -> RenderableType:
    """The status as tables for a terminal."""
    queue = status.queue
    most = f" of {queue['maxmemory'] / 2**20:,.0f}" if queue["maxmemory"] else ""
    lanes = "all lanes are drained"
    if waiting := queue["pending_groups"]:
        lanes = f"{counted(waiting, 'lane')} waiting, the oldest event for {queue['oldest_age']:.1f} s"
    memory = f"{queue['used_memory'] / 2**20:,.1f}{most} MiB"
    lines = Text(f"queue   {queue['address']}, {memory}, {lanes}\nledger  {status.ledger}\n")
    if not status.groups:
        return Lines(lines, "nothing was captured yet: `memlane publish --help` and `memlane import --help` say how")
    tables: list[RenderableType] = [_groups(status), "", _stages(status)]
    if any(group.cache_hits or group.cache_misses for group in status.groups):
        tables += ["", _cache(status)]
    if status.hooks:
        tables += ["", _hooks(status)]
    for what, model in (("model", status.model), ("embedding model", status.embedding)):
        if model.today or model.away:
            tables += ["", _model(what, model)]
    for what, counts in (("recovered", status.recovered), ("discarded messages", status.discarded)):
        if counts:
            tables += ["", Text(f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))]
    return Lines(lines, *tables)


def _groups(status: Status) -> Table:
    names = ["captured", "recorded", "duplicates", "pending", "spooled", "dead", "refused", "lost"]
    if any(group.forgotten for group in status.groups):
        # Of the recorded.
        names.insert(2, "forgotten")
    table = _table("group", *names, "books")
    for group in status.groups:
        terms = [getattr(group, name) for name in names]
        table.add_row(Text(group.group), *(f"{term:,}" for term in terms), _verdict(group.off_by))
    return table


def _stages(status: Status) -> Table:
    table = _table("stage", "of interest", "done", "pending", "dead", "books")
    for stage in status.as_json()["stages"]:
        interest, done, pending, dead = terms = [stage[term] for term in ("interest", "done", "pending", "dead")]
        table.add_row(Text(stage["stage"]), *(f"{n:,}" for n in terms), _verdict(interest - done - pending - dead))
    return table


def _cache(status: Status) -> Table:
    table = _table("questions", "cache hits", "misses")
    for group in status.groups:
        if group.cache_hits or group.cache_misses:
            table.add_row(Text(group.group), f"{group.cache_hits:,}", f"{group.cache_misses:,}")
    return table


def _hooks(status: Status) -> Table:
    table = _table("hooks of plugins", "done", "failed")
    for name, counts in status.hooks.items():
        table.add_row(Text(name), f"{counts['done']:,}", f"{counts['failed']:,}")
    return table


def _model(what: str, model: ModelStatus) -> RenderableType:
    table = _table(f"tokens of the {what} today", "stage", "calls", "in", "out", "of")
    for each in model.today:
        counts = (f"{each[name]:,}" for name in ("calls", "tokens_in", "tokens_out"))
        most = f"{model.tokens_a_day:,}" if model.tokens_a_day else "no limit"
        table.add_row(Text(each["group"]), Text(each["stage"]), *counts, most)
    notes = [Text(f"{group} has used up its tokens: it goes on at midnight UTC", "yellow") for group in model.used_up]
    notes += [Text(f"it is not asked for now: {model.away}", "yellow")] if model.away else []
    return Lines(*([table] if model.today else []), *notes)


def _table(first: str, *others: str) -> Table:
    """A table of counts. Where there is little room, the names in its first column are folded."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold")
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _verdict(off_by: int) -> Text:
    return Text(f"off by {off_by:+,}", "red") if off_by else Text("balance")
