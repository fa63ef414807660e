"""`memlane publish`: events from the command line, one or a stream of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.options import Group, group_or_default, progress
from ops.cli.output import Json, examples, print_json, say

if TYPE_CHECKING:
    from producers import Publisher

EXAMPLES = examples(
    'memlane publish file.write --data \'{"path": "src/cart.py", "additions": 4}\' --session s1',
    "memlane publish --stdin < events.jsonl  # one event a line; refused lines are named, the rest goes through",
)

#: Lines of a stream that are published in one round trip.
LINES = 200


def command(
    type: Annotated[str | None, typer.Argument(help="Type of the event, for example file.write.")] = None,
    data: Annotated[str, typer.Option(help="What the event carries, as a JSON object.")] = "{}",
    session: Annotated[str | None, typer.Option(help="Session it happened in.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent it happened to.")] = None,
    project: Annotated[Path | None, typer.Option(help="Project root; paths are stored relative to it.")] = None,
    source: Annotated[str, typer.Option(help="What made the event, if it does not say so itself.")] = "memlane-cli",
    stdin: Annotated[bool, typer.Option("--stdin", help="Read events from stdin, one JSON object a line.")] = False,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Publish an event, or a stream of them.

    Exits 1 if an event was refused; the others are published all the same.
    """
    from producers import Publisher

    if stdin == (type is not None):
        raise typer.BadParameter("give either the type of one event, or --stdin")
    with Publisher(source=source, group=group_or_default(group)) as publisher:
        if stdin:
            answer = _stream(publisher)
        else:
            event = {"type": type, "session": session, "agent": agent, "data": parse_object(data, "data")}
            event["project"] = str(project.resolve()) if project else None
            answer = {"group": publisher.group, "published": 1, "refused": [], "ids": [publisher.publish(event)]}
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"published {answer['published']} into the lane of {answer['group']}")
    if answer["refused"]:
        raise typer.Exit(1)


def parse_object(text: str, field: str) -> dict[str, Any]:
    """The JSON object that an option holds.

    Raises:
        EventInvalid: it holds something else; the message names the field.
    """
    from memory.events import EventInvalid

    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise EventInvalid(f'{field}: not a JSON object: give one such as \'{{"path": "src/cart.py"}}\'')
    return value


def _stream(publisher: Publisher) -> dict[str, Any]:
    """Publish stdin's lines, some at a time, as they come."""
    from memory.events import Event, EventInvalid

    ids: list[str] = []
    refused: list[dict[str, Any]] = []
    waiting: list[Event] = []

    def send() -> None:
        ids.extend(publisher.publish_many(waiting))
        bar.update(bar.task_ids[0], advance=len(waiting))
        waiting.clear()

    with progress("publishing") as bar:
        for number, line in enumerate(sys.stdin.buffer, 1):
            if not line.strip():
                continue
            try:
                event = publisher.check(line)
                event.encode()
            except EventInvalid as error:
                refused.append({"line": number, "error": str(error)})
                say(f"line {number}: {error}")
                continue
            waiting.append(event)
            if len(waiting) >= LINES:
                send()
        if waiting:
            send()
    if refused:
        publisher.count_refused(len(refused))
    return {"group": publisher.group, "published": len(ids), "refused": refused, "ids": ids}
