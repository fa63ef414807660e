"""`memlane doctor`: what is wrong, and what to do."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ops.cli.output import Json, console, examples, print_json

EXAMPLES = examples("memlane doctor", "memlane doctor --json")

_MARKS = {"ok": "[green]ok[/green]", "warning": "[yellow]look[/yellow]", "failure": "[red]fails[/red]"}


def command(as_json: Json = False) -> None:
    """Check servers, workers, lanes and books, and say what to do. Exits 1 if something does not work."""
    from ops.doctor import examine

    found = []
    out = console()
    for finding in examine():
        found.append(finding)
        if not as_json:
            out.print(f"{_MARKS[finding.state]:5}  {finding.check}: {finding.message}")
            if finding.remedy:
                out.print(f"       → {finding.remedy}")
    works = all(finding.state != "failure" for finding in found)
    if as_json:
        print_json({"works": works, "findings": [asdict(finding) for finding in found]})
    if not works:
        raise typer.Exit(1)
