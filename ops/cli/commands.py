"""All commands, put together.

A command is a file `ops/cli/NAME.py` (`import_.py`, since `import` is Python's) with a function `command`, whose
docstring is its help, and `EXAMPLES`, shown below it; or with a Typer `app` where it has commands of its own. It
imports at the top nothing but typer, the standard library and `ops.cli`: the rest where it is used, so that
`memlane --help` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword
from typing import Annotated

import typer

from ops.cli.empty import everywhere

#: In the order of `memlane --help`.
COMMANDS = (
    "up",
    "demo",
    "publish",
    "store",
    "recall",
    "history",
    "mcp",
    "status",
    "dead",
    "spool",
    "plugins",
    "invalidate",
    "import",
    "export",
    "forget",
    "rebuild",
    "install",
    "doctor",
)

app = typer.Typer(
    help="Shared memory for swarms of coding agents.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _name in COMMANDS:
    _module = import_module(f"ops.cli.{_name + '_' * iskeyword(_name)}")
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_name)
    else:
        app.command(_name, epilog=_module.EXAMPLES)(_module.command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"memlane {version('memlane')}")
        except PackageNotFoundError:
            typer.echo("memlane (source tree, not installed)")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, metavar="", help="Show the version and exit.")
    ] = False,
) -> None:
    """Shared memory for swarms of coding agents."""


everywhere(app)
