"""Plugins that workers run: whether they can be loaded, and whether their hooks ever succeed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

from memory.plugin_adapter import MemoryPluginAdapter
from memory.plugins import load
from memory.settings import settings
from ops.doctor.finding import Finding, ok, warning
from ops.status import Status
from ops.text import counted


def plugins() -> Iterator[Finding]:
    """Can those be loaded that are installed, or named in the home's config.json?"""
    with redirect_stdout(sys.stderr):  # they may print
        loaded = load(MemoryPluginAdapter(), home=settings().home)
    problems = [problem for one in loaded if (problem := one.problem())]
    for problem in problems:
        yield warning("plugins", problem, "mend it, then start the workers anew; `memlane plugins list` shows all")
    if loaded and not problems:
        yield ok("plugins", f"{counted(len(loaded), 'plugin')}: all can be loaded")


def hooks(status: Status) -> Iterator[Finding]:
    """Do hooks succeed that workers run?"""
    for name, ran in status.hooks.items():
        if ran.get("failed") and not ran.get("done"):
            message = f"hook {name} has failed each time it ran: {counted(ran['failed'], 'time')}"
            yield warning("plugins", message, "the log of the workers that serve plugins says why: `hook failed`")
