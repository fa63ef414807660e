"""What waits on this machine, and what was lost or thrown away."""

from __future__ import annotations

from collections.abc import Iterator

from memory.settings import settings
from ops.doctor.finding import Finding, ok, warning
from ops.spools import waiting
from ops.status import Status
from ops.text import counted

#: Groups that a message names.
NAMED = 3


def spools() -> Iterator[Finding]:
    """Do events wait in this home for the queue server?"""
    found = waiting(settings().home)
    if not found:
        yield ok("spools", "nothing waits in this home")
        return
    events = counted(sum(one.events for one in found), "event")
    message = f"{events} of {_named([one.group for one in found])} wait in this home for the queue server"
    yield warning("spools", message, "they go with the next event that is published here; or `memlane spool flush`")


def lost(status: Status) -> Iterator[Finding]:
    """Has the queue server lost events, and were messages thrown away?"""
    groups = [group for group in status.groups if group.lost]
    if groups:
        events = counted(sum(group.lost for group in groups), "event")
        names = _named([group.group for group in groups])
        message = (
            f"the queue server had accepted {events} of {names} and lost them: it was wiped, failed over, or cut off "
            "from power"
        )
        yield warning("losses", message, "publish them again, with the same ids, if you have them; see appendfsync")
    if status.discarded:
        queues = ", ".join(f"{name} ({count})" for name, count in status.discarded.items())
        message = f"messages that were no wake-ups were found in Celery's lists and discarded: {queues}"
        yield warning("messages", message, "somebody else writes there: look who may, see docs/deployment.md")


def _named(groups: list[str]) -> str:
    names = ", ".join(groups[:NAMED]) + (" …" if len(groups) > NAMED else "")
    return f"{counted(len(groups), 'group')} ({names})"
