"""`memlane store`: something worth remembering, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.options import Group, group_or_default, project_root, stored_path
from ops.cli.output import Json, examples, print_json

EXAMPLES = examples(
    'memlane store "the limiter counts in UTC, never in local time" --path src/limiter.py',
    'memlane store "deploys go out on Tuesdays" --type decision --metadata \'{"by": "ops"}\'',
)


def command(
    text: Annotated[str, typer.Argument(help="What is to be remembered.")],
    type: Annotated[str | None, typer.Option(help="Kind of memory, for example decision, success, file_edit.")] = None,
    path: Annotated[Path | None, typer.Option(help="File it is about.")] = None,
    metadata: Annotated[str | None, typer.Option(help="More about it, as a JSON object.")] = None,
    session: Annotated[str | None, typer.Option(help="Session it comes from.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent it comes from.")] = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Remember a text: it is published as a request to remember, and found by recall from then on."""
    from ops.cli.publish import parse_object, say_spooled
    from producers import Publisher

    data: dict[str, Any] = {"request": text, "action": "remember"}
    if type:
        data["kind"] = type
    if path:
        data["path"] = stored_path(path)
    if metadata is not None:
        data["metadata"] = parse_object(metadata, "metadata")
    with Publisher(source="memlane-cli", group=group_or_default(group)) as publisher:
        event = {"type": "user.request", "session": session, "agent": agent, "project": str(project_root())}
        id = publisher.publish({**event, "data": data})
        say_spooled(publisher)
    if as_json:
        print_json({"group": publisher.group, "id": id})
    else:
        typer.echo(f"stored in {publisher.group} as {id}")
