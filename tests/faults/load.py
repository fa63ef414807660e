"""Events that are published while something goes wrong."""

from __future__ import annotations

import time

from tests import servers
from tests.faults.numbered import Sent
from tests.faults.oracle import recorded, tell
from tests.faults.programs import Program
from tests.faults.rig import Rig


def under_way(system: Rig, sent: Sent, *, seconds: float, batch: int = 10) -> list[Program]:
    """Start publishers that take so many seconds for what they have to publish.

    Returns:
        When the first events are in the ledger.
    """
    publishers = [system.publisher(sent, name, batch=batch, seconds=seconds) for name in sent.publishers]
    servers.wait_until(lambda: recorded(system.ledger, sent) > 0, "the first events")
    return publishers


def all_published(publishers: list[Program]) -> None:
    """Wait until they are through, their spools included."""
    for publisher in publishers:
        assert publisher.wait(60) == 0, publisher.log.read_text()
        tell(publisher.log.read_text().splitlines()[-1])


def for_a_while(seconds: float) -> None:
    """Let a fault last."""
    end = time.monotonic() + seconds
    servers.wait_until(lambda: time.monotonic() > end, "the fault to have lasted")
