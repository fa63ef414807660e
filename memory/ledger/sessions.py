"""What is known of each session, in a table of its own: a list of sessions must not read their events.

Kept by stage `index`, in one transaction with its cursor, so each event counts once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select

from memory.events import Event
from memory.graph.kinds import is_turn
from memory.ledger import cursors
from memory.ledger.engine import Ledger
from memory.ledger.log import Slice, milliseconds, of_session
from memory.ledger.schema import events as log
from memory.ledger.schema import sessions, stage_cursors

#: Types of event that are messages of a session.
MESSAGES = frozenset({"chat.message", "user.request"})
#: Types of event that tell of a compaction.
COMPACTIONS = frozenset({"session.compacted", "checkpoint.created"})
#: Longest request that is kept, in characters.
REQUEST = 200
#: Events that are counted at once.
_AT_ONCE = 2_000


@dataclass(slots=True)
class Session:
    """One session: see `schema.sessions`. Times in ms since 1970, durations and tokens as its events tell."""

    session: str
    project: str | None = None
    parent: str | None = None
    agent: str | None = None
    title: str | None = None
    model: str | None = None
    request: str | None = None
    first_seq: int = 0
    last_seq: int = 0
    started: int = 0
    active: int = 0
    events: int = 0
    messages: int = 0
    writes: int = 0
    errors: int = 0
    completions: int = 0
    compactions: int = 0
    tokens: int = 0
    todos_open: int = 0
    todos_done: int = 0
    context_tokens: int | None = None
    context_limit: int | None = None

    def count(self, event: Event, seq: int) -> None:
        """Take one more event into account. One that comes out of its order (a dead letter that was retried) counts,
        and changes nothing of what the latest event decides."""
        time = milliseconds(event.time)
        latest = seq > self.last_seq
        self.started = min(self.started, time) if self.events else time
        self.active = max(self.active, time)
        self.first_seq = min(self.first_seq, seq) if self.events else seq
        self.last_seq = max(self.last_seq, seq)
        self.events += 1
        self.project = self.project or event.project
        if event.agent and (latest or not self.agent):
            self.agent = event.agent
        self._count_type(event.type, event.data, latest)

    def _count_type(self, type: str, data: dict[str, Any], latest: bool) -> None:
        if type in MESSAGES:
            self.messages += 1
            if not self.request and data.get("role", "user") == "user":
                self.request = _line(data.get("text") or data.get("request"))
            if data.get("role") == "assistant" and latest:
                self.context_tokens = _whole(data.get("tokens")) or self.context_tokens
        elif type in COMPACTIONS:
            self.compactions += 1
            if latest and type == "session.compacted":
                self.context_tokens = _whole(data.get("tokens_after")) or self.context_tokens
        elif type == "file.write":
            self.writes += 1
        elif type == "error":
            self.errors += 1
        elif type == "completion":
            self.completions += not is_turn(data)
            self.tokens += _whole(data.get("tokens")) or 0
        elif type == "session.start":
            self.title = _line(data.get("title")) or self.title
            self.model = _line(data.get("model")) or self.model
            self.parent = _line(data.get("parent")) or self.parent
        elif type == "chat.start":
            self.request = self.request or _line(data.get("query"))
        elif type == "context.warning" and latest:
            self.context_tokens = _whole(data.get("context_size")) or self.context_tokens
            self.context_limit = _whole(data.get("limit")) or self.context_limit
        elif type == "todo.updated" and latest and isinstance(todos := data.get("todos"), list):
            states = [todo.get("status") for todo in todos if isinstance(todo, dict)]
            self.todos_done = sum(state in ("completed", "done", "cancelled") for state in states)
            self.todos_open = len(states) - self.todos_done


def count(ledger: Ledger, connection: Connection, group: str, events: Slice) -> None:
    """Take events that are indexed now into account."""
    named = {event.session for event in events.events if event.session}
    if not named:
        return
    known = {found.session: found for found in get(connection, group, named)}
    for event, seq in zip(events.events, events.seqs, strict=True):
        if event.session:
            known.setdefault(event.session, Session(event.session)).count(event, seq)
    _put(ledger, connection, group, known.values())


def recount(ledger: Ledger, connection: Connection, group: str, names: Collection[str]) -> None:
    """Count the events of these sessions anew, as far as they are indexed; a session of which none is left is deleted.
    For whatever changes events that are in the ledger.

    Args:
        connection: a writing transaction.
    """
    # Stage `index` claims its cursor before it counts: so neither writes over what the other has counted.
    held = select(stage_cursors.c.seq).where(stage_cursors.c.group_id == group, stage_cursors.c.stage == "index")
    connection.execute(held.with_for_update())
    upto = cursors.position(connection, "index", group)
    for name in names:
        found, after = Session(name), 0
        while True:
            events = of_session(connection, group, name, after, upto, _AT_ONCE)
            for event, seq in zip(events.events, events.seqs, strict=True):
                found.count(event, seq)
            if len(events.events) < _AT_ONCE:
                break
            after = events.seqs[-1]
        if found.events:
            _put(ledger, connection, group, [found])
        else:
            connection.execute(delete(sessions).where(sessions.c.group_id == group, sessions.c.session == name))


def drop(connection: Connection, group: str, names: Collection[str]) -> None:
    """Delete what is known of these sessions, until they are counted anew."""
    connection.execute(delete(sessions).where(sessions.c.group_id == group, sessions.c.session.in_(names)))


def uncounted(connection: Connection, group: str) -> list[str]:
    """Sessions of which there are events, and nothing is known: they were dropped, or are not indexed yet."""
    named = select(log.c.session).where(log.c.group_id == group, log.c.session.is_not(None)).distinct()
    counted = select(sessions.c.session).where(sessions.c.group_id == group)
    return list(connection.execute(named.except_(counted)).scalars())


def clear(connection: Connection, group: str) -> None:
    """Delete what is known of a group's sessions: stage `index` begins again."""
    connection.execute(delete(sessions).where(sessions.c.group_id == group))


def recount_all(ledger: Ledger, connection: Connection, group: str) -> None:
    """`recount` for all sessions of a group."""
    clear(connection, group)
    query = select(log.c.session).where(log.c.group_id == group, log.c.session.is_not(None)).distinct()
    recount(ledger, connection, group, list(connection.execute(query).scalars()))


def get(connection: Connection, group: str, names: Collection[str]) -> list[Session]:
    """Those of the sessions that are known."""
    query = select(*_COLUMNS).where(sessions.c.group_id == group, sessions.c.session.in_(names))
    return [Session(*row) for row in connection.execute(query)]


def beginning(connection: Connection, group: str, prefix: str, limit: int) -> list[Session]:
    """Sessions whose id begins so, by id."""
    column = sessions.c.session
    query = select(*_COLUMNS).where(sessions.c.group_id == group, column.startswith(prefix, autoescape=True))
    return [Session(*row) for row in connection.execute(query.order_by(column).limit(limit))]


def latest(
    connection: Connection, group: str, limit: int, *, project: str | None = None, behind: Session | None = None
) -> list[Session]:
    """Sessions of a group, the one that was active last first.

    Args:
        project: only those of this project folder.
        behind: only those that come behind this one.
    """
    query = select(*_COLUMNS).where(sessions.c.group_id == group)
    if project is not None:
        query = query.where(sessions.c.project == project)
    if behind is not None:
        active = sessions.c.active
        later = (active == behind.active) & (sessions.c.session < behind.session)
        query = query.where((active < behind.active) | later)
    query = query.order_by(sessions.c.active.desc(), sessions.c.session.desc()).limit(limit)
    return [Session(*row) for row in connection.execute(query)]


def compacted(connection: Connection, group: str, limit: int) -> list[Session]:
    """Sessions that were compacted, the one that was active last first."""
    query = select(*_COLUMNS).where(sessions.c.group_id == group, sessions.c.compactions > 0)
    query = query.order_by(sessions.c.active.desc(), sessions.c.session.desc()).limit(limit)
    return [Session(*row) for row in connection.execute(query)]


def totals(connection: Connection, group: str, project: str | None = None) -> dict[str, int]:
    """Sums over a group's sessions, or over those of one of its projects: `sessions, projects, started, active` and
    the counts."""
    names = ("events", "messages", "writes", "errors", "completions", "compactions", "tokens")
    column = sessions.c
    wanted = [column.group_id == group] + ([column.project == project] if project is not None else [])
    query = select(
        func.count().label("sessions"),
        func.count(column.project.distinct()).label("projects"),
        func.min(column.started).label("started"),
        func.max(column.active).label("active"),
        *(func.sum(column[name]).label(name) for name in (*names, "todos_open", "todos_done")),
    ).where(*wanted)
    row = connection.execute(query).one()
    return {name: int(value or 0) for name, value in row._asdict().items()}


_COLUMNS = [sessions.c[name] for name in Session.__dataclass_fields__]


def _put(ledger: Ledger, connection: Connection, group: str, found: Iterable[Session]) -> None:
    statement = ledger.insert(sessions)
    changed = {name: statement.excluded[name] for name in Session.__dataclass_fields__ if name != "session"}
    upsert = statement.on_conflict_do_update(index_elements=["group_id", "session"], set_=changed)
    connection.execute(upsert, [{"group_id": group, **asdict(each)} for each in found])


def _line(value: Any) -> str | None:
    """The first line of a text, shortened; None if there is none."""
    if not isinstance(value, str):
        return None
    line = value.strip().partition("\n")[0].strip()
    return (line if len(line) <= REQUEST else line[: REQUEST - 1] + "…") or None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
