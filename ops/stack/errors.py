"""What can keep the stack from running."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

#: How much of a process's log is shown when it can't start, lines.
LAST_LINES = 12


class StackError(Exception):
    """The stack can't run; the message says why and what to do."""


class AlreadyRunning(StackError):
    """Another supervisor holds this home."""

    def __init__(self, home: Path, state: dict[str, Any]) -> None:
        where = "".join(f", {server} {url}" for server, url in public(state).items())
        super().__init__(
            f"already running in {home}: pid {state['pid']} since {state['started']}{where}; "
            f"stop it with `kill {state['pid']}`, or set MEMLANE_HOME to another folder"
        )


class StillEnding(StackError):
    """Processes of a supervisor that is gone still hold this home."""


class PortTaken(StackError):
    """A port that was asked for by number is in use."""


class Interrupted(StackError):
    """The stack was asked to stop before it was ready."""


class NotReady(StackError):
    """A process ended, or did nothing useful, while the stack was starting."""

    def __init__(self, name: str, what: str, log: Path, said: str) -> None:
        """
        Args:
            said: what the process wrote to its log since it was started.
        """
        lines = [f"    {line}" for line in said.splitlines()[-LAST_LINES:]]
        super().__init__("\n".join([f"{name} {what}; log: {log}", *lines]))


def public(state: dict[str, Any]) -> dict[str, str]:
    """The addresses in a stack.json, without passwords."""
    addresses = {
        "valkey": state.get("valkey_url"),
        "graph": state.get("graph_url"),
        "flower": state.get("flower_url"),
    }
    return {name: _without_password(url) for name, url in addresses.items() if url}


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def how_it_ended(status: int) -> str:
    """`exit code 1` or `SIGKILL`, from a return code as `subprocess` has it."""
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name
