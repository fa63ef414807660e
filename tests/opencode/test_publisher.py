"""The plugin's publisher, spool and receipts beside Python's: both use the same files and the same lanes.

It runs in the Bun that is OpenCode's own runtime, from `producers/opencode/test/publish.ts`.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from memory.events import native_id
from producers import Publisher
from producers.spool import Spool
from tests.liars import LIES, answering
from tests.opencode.agent import PACKAGE
from tests.servers import free_port

GROUP = "shop"
BUN = PACKAGE / "node_modules" / ".bin" / "bun"


def publish(home: Path, url: str | None, events: int, **more: Any) -> dict[str, Any]:
    """Publish numbered events by the plugin's publisher; what became of them."""
    home.mkdir(exist_ok=True)
    given = json.dumps({"home": str(home), "url": url, "group": GROUP, "events": events, **more})
    command = [str(BUN), str(PACKAGE / "test" / "publish.ts"), given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # Whatever the server says, nothing of it reaches the terminal.
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def published(number: int) -> str:
    """Id of the numbered event."""
    return native_id("opencode", "s", "file.write", f"n{number}")


def lane(queue: redis.Redis) -> list[str]:
    return [json.loads(entry[b"e"])["id"] for _, entry in queue.xrange(f"memlane:lane:{GROUP}")]


def test_events_reach_the_lane_in_order(queue: redis.Redis, queue_url: str, home: Path) -> None:
    done = publish(home, queue_url, 700, deadline=10_000)
    assert (done["sent"], done["spooled"], done["lost"]) == (700, 0, 0)
    assert lane(queue) == [published(number) for number in range(700)]
    # What they write to is marked, as any producer marks it.
    assert queue.exists(f"memlane:dropped:{GROUP}:699.txt")
    assert queue.zscore("memlane:pending", GROUP)
    (receipt,) = (home / "receipts").glob(f"*/{GROUP}")
    (count,) = [int(value) for value in queue.hgetall(f"memlane:captured:{GROUP}").values()]
    assert receipt.read_text().split()[1] == str(count) == "700"
    assert receipt.stat().st_mode & 0o777 == 0o600


def test_what_python_spooled_goes_first(queue: redis.Redis, queue_url: str, home: Path) -> None:
    """700 events wait, more than one chunk; then the plugin publishes."""
    home.mkdir()
    with Publisher(f"redis://127.0.0.1:{free_port()}", source="test", group=GROUP, home=home) as publisher:
        ids = publisher.publish_many({"type": "session.start", "session": f"s{n}", "data": {}} for n in range(700))
    os.utime(home / "spool" / "away", (0, 0))
    publish(home, queue_url, 20, deadline=10_000)
    # With its end it sends one chunk; the rest goes with whoever comes next.
    os.utime(home / "spool" / "away", (0, 0))
    publish(home, queue_url, 0, deadline=10_000)
    assert lane(queue) == [*ids, *[published(number) for number in range(20)]]
    assert Spool(home, GROUP).waiting().events == 0


def test_python_sends_what_the_plugin_spooled(queue: redis.Redis, queue_url: str, home: Path) -> None:
    done = publish(home, f"redis://127.0.0.1:{free_port()}", 700)
    assert (done["sent"], done["spooled"], done["lost"]) == (0, 700, 0)
    assert (home / "spool" / f"{GROUP}.jsonl").stat().st_mode & 0o777 == 0o600
    assert (home / "spool").stat().st_mode & 0o777 == 0o700
    with Publisher(queue_url, source="test", group=GROUP, home=home) as publisher:
        flushed = publisher.flush(GROUP, 30)
    assert (flushed.sent, flushed.waiting, flushed.torn) == (700, 0, 0)
    assert lane(queue) == [published(number) for number in range(700)]


def test_producers_of_both_languages_at_once(queue: redis.Redis, queue_url: str, home: Path) -> None:
    """They publish while events wait in their spool: all arrive, each once, each producer's in their order."""
    home.mkdir()
    with Publisher(f"redis://127.0.0.1:{free_port()}", source="test", group=GROUP, home=home) as publisher:
        waited = publisher.publish_many({"type": "session.start", "data": {}} for _ in range(300))
    os.utime(home / "spool" / "away", (0, 0))

    def python(_: int) -> list[str]:
        with Publisher(queue_url, source="test", group=GROUP, home=home) as publisher:
            return [publisher.publish({"type": "session.start", "data": {}}) for _ in range(200)]

    with ThreadPoolExecutor() as pool:
        bun = pool.submit(publish, home, queue_url, 200, deadline=10_000)
        ours = list(pool.map(python, range(2)))
        bun.result()
    with Publisher(queue_url, source="test", group=GROUP, home=home) as publisher:
        publisher.flush(GROUP, 30)
    found = lane(queue)
    for ids in [waited, *ours, [published(number) for number in range(200)]]:
        known = set(ids)
        assert [id for id in found if id in known] == ids
    assert len(found) == 300 + 2 * 200 + 200


def test_a_torn_line_stays_behind(queue: redis.Redis, queue_url: str, home: Path) -> None:
    """A power cut tore off the last line of the spool: the others are sent."""
    publish(home, f"redis://127.0.0.1:{free_port()}", 3)
    spool = home / "spool" / f"{GROUP}.jsonl"
    spool.write_bytes(spool.read_bytes()[:-20])
    os.utime(home / "spool" / "away", (0, 0))
    publish(home, queue_url, 2, deadline=10_000)
    assert lane(queue) == [published(number) for number in (0, 1, 0, 1)]
    assert spool.read_bytes() == b""


def test_nobody_waits_for_a_lock(home: Path) -> None:
    """A process was stopped while it held the lock of the spool: events can't be kept, and that is said."""
    publish(home, f"redis://127.0.0.1:{free_port()}", 1)
    with (home / "spool" / f"{GROUP}.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = publish(home, f"redis://127.0.0.1:{free_port()}", 5)
    assert (done["spooled"], done["lost"]) == (0, 5)
    assert any("is locked" in json.dumps(entry) for entry in done["logged"])


def test_a_spool_has_a_bound(home: Path) -> None:
    done = publish(home, f"redis://127.0.0.1:{free_port()}", 100, spoolBytes=5_000)
    assert 0 < done["spooled"] < 100
    assert done["spooled"] + done["lost"] == 100
    assert (home / "spool" / f"{GROUP}.jsonl").stat().st_size <= 5_000


def test_what_another_life_of_the_server_took_is_reported(queue: redis.Redis, queue_url: str, home: Path) -> None:
    """The server is wiped: its new life learns from the plugin what the one before had accepted."""
    publish(home, queue_url, 30, deadline=10_000)
    before = queue.hgetall(f"memlane:captured:{GROUP}")
    queue.flushall()
    publish(home, queue_url, 10, deadline=10_000)
    after = queue.hgetall(f"memlane:captured:{GROUP}")
    assert list(before.values()) == [b"30"]
    assert sorted(after.values()) == [b"10", b"30"]
    assert before.items() < after.items()


def test_a_home_that_can_not_be_written(queue: redis.Redis, queue_url: str, home: Path) -> None:
    """Where spool and receipts should be there are files: what the server takes is not lost, and the rest is told."""
    home.mkdir()
    for name in ("spool", "receipts"):
        (home / name).write_text("not a folder")
    done = publish(home, queue_url, 20, deadline=10_000)
    assert (done["sent"], done["spooled"], done["lost"]) == (20, 0, 0)
    assert lane(queue) == [published(number) for number in range(20)]
    done = publish(home, f"redis://127.0.0.1:{free_port()}", 20)
    assert (done["sent"], done["spooled"], done["lost"]) == (0, 0, 20)
    (lost,) = [entry for entry in done["logged"] if "events are not captured" in entry["message"]]
    assert "can't be written" in lost["extra"]["reason"]


@pytest.mark.parametrize("lie", LIES)
def test_whatever_answers_nothing_is_lost(lie: str, home: Path) -> None:
    with answering(LIES[lie]) as url:
        done = publish(home, url, 20)
    assert (done["sent"], done["spooled"], done["lost"]) == (0, 20, 0)
    # Who publishes only queues.
    assert done["longest"] < 20
    assert Spool(home, GROUP).waiting().events == 20


def test_without_any_memlane_nothing_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "nowhere"
    given = json.dumps({"home": str(home), "group": GROUP, "events": 5})
    command = [str(BUN), str(PACKAGE / "test" / "publish.ts"), given]
    done = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert (done["sent"], done["spooled"], done["lost"]) == (0, 0, 5)
    assert not home.exists()
