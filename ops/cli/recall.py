"""`memlane recall`: a question to the group's memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.options import Group, group_or_default, hint_at_groups, in_order, milliseconds, moment, stored_path
from ops.cli.output import Json, examples, print_json, say
from ops.text import counted, plain

#: What limits a question, as it is called here.
OPTIONS = {"agent": "--agent", "kinds": "--kind", "since": "--since", "until": "--until", "as_of": "--as-of"}

EXAMPLES = examples(
    'memlane recall "why did the limiter test fail?"',
    'memlane recall "how are carts priced?" --path src/cart.py --tokens 500 --json',
    'memlane recall "what broke?" --kind error --kind tool.call --since 2d --explain',
    'memlane recall "when do we deploy?" --as-of 2026-10-01',
)


def command(
    question: Annotated[str, typer.Argument(help="What you want to know, in words.")],
    path: Annotated[list[Path] | None, typer.Option(help="File being worked on; may be given again.")] = None,
    session: Annotated[
        str | None, typer.Option(help="Session that asks: what it did last counts for more.", metavar="ID")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only events of this agent.", metavar="NAME")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only events of this type, as chat.message; may be given again.", metavar="TYPE"),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only events from then on: a time (2026-11-21, 2026-11-21T10:00Z), or how long ago (7d, 12h). A date "
            "alone is the whole day, in UTC: here from its beginning.",
            metavar="TIME",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only events up to then; of a date alone, to the day's end.", metavar="TIME")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="What was known, and true, then; of a date alone, at the day's end.", metavar="TIME"),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, show_default="1500", help="How long the context may be, in tokens.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", metavar="", help="Show what each result is ranked by, each fact found by.")
    ] = False,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer that is not cached.")] = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Ask the group's memory: what it knows, with the session, time and file that each fact comes from."""
    from ops.why_nothing import least_tokens, ruled_out_by
    from producers.recall import Recall

    first, last = milliseconds(moment(since, "--since")), milliseconds(moment(until, "--until", end=True))
    in_order(first, last, "--since", "--until")
    asked: dict[str, Any] = {
        "paths": [stored_path(one) for one in path or []],
        "session": session,
        "agent": agent,
        "kinds": kind or (),
        "explain": explain,
        "deadline": deadline,
        "since": first,
        "until": last,
        "as_of": milliseconds(moment(as_of, "--as-of", end=True)),
    }
    least, limits = None, list[str]()
    with Recall(group=group_or_default(group)) as memory:
        began = time.perf_counter()
        answer = memory.ask(question, tokens=tokens, **asked)
        took = (time.perf_counter() - began) * 1000
        if not answer["context"]:
            least = least_tokens(memory, question, tokens, **asked)
            limits = [] if least else ruled_out_by(memory, question, **asked)
    if not answer["context"]:
        hint_at_groups(memory.group)
    if limits:
        say(f"without {' and without '.join(map(OPTIONS.__getitem__, limits))} something would be found")
    if least:
        say(f"--tokens {tokens} is too few: what is known about that needs at least {least}")
    if as_json:
        print_json({"group": memory.group, "milliseconds": round(took, 3), **answer})
        return
    found = counted(len(answer["items"]), "event")
    if answer["facts"]:
        found += f", {counted(len(answer['facts']), 'fact')} of the graph"
    say(f"cache {answer['cache']}, {took:.1f} ms, {found}, {counted(answer['tokens'], 'token')}")
    if answer.get("graph") == "away":
        say("the graph server can't be used now: its facts are missing (`memlane doctor` says why)")
    if answer.get("embeddings") == "away":
        say("the embedding model did not answer in time: what says it in other words is missing (`memlane status`)")
    if explain:
        _explain(answer["items"], answer["facts"])
    else:
        nothing = f"nothing is known about that in {memory.group}"
        if least and tokens:
            nothing = f"nothing that fits into {counted(tokens, 'token')}"
        typer.echo(plain(answer["context"]) or nothing)


def _explain(items: list[dict[str, Any]], facts: list[dict[str, Any]]) -> None:
    """Each result with its score, and the parts of it, largest first; and what led to each fact of the graph."""
    for place, item in enumerate(items, start=1):
        parts = sorted(item["features"].items(), key=lambda part: -abs(part[1]))
        typer.echo(f"{place:2}. {item['score']:6.2f}  " + "  ".join(f"{name} {part:+.2f}" for name, part in parts))
        source = ", ".join(part for part in (item["type"], item["session"], item["agent"], item["path"]) if part)
        text = " ".join(item["text"].split())
        typer.echo(plain(f"            {text[:160]}{'…' if len(text) > 160 else ''} ({source})"))
    for fact in facts:
        typer.echo(
            plain(f"   graph    {' '.join(fact['fact'].split())[:160]} (by {' '.join(fact['about'].split())[:80]})")
        )
