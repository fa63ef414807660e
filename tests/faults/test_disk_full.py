"""The disk is full: under the ledger, and under the queue's append-only file.

A full disk is played by the limit on the size of files (RLIMIT_FSIZE): writes beyond it fail, as they do on a full disk,
for as long as the limit is set, and only for the processes it is set for.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.faults.load import all_published, for_a_while, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import settle
from tests.faults.programs import Graph, Program
from tests.faults.rig import Rig, groups, rig
from tests.faults.supervisor import Supervisor

#: Seconds for which the disk is full.
WHILE_SECONDS = 1.0


@pytest.fixture(scope="module")
def hurt(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A system of its own, since its files must be short: the limit is on all of them, logs too. Its workers are started
    again if they end."""
    with rig(tmp_path_factory.mktemp("disk"), graph) as made, Supervisor([made.worker("worker", processes=2)]):
        yield made


@pytest.fixture
def sent() -> Sent:
    return Sent(groups(4), 100, ("p0", "p1"))


def test_under_the_ledger(hurt: Rig, sent: Sent) -> None:
    """Given workers that can't write the ledger any more, I expect them to rest, and all to go on once they can."""
    publishers = under_way(hurt, sent, seconds=1.5)
    with _full_disk(hurt.worker_named("worker"), 64 * 1024):
        for_a_while(WHILE_SECONDS)
        said = hurt.log("worker")
    over = time.monotonic()
    with hurt.watch(sent) as watch:
        all_published(publishers)
        settle(hurt, sent, since=over, watch=watch)
    assert re.search(r"waiting stage=\S+ .*the ledger at \S+ can't be used", said), "somebody had to wait"


def test_under_the_queue(hurt: Rig, sent: Sent) -> None:
    """Given a queue server that can't write its file any more, and therefore refuses to be written to, I expect publishers
    to keep what they have, and all to go on once it can. It syncs once a second, as by default."""
    hurt.broker.client.config_set("appendfsync", "everysec")
    publishers = under_way(hurt, sent, seconds=1.5)
    with _full_disk(hurt.broker, _file_size(hurt.broker.folder) + 10_000):
        servers.wait_until(lambda: _refuses(hurt.broker.client), "the queue server to refuse")
        for_a_while(WHILE_SECONDS)
    servers.wait_until(lambda: not _refuses(hurt.broker.client), "the queue server to have found out")
    over = time.monotonic()
    with hurt.watch(sent) as watch:
        all_published(publishers)
        settle(hurt, sent, since=over, watch=watch)


def test_under_a_queue_that_syncs_always(hurt: Rig, sent: Sent) -> None:
    """Given a queue server that syncs each write, I expect it to end rather than to acknowledge what it can't keep, and,
    started again once there is room, to have all that it acknowledged."""
    hurt.broker.client.config_set("appendfsync", "always")
    publishers = under_way(hurt, sent, seconds=1.5)
    with _full_disk(hurt.broker, _file_size(hurt.broker.folder) + 10_000):
        servers.wait_until(lambda: not hurt.broker.alive, "the queue server to end")
    for_a_while(0.5)
    hurt.broker.start()
    over = time.monotonic()
    with hurt.watch(sent) as watch:
        all_published(publishers)
        settle(hurt, sent, since=over, watch=watch)


@contextmanager
def _full_disk(program: Program, most_bytes: int) -> Iterator[None]:
    """While entered, the program can't write to files behind this size."""
    for process in program.family():
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_bytes, most))
    yield
    for process in program.family():
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))


def _file_size(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.rglob("*.incr.aof"))


def _refuses(queue: redis.Redis) -> bool:
    try:
        queue.set("test", "x")
    except redis.exceptions.ResponseError as error:
        return str(error).startswith("MISCONF")
    return False
