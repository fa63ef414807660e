"""Wake-ups that come three times, and for groups that nobody knows; events that come twice, from two publishers at once.

A wake-up is a hint and an event has an id: neither can do harm by coming again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ

from ops import status
from ops.home import Home
from tests.faults.load import all_published, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import settle, tell
from tests.faults.programs import ROOT
from tests.faults.rig import Rig, groups

#: Sends each wake-up three times, past the check whether one is under way, until its input ends, and in two rounds at least.
SENDER = """
import select, sys
from workers.app import app
from workers.stages import STAGES

sent = 0
while sent == 0 or not over:
    over = bool(select.select([sys.stdin], [], [], 0.05)[0])
    for group in sys.argv[1:]:
        for stage in (stage for stage in STAGES.values() if stage.on):
            for _ in range(3):
                app.send_task(f"memlane.{stage.name}", args=[group], queue=stage.queue)
                sent += 1
print(sent)
"""


def test_doubled_wake_ups_and_doubled_events(system: Rig) -> None:
    """Given two publishers that publish the very same events at the same time, and three times each wake-up, also for a
    group without a lane, I expect every event once, in order, and the second one of each in the books as a duplicate."""
    sent = Sent(groups(3), 150)
    with _waking(system, *sent.groups, "nobody"):
        publishers = under_way(system, Sent(sent.groups, sent.count, ("p0", "p0")), seconds=1.5)
        all_published(publishers)
    settle(system, sent)
    home = Home(system.home, system.broker.url)
    for group in sent.groups:
        (books,) = status.look(system.broker.client, home, system.ledger, group).groups
        assert (books.captured, books.recorded, books.duplicates) == (300, 150, 150)
    (books,) = status.look(system.broker.client, home, system.ledger, "nobody").groups
    assert (books.captured, books.recorded, books.pending, books.balanced) == (0, 0, 0, True)


@contextmanager
def _waking(system: Rig, *names: str) -> Iterator[None]:
    """While entered, send wake-ups for these groups."""
    with subprocess.Popen(
        [sys.executable, "-c", SENDER, *names],
        env={**environ, **system.environ},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as sender:
        yield
        sent = int(sender.communicate(timeout=30)[0])
    tell(f"{sent} wake-ups sent")
    assert sent > 100
