"""What an agent waits for: `Publisher.publish` beside a bare XADD of the same bytes, and beside Celery's `.delay()`.

One event a call, from a warm process, no workers. Each takes turns with the bare XADD, so that both meet the machine in
the same state.

    python -m bench.publish
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from bench.pipeline import event
from producers import Publisher
from tests import servers

CALLS = 5_000


def run() -> dict[str, Any]:
    """Latencies in microseconds; `ratio` is the median of `publish` to that of the bare XADD."""
    with TemporaryDirectory(prefix="bench-") as folder, servers.queue_server(Path(folder)) as url:
        os.environ["PLAIN_BROKER"] = url
        os.environ["PLAIN_DATABASE"] = "sqlite://"
        from bench.plain_celery import store

        with Publisher(url, source="bench", group="bench-0") as publisher, redis.Redis.from_url(url) as client:
            raw = publisher.check(event(1)).encode()
            text = raw.decode()
            bare: Callable[[int], object] = lambda _: client.xadd("bare", {"e": raw})  # noqa: E731
            found = measure({"publish": lambda number: publisher.publish(event(number)), "xadd": bare}, CALLS)
            found["delay"] = measure({"delay": lambda _: store.delay(text), "xadd": bare}, CALLS // 2)["delay"]
            many = [event(number) for number in range(100)]
            began = time.perf_counter()
            for _ in range(50):
                publisher.publish_many(many)
            each = (time.perf_counter() - began) / 5_000 * 1e6
    figures: dict[str, Any] = {way: percentiles(times) for way, times in found.items()}
    figures["in_hundreds_each"] = round(each, 1)
    figures["ratio"] = round(figures["publish"]["p50"] / figures["xadd"]["p50"], 2)
    return figures


def measure(ways: dict[str, Callable[[int], object]], calls: int) -> dict[str, list[float]]:
    """Seconds that each call took; the ways take turns. The first tenth is warm-up and left out."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(calls + calls // 10):
        for way, call in ways.items():
            began = time.perf_counter()
            call(number)
            found[way].append(time.perf_counter() - began)
    return {way: times[calls // 10 :] for way, times in found.items()}


def percentiles(times: list[float]) -> dict[str, float]:
    """p50 and p99 in microseconds."""
    ordered = sorted(times)
    return {"p50": round(ordered[len(ordered) // 2] * 1e6, 1), "p99": round(ordered[len(ordered) * 99 // 100] * 1e6, 1)}


if __name__ == "__main__":
    import json

    print(json.dumps(run()))
