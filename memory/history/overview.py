"""`summary` and `sessions`: how much is known, and of which sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from typing import Any

from memory.history.answer import Answer
from memory.history.markdown import Page, counted, duration, one_line, when
from memory.history.operations import Sessions, Summary
from memory.history.place import Place
from memory.ledger import sessions, totals
from memory.ledger.sessions import Session

#: Titles that OpenCode gives before it knows better.
_UNTITLED = ("New session - ", "Child session - ")


def summary(place: Place, _: Summary) -> Answer:
    """Counts over all that the group holds."""
    return counted_up(place.group, totals.totals(place.connection, place.group))


def counted_up(group: str, found: Mapping[str, int]) -> Answer:
    """`summary` of what was counted: `sessions, projects, started, active, messages, compactions, todos_open,
    todos_done`, and further counts as far as they are known; see `memory.ledger.totals`."""
    data = {"group": group, **found}
    page = Page(f"What {group} remembers")
    if not found["started"]:
        return Answer(page.end("Nothing is known yet."), data)
    page.add(
        f"- {counted(found['projects'], 'project folder')}, {counted(found['sessions'], 'session')}, "
        f"from {when(found['started'])} to {when(found['active'])} UTC",
        f"- {counted(found['messages'], 'message')}, {counted(found['compactions'], 'compaction')}"
        + (f", {counted(found['checkpoints'], 'checkpoint')}" if "checkpoints" in found else ""),
        f"- todos: {found['todos_open']:,} open, {found['todos_done']:,} done",
    )
    if "events" in found:
        page.add(
            f"- {counted(found['events'], 'event')}: {counted(found['writes'], 'file write')}, "
            f"{counted(found['errors'], 'error')}, {counted(found['completions'], 'completed task')}, "
            f"{found['tokens']:,} tokens used"
        )
    return Answer(page.end("`sessions` lists them, `search` finds what was said."), data)


def recent(place: Place, arguments: Sessions) -> Answer:
    """The sessions that were active last."""
    project = folder_of(place, arguments)
    behind = place.find(arguments.before, "before") if arguments.before else None
    found = sessions.latest(place.connection, place.group, arguments.limit, project=project, behind=behind)
    total = sessions.totals(place.connection, place.group, project)["sessions"]
    return listed(place, arguments, found, total)


def listed(place: Place, arguments: Sessions, found: list[Session], total: int) -> Answer:
    """`sessions` of those that were found, among so many."""
    project = folder_of(place, arguments)
    data: dict[str, Any] = {"group": place.group, "total": total, "sessions": [described(each) for each in found]}
    page = Page(f"Sessions of {place.group}" + (f" in {one_line(project, 200)}" if project else ""))
    if not found:
        none = "There are none." if total == 0 else "There are no more."
        return Answer(page.end(none), data)
    shown, last = 0, found[-1]
    for folder, each in _by_project(found):
        lines = [f"## {folder}"]
        for session in each:
            if not page.add(*lines, f"- {_line(session, place.session)}"):
                break
            lines, last, shown = [], session, shown + 1
        else:
            continue
        break
    left = []
    if shown < len(found):
        left.append(f"{len(found) - shown} more have no room here: a smaller limit, or projectPath, shows fewer.")
    elif total > len(found) or arguments.before:
        left.append(f'{counted(total, "session")} in all; before: "{last.session}" goes on behind these.')
    left.append("`messages` with a sessionId reads one of them.")
    return Answer(page.end(*left), data)


def folder_of(place: Place, arguments: Sessions) -> str | None:
    """The project folder that is meant, if one is."""
    project = place.project if arguments.project_path == "." else arguments.project_path
    return (project.rstrip("/") or "/") if project else None


def described(session: Session) -> dict[str, Any]:
    """A session as data: see `docs/history.md`."""
    return {**asdict(session), "duration_ms": session.active - session.started, "name": name_of(session)}


def name_of(session: Session) -> str:
    """What a session was about, in a line."""
    title = session.title or ""
    if not title or title.startswith(_UNTITLED):
        title = session.request or title or "(untitled)"
    return title


def _by_project(found: list[Session]) -> list[tuple[str, list[Session]]]:
    """Sessions by project, the one that was active last first; within each in their order."""
    order = list(dict.fromkeys(each.project or "" for each in found))
    ordered = sorted(found, key=lambda each: order.index(each.project or ""))
    return [
        (one_line(project, 200) or "(no project)", list(each))
        for project, each in groupby(ordered, lambda each: each.project or "")
    ]


def _line(session: Session, own: str | None) -> str:
    counts = [counted(session.messages, "message"), counted(session.writes, "write")]
    counts += [counted(session.errors, "error")] if session.errors else []
    counts += [counted(session.compactions, "compaction")] if session.compactions else []
    counts += [f"todos {session.todos_open} open"] if session.todos_open else []
    who = f", {one_line(session.agent, 40)}" if session.agent else ""
    of = f", child of `{session.parent}`" if session.parent else ""
    mine = " (your own)" if session.session == own else ""
    took = duration(session.active - session.started)
    return (
        f"`{session.session}`{mine} {one_line(name_of(session), 100)} "
        f"({when(session.started)}, {took}{who}{of}: {', '.join(counts)})"
    )
