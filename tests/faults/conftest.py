"""What the tests share that hurt only what can be healed: each uses groups of its own, so they don't meet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.programs import Graph
from tests.faults.rig import Rig, rig


@pytest.fixture(scope="package")
def graph() -> Iterator[Graph]:
    """A graph server that may be hurt."""
    started = Graph()
    started.start()
    yield started
    started.end()


@pytest.fixture(scope="package")
def system(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A system with the two kinds of workers that `memlane up` has, `lanes` and `graph`, both armed (see armed.py). It
    works in short batches, so that much is done in several."""
    with rig(tmp_path_factory.mktemp("shared"), graph, MEMLANE_BATCH_SIZE="100") as made:
        made.workers()
        yield made
