"""`memlane rebuild`: graph, index, embeddings and cache, anew from the ledger."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ops.cli.options import OnlyGroup, checked_group, progress
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted

EXAMPLES = examples(
    "memlane rebuild",
    "memlane rebuild graph --group shop-3f2a91bc",
    "memlane rebuild index --json",
)


def command(
    what: Annotated[
        Literal["graph", "index", "embeddings", "cache", "all"],
        typer.Argument(help="The knowledge graph, the full text, vectors as stored, cached answers, or all."),
    ] = "all",
    group: OnlyGroup = None,
    as_json: Json = False,
) -> None:
    """Make graph, index and cache anew from the ledger. The workers do it, while everything goes on. No model is asked
    for what it has answered before.

    All groups are begun, then waited for. Ctrl-C ends the waiting, not the work that was begun; what was not done it
    says, with the command that does it. Of the graph a hash is shown: the same events make the same graph.
    """
    from memory.ledger import books
    from memory.settings import NotConfigured
    from ops import clients
    from ops.rebuild import PARTS, RebuildStopped, possible, rebuild

    only = checked_group(group)
    parts = [part for part in PARTS if possible(part)] if what == "all" else [what]
    if not all(map(possible, parts)):
        raise NotConfigured("no embedding model is set up: MEMLANE_EMBEDDING_MODEL, see docs/recall.md")
    try:
        with clients.queue(), clients.ledger() as ledger:
            with ledger.read() as connection:
                groups = [only] if only else books.groups(connection)
            with progress("rebuilding") as bar:
                task = bar.task_ids[0]
                done = rebuild(parts, groups, lambda seq, of: bar.update(task, completed=seq, total=of))
    except RebuildStopped as stopped:
        if not isinstance(stopped.__cause__, KeyboardInterrupt):
            raise
        for line in stopped.lines:
            say(line)
        raise typer.Exit(130) from None
    for note in (note for one in done for note in one.notes):
        say(note)
    if as_json:
        print_json({"what": what, "groups": [one.as_json() for one in done]})
        return
    for one in done:
        line = f"rebuilt {' and '.join(one.parts)} of {one.group}: {counted(one.events, 'event')}"
        if one.graph:
            nodes, relations = sum(one.graph.nodes.values()), sum(one.graph.relations.values())
            line += f"; graph of {nodes:,} nodes and {relations:,} relations, sha256 {one.graph.sha256[:16]}"
        typer.echo(line)
    if not done:
        typer.echo("the ledger holds no group")
