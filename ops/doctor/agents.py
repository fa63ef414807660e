"""The agents: do their events arrive?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from sqlalchemy import select

from memory.ledger import Ledger
from memory.ledger.schema import events
from ops.cli.options import project_root
from ops.doctor.finding import Finding, ok, warning
from ops.install import opencode as configured

#: Units in which an age is told, s, the largest first.
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def opencode(ledger: Ledger) -> Iterator[Finding]:
    """Is OpenCode's plugin configured, and do events of it come? Nothing is said where there is no OpenCode.

    Raises:
        LedgerUnavailable
    """
    check = "OpenCode"
    files = (configured.configuration(None), configured.configuration(project_root()))
    try:
        loaded = next((file for file in files if configured.installed(file)), None)
    except configured.ConfigurationUnusable as error:
        yield warning(check, str(error), "OpenCode itself can't start with it either")
        return
    # Imports bring no `chat.start`: only the plugin tells of messages while they are said.
    query = select(events.c.time, events.c.group_id).where(events.c.source == "opencode", events.c.type == "chat.start")
    with ledger.read() as connection:
        last = connection.execute(query.order_by(events.c.n.desc()).limit(1)).one_or_none()
    came = f"the last message was captured {_ago(last.time)} ago, in group {last.group_id}" if last else ""
    if loaded and came:
        yield ok(check, f"{loaded} loads the plugin; {came}")
    elif loaded:
        message = f"{loaded} loads the plugin, but no message was captured yet"
        yield warning(
            check, message, "say something in OpenCode; its log (`opencode debug paths`) has lines `memlane:`"
        )
    elif came:
        yield ok(check, came)
    elif shutil.which("opencode"):
        yield warning(check, "it is here, without the plugin", "`memlane install opencode` adds it")


def _ago(time_ms: int) -> str:
    seconds = max(0, round(time.time() - time_ms / 1000))
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), _UNITS[-1])
    number = seconds // size
    return f"{number} {unit}{'' if number == 1 else 's'}"
