"""A worker whose main process fails in a way that Celery does not know.

main process ──▶ fails, reads no more results ──▶ ends, and its pool with it
pool process ──▶ writes a result ▐ nobody reads
"""

from __future__ import annotations

from pathlib import Path

import psutil

from tests import servers
from tests.faults.numbered import Sent
from tests.faults.oracle import settle
from tests.faults.programs import Graph
from tests.faults.rig import groups, rig


def test_it_ends_and_another_goes_on(graph: Graph, tmp_path: Path) -> None:
    """Given a process of its pool that waits for its result to be read, If a worker's main process fails, I expect both to
    end soon and with an error code, so that a supervisor starts them again, and nothing to be lost."""
    with rig(tmp_path, graph) as system:
        broken = system.worker("broken", app="tests.faults.broken")
        family = broken.family()
        sent = Sent(groups(1), 100)
        system.publish(sent)

        code = broken.wait(20)

        assert code == 1
        assert "the worker can't go on, and ends" in system.log("broken")
        servers.wait_until(lambda: not any(map(psutil.Process.is_running, family)), "its pool to be gone")
        system.worker("heir")
        settle(system, sent)
