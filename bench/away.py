"""What an agent waits for while the queue server is away, frozen, or something else answers in its place.

`publish` with its default deadline of 50 ms, from a warm process; as it goes, and as it would go if the server were
tried with each event (it is tried once a second). Beside it redis-py's own XADD with its default timeouts.

    python -m bench.away
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from bench.pipeline import event
from bench.publish import percentiles
from producers import Publisher
from tests import servers
from tests.liars import LIES, answering

#: Events published as it goes, and with a try each; calls of a bare XADD, each of which may take seconds.
CALLS, TRIES, BARE = 2_000, 100, 3


def run() -> dict[str, Any]:
    """For each state p50, p99 and the longest in microseconds, how many calls raised, and how many events were lost."""
    found: dict[str, Any] = {}
    for state, server in STATES.items():
        with TemporaryDirectory(prefix="bench-") as folder, server(Path(folder)) as url:
            found[state] = {
                "publish": _publish(url, Path(folder) / "home", CALLS, each_tries=False),
                "each_tries": _publish(url, Path(folder) / "tries", TRIES, each_tries=True),
                "bare": _bare(url),
            }
    tries = [figures["each_tries"] for figures in found.values()]
    worst = max(figures["p99"] for figures in tries)
    raised = sum(figures["publish"]["raised"] + figures["each_tries"]["raised"] for figures in found.values())
    lost = sum(figures["publish"]["lost"] + figures["each_tries"]["lost"] for figures in found.values())
    return {"states": found, "worst_p99": worst, "raised": raised, "lost": lost}


def _publish(url: str, home: Path, calls: int, *, each_tries: bool) -> dict[str, Any]:
    home.mkdir()
    events = [event(8 * number) for number in range(calls)]
    with Publisher(url, source="bench", group="bench-0", home=home) as publisher:

        def publish(number: int) -> None:
            publisher.publish(events[number])

        def forget() -> None:
            if each_tries:
                os.utime(home / "spool" / "away", (0, 0))

        publisher.publish(event(0))
        figures = _measure(publish, calls, forget)
        spool = publisher._spool("bench-0").waiting().events
        return {**figures, "lost": calls + 1 - spool}


def _bare(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(url) as client:
        return _measure(lambda _: client.xadd("bare", {"e": "x"}), BARE, lambda: None)


def _measure(call: Callable[[int], object], calls: int, between: Callable[[], None]) -> dict[str, Any]:
    times, raised = [], 0
    for number in range(calls):
        between()
        began = time.perf_counter()
        try:
            call(number)
        except Exception:
            raised += 1
        times.append(time.perf_counter() - began)
    return {**percentiles(times), "longest": round(max(times) * 1e6, 1), "raised": raised}


@contextmanager
def _refusing(folder: Path) -> Iterator[str]:
    yield f"redis://:pw@127.0.0.1:{servers.free_port()}"


@contextmanager
def _frozen(folder: Path) -> Iterator[str]:
    port = servers.free_port()
    url = f"redis://:pw@127.0.0.1:{port}"
    with servers.process(servers.queue_command(folder, port, "pw"), folder / "queue.log") as running:
        servers.wait_until(lambda: servers.answers(url), "queue server")
        running.send_signal(signal.SIGSTOP)
        try:
            yield url
        finally:
            with suppress(ProcessLookupError):
                running.send_signal(signal.SIGCONT)


@contextmanager
def _garbage(folder: Path) -> Iterator[str]:
    with answering(LIES["bytes"]) as url:
        yield url


@contextmanager
def _dripping(folder: Path) -> Iterator[str]:
    with answering(LIES["drips"]) as url:
        yield url


STATES = {"refused": _refusing, "frozen": _frozen, "garbage": _garbage, "a byte now and then": _dripping}

if __name__ == "__main__":
    import json

    print(json.dumps(run()))
