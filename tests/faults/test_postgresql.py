"""The ledger in PostgreSQL: a worker dies at each step of its work, and the database is stopped in the midst of it.

No event is at fault when the ledger is away: stages rest and try again, nothing goes to the dead letters, and all goes on by
itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.load import all_published, for_a_while, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import settle
from tests.faults.programs import Graph, Postgres
from tests.faults.rig import Rig, groups, rig
from tests.faults.steps import at_each_step


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.fixture(scope="module")
def on_postgresql(database: Postgres, graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A system with its ledger there."""
    url = database.new_database()
    with rig(tmp_path_factory.mktemp("rig"), graph, url, MEMLANE_BATCH_SIZE="100") as made:
        made.workers()
        yield made


def test_a_worker_dies_at_each_step(on_postgresql: Rig) -> None:
    """Given a worker that dies at a step, and events published before and after its death, I expect all of them once and
    in order, whichever step it was."""
    at_each_step(on_postgresql)


def test_it_is_stopped_and_started_again(on_postgresql: Rig, database: Postgres) -> None:
    """Given a database that is stopped at once, in the midst of transactions, and started again after some seconds, I
    expect the stages to rest meanwhile and then to go on."""
    sent = Sent(groups(4), 100, ("p0", "p1"))
    publishers = under_way(on_postgresql, sent, seconds=1.5)
    database.stop_at_once()
    for_a_while(1.0)
    database.start()
    over = time.monotonic()
    with on_postgresql.watch(sent) as watch:
        all_published(publishers)
        settle(on_postgresql, sent, since=over, watch=watch)
