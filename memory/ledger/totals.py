"""How much is known of a group, all its events counted that are not forgotten: also those of no session (commits, what
was remembered by a command), of which the table of sessions tells nothing."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, union

from memory.ledger import sessions as of_sessions
from memory.ledger.schema import events, sessions
from memory.ledger.sessions import COMPACTIONS, MESSAGES


def totals(connection: Connection, group: str) -> dict[str, int]:
    """`sessions, projects, started, active` (times of the first and last event, ms since 1970; 0 if there is none),
    `events`, and how many of them are `messages, writes, errors, completions, compactions, checkpoints`; `tokens` that
    the completions of sessions used, and `todos_open, todos_done` in the latest list of each session."""
    found = of_sessions.totals(connection, group)
    c = events.c
    # Only these are read: what sessions did is counted already.
    loose = (c.group_id == group, c.session.is_(None), c.forgotten.is_(None))
    query = select(c.type, func.count(), func.min(c.time), func.max(c.time)).where(*loose).group_by(c.type)
    types: dict[str, int] = {}
    for type, count, first, last in connection.execute(query):
        types[type] = count
        found["started"] = min(found["started"] or first, first)
        found["active"] = max(found["active"], last)
    found["messages"] += sum(types.get(type, 0) for type in MESSAGES)
    for name, type in (("writes", "file.write"), ("errors", "error"), ("completions", "completion")):
        found[name] += types.get(type, 0)
    compactions = _compactions(connection, group)
    for name, type in (("compactions", "session.compacted"), ("checkpoints", "checkpoint.created")):
        found[name] = compactions.get(type, 0) + types.get(type, 0)
    projects = union(select(sessions.c.project).where(sessions.c.group_id == group), select(c.project).where(*loose))
    found["projects"] = connection.execute(select(func.count(projects.subquery().c.project))).scalar_one()
    found["events"] = _there(connection, group)
    return found


def _there(connection: Connection, group: str) -> int:
    """Events that are not forgotten. Both counts come from an index; to look into each event would take long."""
    of_group = select(func.count()).where(events.c.group_id == group)
    recorded: int = connection.execute(of_group).scalar_one()
    forgotten: int = connection.execute(of_group.where(events.c.forgotten.is_not(None))).scalar_one()
    return recorded - forgotten


def _compactions(connection: Connection, group: str) -> dict[str, int]:
    """Compactions and checkpoints of sessions by type of event: the table of sessions counts them together."""
    compacted = select(sessions.c.session).where(sessions.c.group_id == group, sessions.c.compactions > 0)
    wanted = (events.c.group_id == group, events.c.session.in_(compacted), events.c.type.in_(sorted(COMPACTIONS)))
    query = select(events.c.type, func.count()).where(*wanted).group_by(events.c.type)
    return dict(connection.execute(query).all())
