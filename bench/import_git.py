"""The git history of a repository into the ledger, end to end: `memlane import git`'s own code, beside plain Celery.

A repository of 10,000 commits is made by `git fast-import`: messages of one to six lines, 1 to 12 paths a commit out of
2,000, a merge every twenty, forty authors. One importing process, one worker of two processes; time runs from the first
`git` to the last commit in the ledger. Plain Celery is given the same events, ready made, one task each.

    python -m bench.import_git [--repository PATH]     of a repository there is, its newest 10,000 commits
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import func, select

from memory.ledger import Ledger, migrate
from memory.ledger.schema import events
from ops.imports import import_git
from producers.git_log import Range, Repository, read_commits
from tests import servers

COMMITS, PLAIN_COMMITS = 10_000, 1_500
REPEATS = 3
PROCESSES = 2

_WORDS = """
    add fix remove rename move speed up cache parser retry queue worker login session cart order price tax currency
    index search test flaky timeout deadlock race release docs typo config default option flag error message handle
    empty missing invalid unicode windows path file socket client server stream buffer header cookie token
    """.split()  # noqa: SIM905 - a list would be sixty lines


def repository(folder: Path, commits: int = COMMITS) -> Path:
    """Make the repository; the same one each time."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
    importing = ["git", "-C", str(folder), "fast-import", "--quiet"]
    with subprocess.Popen(importing, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        for piece in _stream(commits):
            running.stdin.write(piece.encode())
        running.stdin.close()
        assert running.wait() == 0
    return folder


def _stream(commits: int) -> Iterator[str]:
    chance = random.Random(7)
    paths = [f"src/{chance.choice(_WORDS)}/{chance.choice(_WORDS)}_{n}.py" for n in range(2_000)]
    mark = 0
    for number in range(1, commits + 1):
        subject = " ".join(chance.choices(_WORDS, k=chance.randint(3, 9))).capitalize()
        body = "\n".join(" ".join(chance.choices(_WORDS, k=12)) for _ in range(chance.choice((0, 0, 0, 1, 3, 5))))
        message = f"{subject}\n\n{body}\n" if body else f"{subject}\n"
        who = f"Author {number % 40} <author{number % 40}@example.org> {1_500_000_000 + number * 3_600} +0000"
        previous, mark = mark, number
        yield f"commit refs/heads/main\nmark :{mark}\nauthor {who}\ncommitter {who}\ndata {len(message)}\n{message}"
        if previous:
            yield f"from :{previous}\n"
        if number % 20 == 0:
            yield f"merge :{number - 10}\n"
        for path in chance.sample(paths, min(12, 1 + int(chance.expovariate(0.4)))):
            content = f"{path} {number}\n"
            yield f"M 644 inline {path}\ndata {len(content)}\n{content}"
        yield "\n"


def run(given: Path | None = None) -> dict[str, Any]:
    """Commits a second, medians, on SQLite and on PostgreSQL; `ratio` is to plain Celery.

    Args:
        given: a repository of at least 10,000 commits, instead of the one that is made.
    """
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        history = given or repository(folder / "history.git")
        with servers.postgres(folder / "postgres") as server, servers.queue_server(folder / "queue") as queue:
            urls = {"sqlite": f"sqlite:///{folder / 'ledger.sqlite3'}", "postgresql": servers.new_database(server)}
            return {kind: _measure(folder, history, queue, url) for kind, url in urls.items()}


def _measure(folder: Path, history: Path, queue: str, database: str) -> dict[str, Any]:
    ledger = Ledger(database)
    migrate(ledger)
    environ = {"MEMLANE_HOME": str(folder), "MEMLANE_VALKEY_URL": queue, "MEMLANE_DATABASE_URL": database}
    environ |= {"MEMLANE_DATADOG": "false", "PLAIN_BROKER": queue, "PLAIN_DATABASE": database}
    os.environ.update(environ)
    found: dict[str, list[float]] = {"memlane": [], "plain": []}
    plain = [sys.executable, "-m", "celery", "-A", "bench.plain_celery", "worker", "-E", "-c", str(PROCESSES)]
    plain += ["--without-gossip", "--without-mingle", "-n", "plain@%h"]
    for repeat in range(REPEATS):
        with servers.worker(environ, "record", folder / "worker.log", processes=PROCESSES):
            began = time.perf_counter()
            before = _stored(ledger)
            import_git(history, Range(limit=COMMITS), f"bench-{repeat}", ledger=ledger)
            while _stored(ledger) < before + COMMITS:
                time.sleep(0.02)
            found["memlane"].append(COMMITS / (time.perf_counter() - began))
        with servers.process(plain, folder / "plain.log", {**os.environ, **environ}):
            found["plain"].append(_plain(ledger, history, repeat))
    ledger.close()
    medians = {way: round(statistics.median(rates)) for way, rates in found.items()}
    return {
        **medians,
        "ratio": round(medians["memlane"] / medians["plain"], 1),
        "all": {way: [round(rate) for rate in rates] for way, rates in found.items()},
    }


def _plain(ledger: Ledger, history: Path, repeat: int) -> float:
    from bench.plain_celery import store
    from memory.events import create

    group = f"plain-{repeat}"
    commits = read_commits(Repository.at(history), Range(limit=PLAIN_COMMITS + 1), group=group)
    raw = [create(fields, source="git", group=group).encode().decode() for fields in commits]
    store.delay(raw[0])
    while _stored_in(ledger, group) < 1:  # until it is up
        time.sleep(0.02)
    began = time.perf_counter()
    for one in raw[1:]:
        store.delay(one)
    while _stored_in(ledger, group) < len(raw):
        time.sleep(0.02)
    return PLAIN_COMMITS / (time.perf_counter() - began)


def _stored(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(func.coalesce(func.max(events.c.n), 0))).scalar_one())


def _stored_in(ledger: Ledger, group: str) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(func.count()).where(events.c.group_id == group)).scalar_one())


if __name__ == "__main__":
    import json

    parser = argparse.ArgumentParser(prog="python -m bench.import_git")
    parser.add_argument("--repository", type=Path, help="of at least 10,000 commits; default: one is made")
    print(json.dumps(run(parser.parse_args().repository)))
