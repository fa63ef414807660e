"""What producers read from their environment. Others read it through `memory.settings`, which would cost a hook more
time than publishing does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: How long one publish may take, s, all included.
DEADLINE_SECONDS = 0.05
#: Most bytes that wait in one spool.
SPOOL_BYTES = 64 * 1024 * 1024


class EnvironmentInvalid(ValueError):
    """A variable holds what it can't be; the message names it."""


def home_of(environ: Mapping[str, str] = os.environ) -> Path:
    """`MEMLANE_HOME`, else ~/.memlane."""
    return Path(environ.get("MEMLANE_HOME") or "~/.memlane").expanduser().absolute()


def deadline_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """`MEMLANE_PUBLISH_DEADLINE_MS`, in seconds.

    Raises:
        EnvironmentInvalid: it is no number above zero.
    """
    return _number(environ, "MEMLANE_PUBLISH_DEADLINE_MS", DEADLINE_SECONDS * 1000) / 1000


def spool_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """`MEMLANE_SPOOL_BYTES`.

    Raises:
        EnvironmentInvalid: it is no number above zero.
    """
    return int(_number(environ, "MEMLANE_SPOOL_BYTES", SPOOL_BYTES))


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, readable by their owner only.

    Raises:
        OSError
    """
    for each in [*reversed(folder.parents), folder]:
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise EnvironmentInvalid(f"{name}: give a number above zero, not {text[:40]!r}")
    return number
