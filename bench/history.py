"""How long a worker takes for what tools show, in a group of 100,000 events and 1,000 sessions; the list of sessions
beside counting the events of each, as one would without a table of them.

python -m bench.history
"""

from __future__ import annotations

import json
import random
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.publish import measure, percentiles
from memory.history import router
from memory.history.operations import OPERATIONS
from memory.ledger import Ledger, migrate, sessions
from memory.ledger.search import index

EVENTS, SESSIONS, CALLS = 100_000, 1_000, 100
GROUP = "bench"
#: Events that are indexed in one transaction.
BATCH = 2_000
#: Words of what was said, the first ones most often.
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprstvz" for b in ("a", "e", "io", "ou") for c in "bdgklmnprstvxz"]
#: One query of rare and common words, as people ask.
QUERY_WORDS = 4

_EVENTS = """
INSERT INTO events
    (id, group_id, seq, stream_id, type, source, session, agent, project, path, time, recorded, text, data)
VALUES (:id, :group, :seq, :stream, :type, 'bench', :session, 'build', '/p', :path, :time, :time, :text, :data)
"""
_BARE = """
SELECT session, min(time), max(time), count(*), sum(CASE WHEN type = 'chat.message' THEN 1 ELSE 0 END),
    sum(CASE WHEN type = 'file.write' THEN 1 ELSE 0 END), sum(CASE WHEN type = 'error' THEN 1 ELSE 0 END)
FROM events WHERE group_id = :group AND session IS NOT NULL GROUP BY session ORDER BY 3 DESC LIMIT 20
"""


def run() -> dict[str, Any]:
    """Latencies in microseconds."""
    chance = random.Random(6)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        with closing(Ledger(f"sqlite:///{Path(folder) / 'ledger.sqlite3'}")) as ledger:
            _fill(ledger, chance)

            def session() -> str:
                return f"ses_{chance.randrange(SESSIONS):06}"

            def bare(_: int) -> None:
                with ledger.read() as connection:
                    connection.execute(text(_BARE), {"group": GROUP}).all()

            args: dict[str, Any] = {
                "summary": dict,
                "sessions": dict,
                "messages": lambda: {"sessionId": session()},
                "search": lambda: {"query": _words(chance, QUERY_WORDS)},
                "compactions": dict,
                "compare": lambda: {"sessionId": session(), "otherSessionId": session()},
            }
            assert set(args) <= set(OPERATIONS)
            ways = {tool: lambda _, tool=tool: router.answer(ledger, GROUP, tool, args[tool]()) for tool in args}
            found = measure({**ways, "bare": bare}, CALLS)
    return {way: percentiles(times) for way, times in found.items()}


def _fill(ledger: Ledger, chance: random.Random) -> None:
    migrate(ledger)
    with ledger.write() as connection:
        connection.execute(text(_EVENTS), [_event(seq, chance) for seq in range(1, EVENTS + 1)])
        cursor = text("INSERT INTO stage_cursors (group_id, stage, seq) VALUES (:group, :stage, :seq)")
        stages = [{"group": GROUP, "stage": stage, "seq": EVENTS} for stage in ("record", "index")]
        connection.execute(cursor, stages)
    for start in range(1, EVENTS + 1, BATCH):
        with ledger.write() as connection:
            index(ledger, connection, GROUP, list(range(start, min(start + BATCH, EVENTS + 1))))
    with ledger.write() as connection:
        sessions.recount_all(ledger, connection, GROUP)


def _event(seq: int, chance: random.Random) -> dict[str, Any]:
    type = chance.choice(["chat.message"] * 4 + ["tool.call"] * 4 + ["file.write"] * 2)
    path, said = f"src/m{seq % 500}.py", _words(chance, 25)
    data = {
        "chat.message": {"role": chance.choice(["user", "assistant"]), "text": said},
        "tool.call": {"tool": "bash", "status": "completed", "summary": said},
        "file.write": {"path": path, "summary": said},
    }
    return {
        "id": f"e{seq}",
        "group": GROUP,
        "seq": seq,
        "stream": f"{seq}-0",
        "type": type,
        "session": f"ses_{chance.randrange(SESSIONS):06}",
        "path": path if type == "file.write" else None,
        "time": 1_795_255_200_000 + seq * 1_000,
        "text": said,
        "data": json.dumps(data[type]),
    }


def _words(chance: random.Random, count: int) -> str:
    """Words, the nth of all about 1/n times as often as the first, as in speech (Zipf)."""
    return " ".join(WORDS[min(int(len(WORDS) ** chance.random()), len(WORDS) - 1)] for _ in range(count))


if __name__ == "__main__":
    print(json.dumps(run()))
