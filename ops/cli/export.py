"""`memlane export`: a group as JSONL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import Group, group_or_default, progress
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted, plain

EXAMPLES = examples(
    "memlane export -o shop.jsonl.gz",
    "memlane export --group shop-3f2a91bc | jq -r .type | sort | uniq -c",
    "memlane import jsonl shop.jsonl.gz  # elsewhere",
)


def command(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default="stdout", help="A file or pipe; gzipped if its name ends in .gz."),
    ] = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Write all events of a group, one a line, with all their attributes, in the order of the ledger.

    What was forgotten is not in it, nor are dead letters that never were events. Exits 1 if an event can't be written.
    """
    from ops import clients
    from ops.export import export, is_stdout

    to_stdout = output is None or is_stdout(output)
    if as_json and to_stdout:
        raise typer.BadParameter("--json says what was written, so the events need a file: add --output FILE")
    name = group_or_default(group)
    with clients.ledger() as ledger, progress("exporting") as bar:
        task = bar.task_ids[0]
        done = export(ledger, name, output, lambda seq, of: bar.update(task, completed=seq, total=of))
    for line in done.skipped:
        say(f"left out {plain(line)}")
    if as_json:
        answer = {"group": name, "file": str(output), "events": done.events, "forgotten": done.forgotten}
        print_json({**answer, "bytes": done.bytes, "skipped": done.skipped})
    elif not to_stdout:
        left = f"; {done.forgotten:,} are forgotten, and not in it" if done.forgotten else ""
        typer.echo(f"wrote {counted(done.events, 'event')} of {name} to {output}{left}")
    if done.skipped:
        raise typer.Exit(1)
