"""The command `memlane`.

Every command is a file of its own here, and is added by its name in `commands.COMMANDS`. A command raises named
exceptions; they become one line on stderr and exit code 1 in `main`, and nowhere else.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    app: typer.Typer

#: Folders whose exceptions are ours: their messages say what happened and what to do.
OURS = ("memory", "producers", "workers", "ops")


def __getattr__(name: str) -> Any:
    # Importing typer takes 80 ms, which a command that answers an agent's hook can't afford.
    if name == "app":
        from ops.cli.commands import app

        return app
    raise AttributeError(name)


def main() -> None:
    """Entry point of `memlane`: exits 0 if it did what was asked, 1 on errors, 2 on a wrong command line."""
    try:
        from ops.cli.commands import app

        app(prog_name="memlane")
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain about it once more when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("MEMLANE_DEBUG"):
            raise
        sys.exit(f"memlane: {explain(error)}")


def explain(error: Exception) -> str:
    """What a person is told about an error."""
    if type(error).__module__.partition(".")[0] in OURS:
        return str(error)
    # Only the kind: messages of others may hold parts of an event.
    return f"unexpected {type(error).__name__}; MEMLANE_DEBUG=1 shows where it comes from, please report it"
