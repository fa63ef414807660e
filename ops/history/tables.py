"""History as people read it in a terminal. Nothing in it is taken for markup, or steers the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memory.history.markdown import duration, one_line, when
from memory.history.messages import clipped
from ops.text import counted, plain

#: What a summary counts, as it is called; of a database not all of it is known.
_COUNTS = {
    "projects": "projects",
    "sessions": "sessions",
    "messages": "messages",
    "compactions": "compactions",
    "checkpoints": "checkpoints",
    "todos_open": "todos open",
    "todos_done": "todos done",
    "events": "events",
    "writes": "file writes",
    "errors": "errors",
    "completions": "completed tasks",
    "tokens": "tokens used",
}


def render(tool: str, data: dict[str, Any], out: Console) -> None:
    """Print an operation's data."""
    _RENDERERS[tool](data, out)


def _summary(data: dict[str, Any], out: Console) -> None:
    table = _table("", "")
    for name in _COUNTS:
        if name in data:
            table.add_row(_COUNTS[name], f"{data[name]:,}")
    if data["started"]:
        table.add_row("first", f"{when(data['started'])} UTC")
        table.add_row("last", f"{when(data['active'])} UTC")
    out.print(table)


def _sessions(data: dict[str, Any], out: Console) -> None:
    if not data["sessions"]:
        out.print("no sessions")
        return
    table = _table("session", "started (UTC)", "took", "project", "about", right=("messages", "writes", "errors"))
    for each in data["sessions"]:
        cells = (each["session"], when(each["started"]), duration(each["duration_ms"]), each["project"] or "-")
        counts = (f"{each[name]:,}" for name in ("messages", "writes", "errors"))
        table.add_row(*map(_cell, cells), _cell(one_line(each["name"], 60)), *counts)
    out.print(table)
    if len(data["sessions"]) < data["total"]:
        out.print(f"{len(data['sessions']):,} of {data['total']:,}; --limit and --before show more")


def _messages(data: dict[str, Any], out: Console) -> None:
    if not data["messages"]:
        out.print("no messages")
    for each in data["messages"]:
        hidden = "  (hidden from the model)" if each["hidden"] else ""
        agent = f" ({each['agent']})" if each["agent"] else ""
        head = f"{each['number']}  {each['role']}{agent}  {when(each['time'])}{hidden}"
        out.print(Text(plain(head), "bold"))
        out.print(Text(plain(each["text"].strip()) + ("" if each["clipped"] else "\n")))
        if each["clipped"]:
            out.print(Text(f"… {clipped(each)}\n", "dim"))
    if data.get("earlier"):
        out.print(f"--before {data['messages'][0]['number']} shows those before these")


def _search(data: dict[str, Any], out: Console) -> None:
    if not data["results"]:
        out.print("nothing was found")
    for each in data["results"]:
        hidden = "  (hidden from the model)" if each["hidden"] else ""
        # Of a database there are no numbers here; what was remembered by a command is of no session.
        head = (each["number"], each["session"], when(each["time"]), each["type"])
        out.print(Text(plain("  ".join(str(part) for part in head if part is not None) + hidden), "dim"))
        line = Text("  ")
        for place, part in enumerate(plain(each["snippet"]).split("**")):
            line.append(part, "bold" if place % 2 else "")
        out.print(line)


def _compactions(data: dict[str, Any], out: Console) -> None:
    found = data["compactions"]
    if not found:
        out.print("no compactions")
        return
    if len(found) == 1:
        each = found[0]
        out.print(Text(plain(f"{each['number']}  {each['session']}  {when(each['time'])}"), "bold"))
        out.print(Text(plain(each["summary"] or "(without a summary)")))
        return
    table = _table("number", "time (UTC)", "session", "kind", "summary", right=("tokens before", "after"))
    for each in found:
        kind = "checkpoint" if each["type"] == "checkpoint.created" else "compaction"
        cells = (str(each["number"]), when(each["time"]), each["session"], kind, one_line(each["summary"], 60))
        sizes = (f"{size:,}" if size else "-" for size in (each["tokens_before"], each["tokens_after"]))
        table.add_row(*map(_cell, cells), *sizes)
    out.print(table)
    if len(found) < data["total"]:
        out.print(f"{len(found):,} of {data['total']:,}; --limit shows more")


def _compare(data: dict[str, Any], out: Console) -> None:
    first, second = data["sessions"]
    table = _table("", first["session"], second["session"])
    rows: list[tuple[str, str, str]] = [
        ("about", one_line(first["name"], 50), one_line(second["name"], 50)),
        ("started", when(first["started"]), when(second["started"])),
        ("took", duration(first["duration_ms"]), duration(second["duration_ms"])),
        ("agent", first["agent"] or "-", second["agent"] or "-"),
    ]
    rows += [
        (name, f"{first[name]:,}", f"{second[name]:,}")
        for name in ("messages", "tokens", "writes", "errors", "completions", "compactions")
    ]
    for row in rows:
        table.add_row(*map(_cell, row))
    out.print(table)
    names = {
        "both": "files of both",
        "only_first": "files of the first only",
        "only_second": "files of the second only",
    }
    for kind, heading in names.items():
        _listed(out, heading, data["files"][kind])
    for name, heading in (("error_messages", "errors"), ("tasks", "completed tasks")):
        for side, which in ((first, "first"), (second, "second")):
            _listed(out, f"{heading} of the {which}", [one_line(text, 100) for text in side[name]])


def _context(data: dict[str, Any], out: Console) -> None:
    assumed = "" if data["limit_known"] else " (assumed: the model's own limit is not known)"
    size = f"{data['tokens']:,} of {data['limit']:,}{assumed} tokens"
    out.print(Text(plain(f"{data['session']}  {data['level']}  {data['percentage']} %, {size}")))


def _plans(data: dict[str, Any], out: Console) -> None:
    found = data["plans"]
    if not found:
        out.print(Text(plain(f"no plans in {data['folder']}")))
    elif "text" in found[0]:
        out.print(Text(plain(found[0]["text"])))
    else:
        table = _table("plan", "changed (UTC)", "title", right=("bytes",))
        for each in found:
            table.add_row(*map(_cell, (each["name"], when(each["modified"]), each["title"])), f"{each['bytes']:,}")
        out.print(table)


def _listed(out: Console, heading: str, items: list[str]) -> None:
    if items:
        out.print(Text(f"\n{heading} ({counted(len(items), 'entry', 'entries')})", "bold"))
        for item in items:
            out.print(Text(plain(f"  {item}")))


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_header=any(columns))
    for column in columns:
        # Ids are to be copied, in one piece.
        table.add_column(column, overflow="fold", no_wrap=column == "session")
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cell(text: str) -> Text:
    return Text(plain(text))


_RENDERERS = {
    "summary": _summary,
    "sessions": _sessions,
    "messages": _messages,
    "search": _search,
    "compactions": _compactions,
    "compare": _compare,
    "context": _context,
    "plans": _plans,
}
