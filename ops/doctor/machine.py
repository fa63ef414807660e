"""This machine: the home folder, and the stack that runs in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from memory.settings import STACK_FILE, settings
from ops.doctor.finding import Finding, failure, ok, warning
from ops.stack import running
from ops.text import counted

#: Free disk space below this is too little, bytes.
DISK_BYTES = 1 << 30


def home() -> Iterator[Finding]:
    """Is there room, and may we write?"""
    folder = settings().home
    if not folder.exists():
        yield warning("home", f"{folder} is not there yet", "`memlane up` makes it; or set MEMLANE_HOME")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield failure(
            "home", f"{folder} can't be read and written by this user", "set MEMLANE_HOME to a folder of yours"
        )
        return
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        message = f"only {free / 2**20:,.0f} MiB are free at {folder}"
        yield failure("home", message, "make room: queue, ledger and graph are written there")
        return
    yield ok("home", f"{folder}, {free / 2**30:,.0f} GiB free")


def stack() -> Iterator[Finding]:
    """What `memlane up` runs in this home, if it does, and whether commands go there."""
    folder = settings().home
    state = running(folder)
    if state is None:
        if (folder / STACK_FILE).exists():
            message = f"`memlane up` was killed: {folder / STACK_FILE} names servers that are gone"
            yield failure("stack", message, "start it again with `memlane up`; what it had stored is there")
        return
    down = [process for process in state.get("processes", []) if process["state"] != "running"]
    for process in down:
        what = f"{process['name']} ({process['purpose']})"
        message = f"{what} is {process['state']}; it was restarted {counted(process['restarts'], 'time')}"
        yield failure("stack", message, f"its log says why: {process['log']}")
    elsewhere = [
        variable
        for variable, ours in (("MEMLANE_VALKEY_URL", "valkey_url"), ("MEMLANE_GRAPH_URL", "graph_url"))
        if os.environ.get(variable) and os.environ[variable] != state.get(ours)
    ]
    if elsewhere:
        message = f"one runs in {folder}, but commands go where {' and '.join(elsewhere)} leads"
        yield warning("stack", message, f"unset {' and '.join(elsewhere)}, if that is not meant")
    elif not down:
        yield ok("stack", f"`memlane up` runs, pid {state['pid']}, {len(state.get('processes', []))} processes")
