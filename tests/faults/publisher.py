"""A publisher as a process of its own: numbered events, in order, and then whatever waits in its home's spool.

python -m tests.faults.publisher --name p0 --groups a,b --count 1000 --batch 50 --seconds 5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from producers import Publisher
from producers.address import QueueUnknown
from producers.publisher import QueueFull, QueueUnavailable
from producers.spool import Spool
from tests.faults.numbered import numbered

#: Pause before the spool is sent again, while the queue can't take it, s.
PAUSE_SECONDS = 0.2


def publish(
    publisher: Publisher, name: str, groups: Sequence[str], numbers: range, batch: int, seconds: float = 0.0
) -> float:
    """Publish these numbers into each of the groups, in order, evenly spread over some seconds.

    Returns:
        How long the longest call took, s.
    """
    begun, longest = time.monotonic(), 0.0
    for start in range(numbers.start, numbers.stop, batch):
        time.sleep(max(0.0, begun + seconds * (start - numbers.start) / len(numbers) - time.monotonic()))
        for group in groups:
            events = numbered(group, name, range(start, min(start + batch, numbers.stop)))
            called = time.monotonic()
            publisher.publish_many(events)
            longest = max(longest, time.monotonic() - called)
    return longest


def send_spooled(publisher: Publisher, groups: Sequence[str]) -> None:
    """Send what waits in the spool, as `memlane spool flush` does, until nothing waits."""
    for group in groups:
        while Spool(publisher.home, group).holds_events():
            try:
                publisher.flush(group, 10)
            except (QueueUnavailable, QueueFull, QueueUnknown):
                time.sleep(PAUSE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="p0")
    parser.add_argument("--groups", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0.0)
    given = parser.parse_args()
    groups = given.groups.split(",")
    with Publisher(source="faults", group=groups[0]) as publisher:
        longest = publish(publisher, given.name, groups, range(given.count), given.batch, given.seconds)
        spooled = publisher.spooled
        send_spooled(publisher, groups)
    print(  # noqa: T201
        f"{given.name}: {given.count * len(groups)} events, of which {spooled} were spooled; "
        f"longest call {longest * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
