"""`memlane doctor`: what is wrong, and what to do."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ops.cli.output import Json, console, examples, print_json
from ops.text import counted, plain

EXAMPLES = examples("memlane doctor", "memlane doctor --json")

#: How a finding is marked, and in which colour.
_MARKS = {"ok": ("ok", "green"), "warning": ("look", "yellow"), "failure": ("fails", "red")}
#: Width of the columns before the message, in characters.
_MARK, _CHECK = 7, 22


def command(as_json: Json = False) -> None:
    """Check servers, workers, lanes and books, and say what to do. Exits 1 if something does not work."""
    from rich.text import Text

    from ops.doctor import examine

    found = []
    out = console()
    for finding in examine():
        found.append(finding)
        if not as_json:
            mark, colour = _MARKS[finding.state]
            out.print(Text.assemble((f"{mark:{_MARK}}", colour), f"{finding.check:{_CHECK}}{plain(finding.message)}"))
            if finding.remedy:
                out.print(Text(f"{'':{_MARK + _CHECK}}→ {plain(finding.remedy)}"))
    failures = sum(finding.state == "failure" for finding in found)
    if as_json:
        print_json({"works": not failures, "findings": [asdict(finding) for finding in found]})
    else:
        out.print(f"\n{counted(failures, 'thing does', 'things do')} not work" if failures else "\neverything works")
    if failures:
        raise typer.Exit(1)
