"""Forgetting: the content of events goes, from wherever it was taken to; an empty row keeps their ids known.

    ledger      one transaction for each `CHUNK` events: their rows are emptied; their paths, dead letters, full text,
                vectors and sessions' rows go along, and checkpoints that tell of them. Who publishes one of these ids
                again publishes a duplicate.
    graph       then what they said is taken out: see `memory.graph.forgetting`.
    cache       all answers of the group are void; briefs of the sessions concerned are deleted.

From the first of these transactions on, the ledger knows that forgetting is under way (`memory.ledger.forgettings`),
until somebody who has also cleaned the servers' files says that it is not.

Stages that are behind find nothing to store. One that has read such an event before, and stores it after, has to wait
for the transaction here or is waited for, and takes back what it did outside of SQL (`Follower.undo`). What is rebuilt
is made of the rows, so that brings nothing back either.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import redis
from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, select, update

from memory import lua
from memory.cache import Cache, Glob
from memory.extraction import replay
from memory.graph.facts import episode_uuid
from memory.graph.kinds import TYPES
from memory.graph.writer import GraphRefused, GraphUnavailable
from memory.ledger import checkpoints, cursors, dead, embeddings, extractions, forgettings, search, sessions
from memory.ledger.engine import Ledger
from memory.ledger.log import emptied, events_at, forgotten_ids, ids_of, pages
from memory.ledger.schema import dead_letters, event_paths, events, stage_cursors

if TYPE_CHECKING:
    from memory.events import Event
    from memory.graph.forgetting import Remaining
    from memory.graph.writer import GraphWriter

#: Events that one transaction empties.
CHUNK = 500
_WORD = re.compile(r"\w+")


class GraphBehind(Exception):
    """What was said was forgotten, but for the graph. `forgotten` is what was done."""

    def __init__(self, group: str, forgotten: Forgotten, reason: str) -> None:
        super().__init__(group, forgotten, reason)
        self.group, self.forgotten, self.reason = group, forgotten, reason

    def __str__(self) -> str:
        return (
            f"{self.forgotten.events:,} events of {self.group} were forgotten now, but what was forgotten is not all "
            f"out of the graph: {self.reason}. Once it works, `memlane rebuild graph --group {self.group}` or the next "
            "`memlane forget` in this group finishes it; until then `memlane doctor` names it"
        )


class NothingChosen(ValueError):
    """Nothing says which events: all of a group would be meant."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which events of a group: those for which all that is given holds.

    `path` is a glob as `memlane invalidate` takes it; `since` and `before` are ms since 1970, of when it happened.
    """

    ids: Collection[str] = ()
    sessions: Collection[str] = ()
    path: Glob | None = None
    users: Collection[str] = ()
    since: int | None = None
    before: int | None = None

    def __post_init__(self) -> None:
        if not (self.ids or self.sessions or self.path or self.users) and self.since is None and self.before is None:
            raise NothingChosen("say what to forget: ids, sessions, a path, users, or times")

    def where(self) -> list[ColumnElement[bool]]:
        """In SQL, but for the path."""
        found: list[ColumnElement[bool]] = [events.c.forgotten.is_(None)]
        found += [events.c.id.in_(self.ids)] if self.ids else []
        found += [events.c.session.in_(self.sessions)] if self.sessions else []
        found += [events.c.user_id.in_(self.users)] if self.users else []
        found += [events.c.time >= self.since] if self.since is not None else []
        found += [events.c.time < self.before] if self.before is not None else []
        return found


@dataclass
class Forgotten:
    """How much is no more. `episodes`, `entities` and `facts` are those of the graph."""

    events: int = 0
    dead_letters: int = 0
    paths: int = 0
    sessions: int = 0
    episodes: int = 0
    entities: int = 0
    facts: int = 0
    types: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """What `memlane forget --json` prints of it."""
        return {**asdict(self), "types": dict(sorted(self.types.items()))}


def matching(ledger: Ledger, group: str, chosen: Chosen) -> Forgotten:
    """What `forget` would find now, without doing it: events by type, dead letters."""
    found = Forgotten()
    meant: set[int] = set()
    told: set[int] = set()
    for seqs in _found(ledger, group, chosen):
        meant.update(seqs)
        with ledger.read() as connection:
            query = select(events.c.type, func.count()).where(events.c.group_id == group, events.c.seq.in_(seqs))
            for type, count in connection.execute(query.group_by(events.c.type)):
                found.types[type] += count
            named = select(events.c.session).where(events.c.group_id == group, events.c.seq.in_(seqs)).distinct()
            sessions_of = {session for session in connection.execute(named).scalars() if session}
            told.update(checkpoints.tell_of(connection, group, sessions_of, seqs[0]))
    if told - meant:
        found.types["checkpoint.created"] += len(told - meant)
    found.events = found.types.total()
    with ledger.read() as connection:
        found.dead_letters = len(_letters(connection, group, chosen))
    return found


def forget(
    ledger: Ledger,
    group: str,
    chosen: Chosen,
    *,
    graph: GraphWriter,
    client: redis.Redis,
    progress: Callable[[int], object] = lambda events: None,
    graph_progress: Callable[[int, int], object] = lambda events, total: None,
) -> Forgotten:
    """Forget events of a group that are in the ledger.

    Args:
        progress: told how many events were emptied just now.
        graph_progress: told how many events were taken out of the graph just now, and of how many in all.

    Raises:
        LedgerUnavailable, redis.RedisError, GraphUnavailable, GraphBehind: what was done until then stays done. Before
            the first event is emptied it is seen that all three can be reached; that the graph can't be, later, is
            `GraphBehind`. What is left to do where one goes away later, or the process dies, the next call does,
            whatever it is to forget itself; only what a model has found in prose stays in the graph until that is
            rebuilt.
    """
    graph.exists(group)
    answers = Cache(client, group)
    result = Forgotten()
    named: set[str] = set()
    answers_gone: list[extractions.Extraction] = []
    try:
        for seqs in _found(ledger, group, chosen):
            emptied = _empty(ledger, group, seqs, result, answers_gone)
            sessions_of = {row.session for row in emptied if row.session is not None}
            named |= sessions_of
            answers.drop([lua.WHOLE_GROUP])
            if sessions_of:
                client.delete(*(lua.brief(session) for session in sessions_of))
            progress(len(emptied))
        with ledger.write() as connection:
            letters = dead.drop(ledger, connection, _letters(connection, group, chosen))
            result.dead_letters += len(letters)
    finally:
        # Also where it did not come to its end, or an earlier one did not: what was emptied is to be gone everywhere.
        with ledger.write() as connection:
            sessions.recount(ledger, connection, group, sessions.uncounted(connection, group))
            left = {found.session for found in sessions.get(connection, group, named)}
            begun = forgettings.of(connection, group)
            ids = forgotten_ids(connection, group, begun.since) if begun else []
        result.sessions = len(named - left)
        if ids:
            try:
                removed = graph.forget(
                    group, ids, remaining(ledger, group), lambda events: graph_progress(events, len(ids))
                )
                if answers_gone:
                    replay.forget(ledger, graph, group, answers_gone)
            except (GraphUnavailable, GraphRefused) as error:
                raise GraphBehind(group, result, str(error)) from error
            finally:
                answers.drop([lua.WHOLE_GROUP])
            result.episodes, result.entities, result.facts = removed.episodes, removed.entities, removed.facts
    return result


class Forgetting:
    """What a mechanism is given to forget with, in words: see `memory.mechanisms.given.Forget`."""

    def __init__(self, ledger: Ledger, group: str, *, graph: GraphWriter, client: redis.Redis) -> None:
        self._ledger, self._group = ledger, group
        self._graph, self._client = graph, client

    def __call__(self, request: str, session: str | None = None) -> dict[str, Any]:
        """Forget what users asked to remember, where it holds all the words of the request, and requests to forget that
        themselves say it. Words are no reason to delete what agents did: that takes `memlane forget`.

        Args:
            session: in which it was asked; what was said in others is meant as well.

        Returns:
            As `Forgotten.as_json`, and `ids`.

        Raises:
            NothingChosen: the request holds no word.
            As `forget`.
        """
        words = set(_WORD.findall(request.lower()))
        if not words:
            raise NothingChosen("say in words what to forget")
        query = select(events.c.id, events.c.data).where(
            events.c.group_id == self._group,
            events.c.type == "user.request",
            events.c.forgotten.is_(None),
            # JSON spells letters as they are, so the longest word narrows it down.
            events.c.data.icontains(max(words, key=len), autoescape=True),
        )
        with self._ledger.read() as connection:
            ids = [row.id for row in connection.execute(query) if words <= _asked(row.data)]
        if not ids:
            return {**Forgotten().as_json(), "ids": []}
        done = forget(self._ledger, self._group, Chosen(ids=ids), graph=self._graph, client=self._client)
        return {**done.as_json(), "ids": ids}


def _asked(data: str) -> set[str]:
    """The words of a request that is to be remembered, or forgotten; none of a question."""
    found = json.loads(data)
    if found.get("action") not in ("remember", "forget"):
        return set()
    return set(_WORD.findall(str(found.get("request")).lower()))


def remaining(ledger: Ledger, group: str) -> Remaining:
    """How the graph is told again by a group's other events: see there."""
    with ledger.read() as connection:
        # Taken before the graph is looked at: what is behind this may be in the writing.
        written = cursors.position(connection, "episodes", group)

    def found(episodes: Collection[str]) -> Iterator[Sequence[Event]]:
        with ledger.read() as connection:
            seqs = [seq for seq, id in ids_of(connection, group, TYPES, written) if episode_uuid(id) in episodes]
        for start in range(0, len(seqs), CHUNK):
            with ledger.read() as connection:
                yield events_at(connection, group, seqs[start : start + CHUNK])
        for page in pages(ledger, group, TYPES, after=written):
            yield page.events

    return found


def _found(ledger: Ledger, group: str, chosen: Chosen) -> Iterator[list[int]]:
    """Seqs of the events that are meant, at most `CHUNK` at once and in order, the newest first: so little is left in a
    session behind those that go, and has to be joined to those before. They may be emptied meanwhile."""
    wanted = [events.c.group_id == group, *chosen.where()]
    if chosen.path is not None:
        for some in _about(ledger, group, chosen.path):
            with ledger.read() as connection:
                query = select(events.c.seq).where(*wanted, events.c.seq.in_(some)).order_by(events.c.seq)
                found = list(connection.execute(query).scalars())
            if found:
                yield found
        return
    with ledger.read() as connection:
        before = cursors.position(connection, "record", group) + 1
    while True:
        with ledger.read() as connection:
            query = select(events.c.seq).where(*wanted, events.c.seq < before)
            found = sorted(connection.execute(query.order_by(events.c.seq.desc()).limit(CHUNK)).scalars())
        if not found:
            return
        yield found
        before = found[0]


def _about(ledger: Ledger, group: str, path: Glob) -> Iterator[list[int]]:
    """Seqs of the events that are about paths that a glob matches, as `_found`."""
    column = event_paths.c
    with ledger.read() as connection:
        known = connection.execute(select(column.path).where(column.group_id == group).distinct()).scalars().all()
    paths = path.matches(known)
    seqs: set[int] = set()
    for start in range(0, len(paths), CHUNK):
        with ledger.read() as connection:
            query = select(column.seq).where(column.group_id == group, column.path.in_(paths[start : start + CHUNK]))
            seqs.update(connection.execute(query).scalars())
    listed = sorted(seqs, reverse=True)
    yield from (sorted(listed[start : start + CHUNK]) for start in range(0, len(listed), CHUNK))


def _empty(
    ledger: Ledger, group: str, seqs: list[int], result: Forgotten, answers: list[extractions.Extraction]
) -> Sequence[Row[Any]]:
    """Empty the rows of events, in one transaction with all that SQL holds of them. The rows as they were."""
    with ledger.write() as connection:
        # As stages do first: those that work on these events have ended, or begin when this has.
        held = select(stage_cursors.c.stage).where(stage_cursors.c.group_id == group).order_by(stage_cursors.c.stage)
        connection.execute(held.with_for_update()).all()
        of_group = events.c.group_id == group
        query = select(events).where(of_group, events.c.seq.in_(seqs), events.c.forgotten.is_(None))
        rows = connection.execute(query.order_by(events.c.seq)).all()
        if not rows:
            return rows
        named = {row.session for row in rows if row.session is not None}
        # Checkpoints that cover these events, or carry over what earlier ones did, say what they said.
        checkpoints.forget(connection, group, named)
        if told := set(checkpoints.tell_of(connection, group, named, rows[0].seq)) - set(seqs):
            more = select(events).where(of_group, events.c.seq.in_(told)).order_by(events.c.seq)
            rows = [*rows, *connection.execute(more)]
        seqs = [row.seq for row in rows]
        # What a model has found in runs that they were in.
        found = extractions.forget(connection, group, seqs)
        answers += found
        indexed = cursors.position(connection, "index", group)
        search.forget(connection, group, [seq for seq in seqs if seq <= indexed])
        embeddings.forget(ledger, connection, group, seqs)
        paths = [{"g": group, "p": path, "s": row.seq} for row in rows for path in _paths(row)]
        if paths:
            column = event_paths.c
            one = (column.group_id == bindparam("g"), column.path == bindparam("p"), column.seq == bindparam("s"))
            connection.execute(delete(event_paths).where(*one), paths)
        letters = select(dead_letters.c.n).where(
            dead_letters.c.group_id == group, dead_letters.c.event_id.in_([row.id for row in rows])
        )
        result.dead_letters += len(dead.drop(ledger, connection, connection.execute(letters).scalars().all()))
        sessions.drop(connection, group, named)
        now = int(time.time() * 1000)
        forgettings.begin(ledger, connection, group, now, prose=bool(found))
        change = emptied(now)
        connection.execute(update(events).where(of_group, events.c.seq.in_(seqs)).values(change))
        gaps: dict[str, int] = {}
        for row in rows:
            if row.session is not None:
                gaps[row.session] = min(row.seq, gaps.get(row.session, row.seq))
        search.join(connection, group, gaps, indexed)
    result.events += len(rows)
    result.paths += len(paths)
    result.types.update(row.type for row in rows)
    return rows


def _paths(row: Row[Any]) -> set[str]:
    """As `Event.paths`."""
    named = json.loads(row.data).get("paths")
    found = [row.path, *(named if isinstance(named, list) else [])]
    return {path for path in found if isinstance(path, str) and path}


def _letters(connection: Connection, group: str, chosen: Chosen) -> list[int]:
    """Numbers of the dead letters of stage `record`, which never came into the ledger, that are meant."""
    column = dead_letters.c
    query = select(column.n, column.event).where(column.group_id == group, column.stage == "record").order_by(column.n)
    return [row.n for row in connection.execute(query) if _is_meant(row.event, chosen)]


def _is_meant(raw: str, chosen: Chosen) -> bool:
    """Whether what was found instead of an event is meant, as far as it says so."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or chosen.since is not None or chosen.before is not None:
        return False
    data = found.get("data") if isinstance(found.get("data"), dict) else {}
    assert data is not None
    named = data.get("paths")
    paths = [data.get("path"), found.get("subject"), *(named if isinstance(named, list) else [])]
    return (
        (not chosen.ids or found.get("id") in chosen.ids)
        and (not chosen.sessions or found.get("session") in chosen.sessions)
        and (not chosen.users or found.get("user") in chosen.users)
        and (chosen.path is None or bool(chosen.path.matches(path for path in paths if isinstance(path, str))))
    )
