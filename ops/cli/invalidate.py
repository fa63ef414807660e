"""`memlane invalidate`: drop cached answers by path pattern."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import Group, group_or_default, hint_at_groups, progress, stored_glob
from ops.cli.output import Json, examples, print_json
from ops.text import counted

EXAMPLES = examples(
    "memlane invalidate 'src/**/*.py'",
    "memlane invalidate src/cart.py --group shop-3f2a91bc",
)


def command(
    glob: Annotated[str, typer.Argument(help="Pattern of paths, as in .gitignore: src/*, cart.py, '**/*.ts'.")],
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a worker.")] = 30.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Drop every cached answer that depends on a path the pattern matches.

    A worker resolves the pattern. Answers that are in the making when it does are not cached either.
    """
    from ops.invalidation import invalidate

    name = group_or_default(group)
    glob = stored_glob(glob)
    with progress("waiting for a worker"):
        dropped = invalidate(name, glob, deadline)
    if not dropped:
        hint_at_groups(name)
    if as_json:
        print_json({"group": name, "glob": glob, "dropped": dropped})
    else:
        typer.echo(f"dropped {counted(dropped, 'path')} in {name}")
