"""What of a group is to be forgotten, as it was named: whether there is such a thing, and which paths are meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, exists, select

from memory.forget import Chosen, matching
from memory.ledger import Ledger, sessions
from memory.ledger.log import known
from memory.ledger.schema import event_paths, events
from ops.text import plain

#: Paths, and names that are alike, which are shown.
SHOWN = 10


class NothingHas(LookupError):
    """Nothing in the group is what was named; the message says so, and what may have been meant."""


@dataclass(frozen=True, slots=True)
class MatchedPaths:
    """How many paths of a group's events a glob matches, and some of them, by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "examples": self.examples}

    def __str__(self) -> str:
        more = f" and {self.count - len(self.examples):,} more" if self.count > len(self.examples) else ""
        return ", ".join(plain(path) for path in self.examples) + more


def matched_paths(ledger: Ledger, group: str, chosen: Chosen) -> MatchedPaths | None:
    """Paths that the chosen events are about, as far as the glob matches them; None without a glob."""
    if chosen.path is None:
        return None
    column = event_paths.c
    query = select(column.path).where(column.group_id == group).distinct()
    if len(limits := chosen.where()) > 1:  # one of them is that it is not forgotten, as all that have paths
        same = (events.c.group_id == column.group_id) & (events.c.seq == column.seq)
        query = query.join(events, same).where(*limits)
    with ledger.read() as connection:
        found = sorted(chosen.path.matches(connection.execute(query).scalars()))
    return MatchedPaths(len(found), found[:SHOWN])


def check(ledger: Ledger, group: str, chosen: Chosen, *, under_way: bool) -> list[str]:
    """What was named that nothing in the group has now, a line each with what may have been meant; and what is named
    alike, but not meant.

    What is missing may have been forgotten before, as by a command that was killed and is repeated: of what was
    forgotten, sessions, users and paths are not known any more.

    Args:
        under_way: whether events are, which may have it.

    Raises:
        NothingHas: it can't have been forgotten. Ids stay known for ever; and there may be nothing forgotten at all.
    """
    with ledger.read() as connection:
        gone = select(exists().where(events.c.group_id == group, events.c.forgotten.is_not(None)))
        forgot_before = bool(connection.execute(gone).scalar())
        alike = list(_alike(connection, group, chosen))
        ids, others = list(_ids(connection, group, chosen)), list(_names(connection, group, chosen))
    if chosen.path:
        only, line = Chosen(path=chosen.path), f"nothing in group {group} is about a path that {chosen.path.pattern!r} "
        if not (found := matched_paths(ledger, group, only)) or not found.count:
            others.append((only, line + "matches"))
    lost_ids, lost = (
        [line for meant, line in named if not matching(ledger, group, meant).dead_letters] for named in (ids, others)
    )
    certain = [] if under_way else lost_ids if forgot_before else [*lost_ids, *lost]
    if certain:
        raise NothingHas(certain[0])
    perhaps = "it may be under way" if under_way else "it may have been forgotten before"
    return [*(f"{line} ({perhaps})" for line in (*lost_ids, *lost)), *alike]


def _ids(connection: Connection, group: str, chosen: Chosen) -> Iterator[tuple[Chosen, str]]:
    """Each id that the group does not have, and what to say of it."""
    found = known(connection, list(chosen.ids))
    for id in chosen.ids:
        held = found[id].group if id in found else None
        if held == group:
            continue
        hint = f"it is in group {held}: add --group {held}" if held else "`memlane recall --json` and `export` show ids"
        yield Chosen(ids=[id]), f"nothing in group {group} has the id {plain(id)[:80]!r}: {hint}"


def _names(connection: Connection, group: str, chosen: Chosen) -> Iterator[tuple[Chosen, str]]:
    """Each session and user that no event of the group has, and what to say of it."""
    for session in chosen.sessions:
        if _has(connection, group, "session", session):
            continue
        # What is deleted for good is not guessed: `ses_1` forgotten again must not be `ses_12`.
        begun = [found.session for found in sessions.beginning(connection, group, session, SHOWN)]
        hint = f"give the whole id of {_either(begun)}" if begun else "`memlane history sessions` lists them"
        yield Chosen(sessions=[session]), f"nothing in group {group} has the session {plain(session)[:80]!r}: {hint}"
    for user in chosen.users:
        if _has(connection, group, "user_id", user):
            continue
        alike = others_alike(connection, group, user)
        hint = f", but {_either(alike)}: upper and lower case differ" if alike else ""
        yield Chosen(users=[user]), f"nothing in group {group} has the user {plain(user)[:80]!r}{hint}"


def _alike(connection: Connection, group: str, chosen: Chosen) -> Iterator[str]:
    """Of each user that there is, which others may be the same person."""
    for user in chosen.users:
        if _has(connection, group, "user_id", user) and (alike := others_alike(connection, group, user)):
            yield f"events of {_either(alike)} are not meant: upper and lower case differ"


def others_alike(connection: Connection, group: str, user: str) -> list[str]:
    """Users of a group whose names differ from this one only in upper and lower case."""
    query = select(events.c.user_id).where(events.c.group_id == group, events.c.user_id.is_not(None)).distinct()
    found = (name for name in connection.execute(query).scalars() if name != user)
    return sorted(name for name in found if name.casefold() == user.casefold())[:SHOWN]


def _has(connection: Connection, group: str, column: str, value: str) -> bool:
    query = select(exists().where(events.c.group_id == group, events.c[column] == value))
    return bool(connection.execute(query).scalar())


def _either(names: list[str]) -> str:
    return " or ".join(plain(name) for name in names)
