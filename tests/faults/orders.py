"""Orders to armed workers: where to kill or stop themselves, once. The steps are named in armed.py.

An order is a file of a group. It names a step, a signal, and whether the whole worker is meant or only the process of its
pool that does the work.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests import servers


def order(folder: Path, step: str, group: str, *, number: signal.Signals = signal.SIGKILL, whole: bool = False) -> None:
    """Order whoever reaches a step in a group to send itself a signal; or, with `whole`, the worker with its pool."""
    (folder / f"taken-{group}").unlink(missing_ok=True)
    written = folder / f"order-{group}.new"
    written.write_text(json.dumps({"step": step, "signal": int(number), "whole": whole}))
    written.rename(folder / f"order-{group}")


def taken(folder: Path, group: str, seconds: float = servers.START_SECONDS) -> int:
    """Wait until the order was carried out.

    Returns:
        The number of the process that did.
    """
    mark = folder / f"taken-{group}"
    servers.wait_until(mark.exists, f"the order of group {group} to be carried out", seconds)
    return int(mark.read_text())
