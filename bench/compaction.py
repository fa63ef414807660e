"""A checkpoint of a session of 5,000 events, by the stage that makes it, without a model; beside only reading the same
events from the ledger, which any way of summarising them would have to do. And what a hook waits for its brief.

    python -m bench.compaction
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from bench.publish import percentiles
from memory import lua
from memory.compaction import decide, notes
from memory.compaction.render import tokens_of
from memory.ledger import Ledger, checkpoints
from memory.ledger.log import of_session
from producers import Publisher
from tests import servers
from tests.workers_here import workers_here
from workers import resources
from workers.stage import drain
from workers.stages import STAGES

EVENTS = 5_000
SESSIONS = 5
GROUP = "bench"


def session_of(session: str, number: int = EVENTS) -> Iterator[dict[str, Any]]:
    """A long session: turns in which files are written, tests fail and then pass, and todos are ticked off."""
    for n in range(number):
        turn, step = divmod(n, 25)
        path = f"src/part{turn % 30}/module{n % 97}.py"
        type, data = _step(turn, step, path)
        yield {"type": type, "session": session, "agent": "build", "project": "/home/dev/shop", "data": data}


def _step(turn: int, step: int, path: str) -> tuple[str, dict[str, Any]]:
    failed = step == 10
    output = f"Run tests{': failed with exit code 1' if failed else ''}\n$ pytest tests/test_{turn % 40}.py\n"
    output += "line of output\n" * 20
    todos = [{"content": f"todo {k}", "status": "completed" if k % 3 else "pending"} for k in range(15)]
    match step:
        case 0:
            return "chat.message", {"role": "user", "text": f"Request {turn}: make part {turn % 30} faster. " * 5}
        case 5:
            return "todo.updated", {"todos": todos}
        case 10 | 20:
            return "tool.call", {"tool": "bash", "status": "completed", "exit": int(failed), "summary": output}
        case 23:
            return "chat.message", {"role": "assistant", "text": f"I decided to cache part {turn % 30}. " * 20}
        case 24:
            return "completion", {"task": f"Request {turn}", "tokens": 1000}
    if step % 2:
        return "file.write", {"path": path, "additions": 9, "summary": "@@ -1 +1 @@\n-old\n+new\n" * 20}
    return "tool.call", {"tool": "read", "status": "completed", "path": path}


def run() -> dict[str, Any]:
    """Time of a checkpoint in ms, and of the brief in µs."""
    with tempfile.TemporaryDirectory() as name, servers.queue_server(Path(name) / "queue") as url:
        folder = Path(name)
        environ = {
            "MEMLANE_HOME": str(folder / "home"),
            "MEMLANE_VALKEY_URL": url,
            "MEMLANE_DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
            "MEMLANE_DATADOG": "false",
            "MEMLANE_PUBLISH_DEADLINE_MS": "10000",
            "MEMLANE_TURN_SECONDS": "60",
        }
        with workers_here(environ):
            return {"sqlite": measure(url, resources.ledger()), "brief": brief(url)}


def measure(url: str, ledger: Ledger) -> dict[str, Any]:
    """The stage's step for one reason, in sessions of the same size; the first one also loads what is loaded late."""
    made, bare, tokens = [], [], 0
    with Publisher(url, source="bench", group=GROUP) as publisher:
        for number in range(SESSIONS + 1):
            session = f"s{number}"
            publisher.publish_many(session_of(session))
            drain(STAGES["record"], GROUP)
            drain(STAGES["compaction"], GROUP)
            publisher.publish({"type": "session.compacting", "session": session, "data": {}})
            drain(STAGES["record"], GROUP)
            began = time.perf_counter()
            drain(STAGES["compaction"], GROUP)
            took = time.perf_counter() - began
            with ledger.read() as connection:
                found = checkpoints.latest(connection, GROUP, session)
                assert found is not None
                began = time.perf_counter()
                events = of_session(connection, GROUP, session, 0, found.last_seq, types=decide.TYPES | notes.TYPES)
                only_read = time.perf_counter() - began
            assert len(events.events) == EVENTS + 1
            tokens = tokens_of(found.summary)
            if number:
                made.append(took * 1000)
                bare.append(only_read * 1000)
    made_ms, bare_ms = sorted(made)[len(made) // 2], sorted(bare)[len(bare) // 2]
    return {
        "events": EVENTS,
        "checkpoint_ms": round(made_ms, 1),
        "worst_ms": round(max(made), 1),
        "only_reading_ms": round(bare_ms, 1),
        "times_reading": round(made_ms / bare_ms, 1),
        "tokens": tokens,
    }


def brief(url: str) -> dict[str, float]:
    """One read, as a hook does it."""
    times = []
    with redis.Redis.from_url(url) as client:
        for _ in range(2_000):
            began = time.perf_counter()
            text = client.get(lua.brief("s1"))
            times.append(time.perf_counter() - began)
            assert text
    return percentiles(times)


if __name__ == "__main__":
    print(json.dumps(run()))
