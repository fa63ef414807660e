"""`memlane publish`: events from the command line, one or a stream of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ops.cli.options import Group, group_or_default, progress
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted

if TYPE_CHECKING:
    from memory.events import Event
    from producers import Publisher

EXAMPLES = examples(
    'memlane publish file.write --data \'{"path": "src/cart.py", "additions": 4}\' --session s1',
    "memlane publish --stdin < events.jsonl  # one event a line; refused lines are named, the rest goes through",
)

#: Most of stdin that is taken in at once, bytes. What came in together is published together.
BLOCK = 64 * 1024


class StreamBroken(Exception):
    """The events on stdin were published up to some line only; the message says why, and up to which."""


def command(
    type: Annotated[str | None, typer.Argument(help="Type of the event, for example file.write.")] = None,
    data: Annotated[str, typer.Option(help="What the event carries, as a JSON object.")] = "{}",
    session: Annotated[str | None, typer.Option(help="Session it happened in.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent it happened to.")] = None,
    project: Annotated[Path | None, typer.Option(help="Project root; paths are stored relative to it.")] = None,
    source: Annotated[str, typer.Option(help="What made the event, if it does not say so itself.")] = "memlane-cli",
    stdin: Annotated[
        bool, typer.Option("--stdin", metavar="", help="Read events from stdin, one JSON object a line.")
    ] = False,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Publish an event, or a stream of them.

    What the queue server can't take now waits in the spool of this home, and is sent by whoever publishes next. Exits 1
    if an event was refused; the others are published all the same.
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
            answer = _answer([publisher.publish(event)], Counter([publisher.group]), [], publisher.spooled)
        say_spooled(publisher)
    if as_json:
        print_json(answer)
    else:
        lanes = ", ".join(f"{count:,} into the lane of {name}" for name, count in answer["groups"].items())
        typer.echo(f"published {lanes or 'nothing'}")
        if answer["refused"]:
            say(f"refused {counted(len(answer['refused']), 'line')}, named above")
    if answer["refused"]:
        raise typer.Exit(1)


def say_spooled(publisher: Publisher) -> None:
    """Say so if events went into the spool."""
    if publisher.spooled:
        waits = "1 event waits" if publisher.spooled == 1 else f"{publisher.spooled:,} events wait"
        why = publisher.problem or "others wait before it"
        say(f"{waits} in the spool, and is sent with the next one or by `memlane spool flush`: {why}")


def parse_object(text: str, option: str) -> dict[str, Any]:
    """The JSON object that an option holds.

    Raises:
        EventInvalid: it holds something else; the message names the option.
    """
    from memory.events import EventInvalid

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EventInvalid(f'--{option} is not a JSON object: give one such as \'{{"path": "src/cart.py"}}\'')
    return value


def _stream(publisher: Publisher) -> dict[str, Any]:
    """Publish stdin's lines as they come.

    Raises:
        StreamBroken: neither the queue server nor the spool can take more.
    """
    from memory.events import EventInvalid
    from producers import SpoolFull

    ids: list[str] = []
    groups: Counter[str] = Counter()
    refused: list[dict[str, Any]] = []
    number = sent = 0
    with progress("publishing") as bar:
        for lines in _lines(cast(BufferedReader, sys.stdin.buffer)):
            events: list[Event] = []
            before = len(refused)
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                try:
                    events.append(publisher.check(line))
                except EventInvalid as error:
                    refused.append({"line": number, "error": str(error)})
                    say(f"line {number}: {error}")
            if len(refused) > before:
                publisher.count_refused(len(refused) - before)
            try:
                ids += publisher.publish_many(events)
            except SpoolFull as error:
                raise StreamBroken(
                    f"{error}; lines up to {sent} are published, those from {sent + 1} to {number} perhaps in part"
                ) from error
            sent = number
            groups.update(event.group for event in events)
            bar.update(bar.task_ids[0], advance=len(events))
    return _answer(ids, groups, refused, publisher.spooled)


def _lines(stdin: BufferedReader) -> Iterator[list[bytes]]:
    """Whole lines without their ends; those that came in together in one list."""
    begun: list[bytes] = []
    while block := stdin.read1(BLOCK):
        first, *others = block.split(b"\n")
        begun.append(first)
        if others:
            yield [b"".join(begun), *others[:-1]]
            begun = [others[-1]]
    if any(begun):
        yield [b"".join(begun)]


def _answer(ids: list[str], groups: Counter[str], refused: list[dict[str, Any]], spooled: int) -> dict[str, Any]:
    """What `memlane publish --json` prints."""
    counts = {"published": len(ids), "spooled": spooled, "groups": dict(sorted(groups.items()))}
    return {**counts, "refused": refused, "ids": ids}
