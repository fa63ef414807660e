"""Full text over the log: FTS5 with porter stemming on SQLite, tsvector with GIN on PostgreSQL.

Filled by stage `index`, in the same transaction as its cursor, so each event is indexed exactly once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, text

from memory.ledger.engine import Ledger

#: Words too common to find anything by. A short list of function words; question words are among them.
STOP_WORDS = frozenset(
    """
    a an and are as at be been but by can could did do does for from had has have how i if in into is it its me my
    not of on or our should so than that the their them then there these they this to us was we were what when where
    which who whom why will with would you your
    """.split()  # noqa: SIM905 - a list would be eighty lines
)
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
#: More words than these of a question are not looked for.
MAX_WORDS = 40


@dataclass(frozen=True, slots=True)
class Match:
    """One event found by its text. Time in ms since 1970; a higher score is a better match."""

    seq: int
    id: str
    type: str
    session: str | None
    agent: str | None
    path: str | None
    time: int
    text: str
    score: float


def index(ledger: Ledger, connection: Connection, group: str, seqs: Sequence[int]) -> None:
    """Add events of a group, given by their seqs, to the full-text index. Those without text are left out."""
    if not seqs:
        return
    if ledger.is_sqlite:
        statement = "INSERT INTO event_search (rowid, group_id, text) SELECT n, group_id, text FROM events"
    else:
        # Punctuation goes first: PostgreSQL takes src/cart.py for one word, a file name, that no word of it would find.
        words = "to_tsvector('english', regexp_replace(text, '[!-/:-@[-`{-~]+', ' ', 'g'))"
        statement = f"INSERT INTO event_search (n, words) SELECT n, {words} FROM events"
    query = text(f"{statement} WHERE group_id = :group AND seq BETWEEN :first AND :last AND text <> ''")
    connection.execute(query, {"group": group, "first": seqs[0], "last": seqs[-1]})


def forget(connection: Connection, group: str, seqs: Collection[int]) -> None:
    """Take events out of the index. To be called before their rows are emptied: it is by these that they are found."""
    parameters = {"group": group, "seqs": list(seqs)}
    if connection.dialect.name == "sqlite":
        statement = (
            "INSERT INTO event_search (event_search, rowid, group_id, text) "
            "SELECT 'delete', e.n, e.group_id, e.text FROM events e JOIN event_search_docsize s ON s.id = e.n "
            "WHERE e.group_id = :group AND e.seq IN :seqs"
        )
    else:
        statement = (
            "DELETE FROM event_search WHERE n IN (SELECT n FROM events WHERE group_id = :group AND seq IN :seqs)"
        )
    connection.execute(text(statement).bindparams(bindparam("seqs", expanding=True)), parameters)


def clear(connection: Connection, group: str) -> None:
    """Take all events of a group out of the index."""
    if connection.dialect.name == "sqlite":
        statement = (
            "INSERT INTO event_search (event_search, rowid, group_id, text) "
            "SELECT 'delete', e.n, e.group_id, e.text FROM events e JOIN event_search_docsize s ON s.id = e.n "
            "WHERE e.group_id = :group"
        )
    else:
        statement = "DELETE FROM event_search WHERE n IN (SELECT n FROM events WHERE group_id = :group)"
    connection.execute(text(statement), {"group": group})


def words_of(question: str) -> list[str]:
    """Words to look for, each once, lower case, without stop words; all words where nothing else is left."""
    found = list(dict.fromkeys(word.lower() for word in _WORD.findall(question)))
    return ([word for word in found if word not in STOP_WORDS] or found)[:MAX_WORDS]


def search(
    ledger: Ledger,
    connection: Connection,
    group: str,
    question: str,
    limit: int,
    *,
    types: Collection[str] | None = None,
    session: str | None = None,
) -> list[Match]:
    """Events of a group that hold any of the question's words, best first.

    Args:
        types: only events of these types.
        session: only events of this session.
    """
    words = words_of(question)
    if not words:
        return []
    wanted_types = sorted(types) if types is not None else []
    only = "e.group_id = :group"
    if types is not None:
        only += f" AND e.type IN ({', '.join(f':t{n}' for n in range(len(wanted_types)))})"
    if session is not None:
        only += " AND e.session = :session"
    columns = "e.seq, e.id, e.type, e.session, e.agent, e.path, e.time, e.text"
    if ledger.is_sqlite:
        # The group's own words narrow the index; the exact comparison follows on the row.
        tokens = " ".join(_WORD.findall(group))
        wanted = " OR ".join(f'"{word}"' for word in words)
        match = f"text : ({wanted})" + (f' AND group_id : "{tokens}"' if tokens else "")
        query = (
            f"SELECT {columns}, -bm25(event_search, 0.0, 1.0) AS score FROM event_search "
            "JOIN events e ON e.n = event_search.rowid "
            f"WHERE event_search MATCH :match AND {only} ORDER BY score DESC, e.seq DESC LIMIT :limit"
        )
    else:
        # plainto_tsquery stems one word and answers empty for a stop word; `||` is OR.
        match = ""
        wanted = " || ".join(f"plainto_tsquery('english', :w{n})" for n in range(len(words)))
        query = (
            f"SELECT {columns}, ts_rank_cd(s.words, q.query, 1) AS score FROM event_search s "
            f"JOIN events e ON e.n = s.n, (SELECT {wanted} AS query) q "
            f"WHERE s.words @@ q.query AND {only} ORDER BY score DESC, e.seq DESC LIMIT :limit"
        )
    parameters: dict[str, object] = {"group": group, "limit": limit, "session": session}
    parameters |= {f"t{n}": type for n, type in enumerate(wanted_types)}
    parameters |= {"match": match} if ledger.is_sqlite else {f"w{n}": word for n, word in enumerate(words)}
    return [Match(*row) for row in connection.execute(text(query), parameters)]
