"""Events a second from publisher to ledger: Memlane beside plain Celery, one task an event.

Both on the same Valkey and the same SQL table, one publisher process, one worker of two processes with `-E`.
Each repeat runs one after the other: Memlane with one event a call (as hooks do), Memlane with 100 a call (as
importers do), plain Celery. Only stage `record` runs, since the other side does no more than that either.

    python -m bench.pipeline
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import func, select

from memory.ledger import Ledger, migrate
from memory.ledger.schema import events
from producers import Publisher
from tests import servers

#: Events a repeat carries, each way.
MEMLANE_EVENTS, PLAIN_EVENTS = 12_000, 1_500
GROUPS = 8
REPEATS = 3
PROCESSES = 2


def event(number: int) -> dict[str, Any]:
    """A file write as an agent's hook would tell it, 300 bytes of JSON."""
    return {
        "type": "file.write",
        "group": f"bench-{number % GROUPS}",
        "session": f"ses_{number % 10}",
        "agent": "build",
        "project": "/home/dev/shop",
        "data": {"path": f"/home/dev/shop/src/module{number % 200}.py", "tool": "edit", "additions": 4, "deletions": 1},
    }


def run() -> dict[str, Any]:
    """Measure on SQLite and on PostgreSQL. Figures are events/s, medians; `ratio` is to plain Celery."""
    with TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(servers.postgres(folder / "postgres"))
        databases = {"sqlite": f"sqlite:///{folder / 'ledger.sqlite3'}", "postgresql": servers.new_database(server)}
        queue = stack.enter_context(servers.queue_server(folder / "queue"))
        return {kind: _measure(folder, queue, url) for kind, url in databases.items()}


def _measure(folder: Path, queue: str, database: str) -> dict[str, Any]:
    ledger = Ledger(database)
    migrate(ledger)
    environ = {"MEMLANE_HOME": str(folder), "MEMLANE_VALKEY_URL": queue, "MEMLANE_DATABASE_URL": database}
    environ |= {"MEMLANE_DATADOG": "false", "PLAIN_BROKER": queue, "PLAIN_DATABASE": database}
    os.environ.update(environ)
    plain = [sys.executable, "-m", "celery", "-A", "bench.plain_celery", "worker", "-E", "-c", str(PROCESSES)]
    plain += ["--without-gossip", "--without-mingle", "-n", "plain@%h"]
    found: dict[str, list[float]] = {"single": [], "batches": [], "plain": []}
    for _ in range(REPEATS):
        with (
            Publisher(queue, source="bench", group="bench-0") as publisher,
            servers.worker(environ, "record", folder / "worker.log", processes=PROCESSES),
        ):
            found["single"].append(_rate(ledger, MEMLANE_EVENTS, lambda: _single(publisher)))
            found["batches"].append(_rate(ledger, MEMLANE_EVENTS, lambda: _batches(publisher)))
        with servers.process(plain, folder / "plain.log", {**os.environ, **environ}):
            _rate(ledger, 1, lambda: _tasks(1))  # until it is up
            found["plain"].append(_rate(ledger, PLAIN_EVENTS, lambda: _tasks(PLAIN_EVENTS)))
    ledger.close()
    medians = {way: round(statistics.median(rates)) for way, rates in found.items()}
    return {
        **medians,
        "single_ratio": round(medians["single"] / medians["plain"], 1),
        "batches_ratio": round(medians["batches"] / medians["plain"], 1),
        "all": {way: [round(rate) for rate in rates] for way, rates in found.items()},
    }


def _rate(ledger: Ledger, count: int, publish: Callable[[], None]) -> float:
    """Events a second, from the first being published to the last being in the ledger."""
    before = _stored(ledger)
    began = time.perf_counter()
    publish()
    while _stored(ledger) < before + count:
        time.sleep(0.02)
    return count / (time.perf_counter() - began)


def _stored(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(func.coalesce(func.max(events.c.n), 0))).scalar_one())


def _single(publisher: Publisher) -> None:
    for number in range(MEMLANE_EVENTS):
        publisher.publish(event(number))


def _batches(publisher: Publisher) -> None:
    for start in range(0, MEMLANE_EVENTS, 100):
        publisher.publish_many([event(number) for number in range(start, start + 100)])


def _tasks(count: int) -> None:
    from bench.plain_celery import store
    from memory.events import create

    for number in range(count):
        store.delay(create(event(number), source="bench", group="bench-0").encode().decode())


if __name__ == "__main__":
    import json

    print(json.dumps(run()))
