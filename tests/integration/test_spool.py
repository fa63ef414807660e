"""The spool behind the publisher: nothing waits longer than the deadline, nothing is lost, everything stays in order."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import signal
import socket
import socketserver
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from memory import lua
from producers import AsyncPublisher, Publisher, SpoolFull, deadline
from producers.address import QueueUnknown
from producers.environment import EnvironmentInvalid
from producers.spool import Spool, spools
from tests import servers
from tests.liars import LIES, answering

GROUP = "shop"
#: What an agent is promised by default, s.
DEADLINE = 0.05
#: What a shared machine may add to it: its scheduler's turns.
SLACK = 0.05


def note(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "group": GROUP, "type": "completion", "data": {"task": f"t{number}"}, **more}


def ids(queue: redis.Redis) -> list[str]:
    """Ids in the lane, in order."""
    return [json.loads(fields[b"e"])["id"] for _, fields in queue.xrange(lua.lane(GROUP))]


def waiting(home: Path) -> list[str]:
    """Ids in the spool, in order, those that were sent included."""
    file = home / "spool" / f"{GROUP}.jsonl"
    return [json.loads(line)["id"] for line in file.read_bytes().splitlines() if line.strip()]


@contextmanager
def server(folder: Path, port: int = 0, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A queue server of the test's own."""
    folder.mkdir(exist_ok=True)
    port = port or servers.free_port()
    url = f"redis://:pw@127.0.0.1:{port}"
    with servers.process(servers.queue_command(folder, port, "pw", *options), folder / "queue.log") as running:
        servers.wait_until(lambda: servers.answers(url), "queue server")
        yield url, running


def after_the_pause(home: Path) -> None:
    """Have it that the queue server was found to be away long ago."""
    os.utime(home / "spool" / "away", (0, 0))


@pytest.fixture
def url() -> str:
    """Address of a queue server that does not run yet."""
    return f"redis://:pw@127.0.0.1:{servers.free_port()}"


def test_what_the_server_cannot_take_is_sent_later_in_order(tmp_path: Path, home: Path, url: str) -> None:
    """Given no server, If events are published, it starts, and more are published, I expect all of them in the lane in
    their order, the spool empty, and each counted once as captured."""
    with Publisher(url, group=GROUP) as publisher:
        for number in range(50):
            publisher.publish(note(number))
        assert publisher.spooled == 50
        assert waiting(home) == [f"e{number}" for number in range(50)]
        with server(tmp_path / "queue", int(url.rpartition(":")[2])), redis.Redis.from_url(url) as queue:
            publisher.publish(note(50))
            assert waiting(home)[-1] == "e50", "behind those that wait, while nobody is to try yet"
            after_the_pause(home)
            publisher.publish_many([note(51), note(52)])

            assert ids(queue) == [f"e{number}" for number in range(53)]
            assert (home / "spool" / f"{GROUP}.jsonl").stat().st_size == 0
            assert [int(count) for count in queue.hvals(lua.captured(GROUP))] == [53]
            publisher.publish(note(53))
            assert ids(queue)[-1] == "e53"
            assert not publisher._spool(GROUP).holds_events()


def test_asyncio_spools_as_well(tmp_path: Path, home: Path, url: str) -> None:
    async def told() -> None:
        async with AsyncPublisher(url, group=GROUP) as publisher:
            for number in range(10):
                await publisher.publish(note(number))
            assert publisher.spooled == 10
            with server(tmp_path / "queue", int(url.rpartition(":")[2])):
                after_the_pause(home)
                await publisher.publish(note(10))

                with redis.Redis.from_url(url) as queue:
                    assert ids(queue) == [f"e{number}" for number in range(11)]

    asyncio.run(told())


def test_another_process_sends_what_a_dead_one_left(tmp_path: Path, home: Path, url: str) -> None:
    """Given a hook process that spooled an event and was killed, and a line that was torn off, If another process
    publishes, I expect the first event, then its own, and the torn line counted and left out."""
    script = (
        "import os, signal, sys; from producers import Publisher; "
        f"Publisher(sys.argv[1], group={GROUP!r}).publish({note(0)!r}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, url], check=False, env=os.environ)
    assert ended.returncode == -signal.SIGKILL.value
    with (home / "spool" / f"{GROUP}.jsonl").open("ab") as file:
        file.write(b'{"id":"torn","type":"comple')

    with Publisher(url, group=GROUP) as publisher:
        publisher.publish(note(1))
        with server(tmp_path / "queue", int(url.rpartition(":")[2])), redis.Redis.from_url(url) as queue:
            flushed = publisher.flush(GROUP, 10)

            assert (flushed.sent, flushed.waiting, flushed.torn) == (2, 0, 1)
            assert ids(queue) == ["e0", "e1"]


def test_a_torn_last_line_is_left_out(tmp_path: Path, home: Path, url: str) -> None:
    spool = Spool(home, GROUP)
    spool.append([json.dumps(note(0)).encode()])
    with (home / "spool" / f"{GROUP}.jsonl").open("ab") as file:
        file.write(b'{"id":"torn","type":"comple')

    with server(tmp_path / "queue", int(url.rpartition(":")[2])), redis.Redis.from_url(url) as queue:
        with Publisher(url, group=GROUP) as publisher:
            assert publisher.flush(GROUP, 10).torn == 1
            publisher.publish(note(1))
            assert ids(queue) == ["e0", "e1"]


@pytest.mark.parametrize("left", [b"", b"\0\0\0\n", b"[]\n", b"nonsense\n\n\n", b'"text"\n', b"[" * 100_000 + b"\n"])
def test_garbage_in_the_spool_does_not_stop_it(tmp_path: Path, home: Path, url: str, left: bytes) -> None:
    """Given a spool in which a power cut left garbage, also in its state, I expect the events around it."""
    spool = Spool(home, GROUP)
    spool.append([json.dumps(note(0)).encode()])
    with (home / "spool" / f"{GROUP}.jsonl").open("ab") as file:
        file.write(left)
    (home / "spool" / f"{GROUP}.state").write_bytes(left)
    spool.append([json.dumps(note(1)).encode()])

    with server(tmp_path / "queue", int(url.rpartition(":")[2])), redis.Redis.from_url(url) as queue:
        with Publisher(url, group=GROUP) as publisher:
            assert publisher.flush(GROUP, 10).sent == 2
        assert ids(queue) == ["e0", "e1"]


def test_a_sender_that_dies_before_it_notes_what_it_sent(tmp_path: Path, home: Path, url: str) -> None:
    """Given a sender that was killed after the server took its events, I expect the next one not to have them counted
    as captured once more."""
    with server(tmp_path / "queue", int(url.rpartition(":")[2])), redis.Redis.from_url(url) as queue:
        Spool(home, GROUP).append([json.dumps(note(number)).encode() for number in range(1_200)])
        with Publisher(url, group=GROUP) as publisher:
            with publisher._spool(GROUP).sending() as sending:
                assert sending
                chunk = sending.next()
                assert chunk
            state = (home / "spool" / f"{GROUP}.state").read_bytes()
            publisher.flush(GROUP, 10)
            lane = ids(queue)
            assert lane == [f"e{number}" for number in range(1_200)]
            # As it was before: what was sent was never noted.
            (home / "spool" / f"{GROUP}.state").write_bytes(state)
            Spool(home, GROUP).append([json.dumps(note(number)).encode() for number in range(1_201)])

            publisher.flush(GROUP, 10)

        assert ids(queue) == [*lane, "e1200"]
        assert [int(count) for count in queue.hvals(lua.captured(GROUP))] == [1_201]


def publish_many(url: str, first: int, count: int) -> None:
    with Publisher(url, group=GROUP) as publisher:
        for number in range(first, first + count):
            publisher.publish(note(number))


def queue_length(url: str) -> int:
    with redis.Redis.from_url(url) as queue:
        return int(queue.xlen(lua.lane(GROUP)))


def alive(processes: list[Any]) -> bool:
    return any(process.is_alive() for process in processes)


def test_processes_share_a_spool(tmp_path: Path, home: Path, url: str) -> None:
    """Given four processes that publish while the server is killed and started again and again, I expect every event in
    the lane, and each process's own in its order."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=publish_many, args=(url, n * 10_000, 1_500)) for n in range(4)]
    port = int(url.rpartition(":")[2])
    for process in processes:
        process.start()
    for _ in range(2):
        with server(tmp_path / "queue", port, "--appendfsync", "always") as (_, running):
            began, taken = queue_length(url), 100
            servers.wait_until(lambda: queue_length(url) > began + taken or not alive(processes), "some events")  # noqa: B023
            running.kill()
            running.wait()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with server(tmp_path / "queue", port, "--appendfsync", "always"), redis.Redis.from_url(url) as queue:
        with Publisher(url, group=GROUP) as publisher:
            assert publisher.flush(GROUP, 30).waiting == 0
        found = [int(id[1:]) for id in ids(queue)]
    once = list(dict.fromkeys(found))
    assert sorted(once) == sorted(n * 10_000 + number for n in range(4) for number in range(1_500))
    for n in range(4):
        own = [number for number in once if number // 10_000 == n]
        assert own == sorted(own)


def test_a_full_spool_says_so(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a spool at its bound, I expect the event refused with the bound, the remedy, and why the server can't take
    it; and what was spooled to stay."""
    monkeypatch.setenv("MEMLANE_SPOOL_BYTES", "1000")
    with Publisher(url, group=GROUP) as publisher:
        with pytest.raises(SpoolFull, match=r"1,000 bytes.*memlane spool flush.*can't be used") as full:
            for number in range(100):
                publisher.publish(note(number))

    assert "pw" not in str(full.value).replace("spool", "")
    kept = waiting(home)
    assert 3 < len(kept) < 10
    assert kept == [f"e{number}" for number in range(len(kept))]


def test_a_full_disk_says_so(home: Path, url: str) -> None:
    """Given a disk that takes no more, I expect the event refused, and those before it whole."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Publisher(url, group=GROUP) as publisher:
        publisher.publish(note(0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        try:
            with pytest.raises(SpoolFull, match="can't be written"):
                for number in range(1, 100):
                    publisher.publish(note(number))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        publisher.publish(note(100))
    lines = (home / "spool" / f"{GROUP}.jsonl").read_bytes().splitlines()
    assert json.loads(lines[0])["id"] == "e0"
    assert json.loads(lines[-1])["id"] == "e100", "what the full disk tore off stays a line of its own"


def test_a_home_that_cannot_be_written(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a file where the home should be, I expect events to go through while the server is there, and to be
    refused with the reason while it is not."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMLANE_HOME", str(tmp_path / "file" / "home"))
    with Publisher(url, group=GROUP) as publisher:
        with pytest.raises(SpoolFull, match="can't be written"):
            publisher.publish(note(0))
        with server(tmp_path / "queue", int(url.rpartition(":")[2])), redis.Redis.from_url(url) as queue:
            publisher.publish(note(1))
            assert ids(queue) == ["e1"]


def test_a_full_lane_fills_the_spool(queue_url: str, queue: redis.Redis, home: Path) -> None:
    """Given a lane at its mark, I expect events spooled, the server told how many wait, and them sent once it drains."""
    with Publisher(queue_url, group=GROUP, lane_events=3) as publisher:
        for number in range(8):
            publisher.publish(note(number))
        assert ids(queue) == ["e0", "e1", "e2"]
        after_the_pause(home)
        publisher.publish(note(8))
        told = {name.partition(b":")[2]: int(count) for name, count in queue.hgetall(lua.spools(GROUP)).items()}
        assert told == {b"waiting": 6}
        queue.xtrim(lua.lane(GROUP), maxlen=0)
    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.flush(GROUP, 10)
    assert ids(queue) == [f"e{number}" for number in range(3, 9)]


def test_a_sent_edit_drops_its_path(queue_url: str, queue: redis.Redis, home: Path) -> None:
    Spool(home, GROUP).append([json.dumps(note(0, type="file.write", data={"path": "src/a.py"})).encode()])
    with Publisher(queue_url, group=GROUP) as publisher:
        publisher.flush(GROUP, 10)
    assert queue.exists(lua.dropped(GROUP, "src/a.py"))


def test_a_stack_that_comes_back_elsewhere_is_found(tmp_path: Path, home: Path) -> None:
    """Given a publisher that looked its server up, If that ends and another starts at another port, I expect what was
    spooled meanwhile to be sent there; also while no address is known."""
    (home / "run").mkdir(parents=True)
    stack = home / "run" / "stack.json"
    with server(tmp_path / "one") as (first, _):
        stack.write_text(json.dumps({"valkey_url": first}))
        publisher = Publisher(group=GROUP)
        publisher.publish(note(0))
    stack.unlink()
    publisher.publish(note(1))
    with Publisher(group=GROUP) as other:
        other.publish(note(2))
    with server(tmp_path / "two") as (second, _), redis.Redis.from_url(second) as queue:
        stack.write_text(json.dumps({"valkey_url": second}))
        after_the_pause(home)
        publisher.publish(note(3))
        after_the_pause(home)
        publisher.publish(note(4))
        assert ids(queue) == ["e1", "e2", "e3", "e4"]
        publisher.close()


def test_where_there_never_was_a_stack_nothing_is_spooled(home: Path) -> None:
    with pytest.raises(QueueUnknown, match="memlane up"):
        Publisher(group=GROUP)
    assert not home.exists()


@pytest.mark.parametrize("name", ["MEMLANE_PUBLISH_DEADLINE_MS", "MEMLANE_SPOOL_BYTES"])
@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_a_variable_that_is_no_number_is_named(
    url: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentInvalid, match=name):
        Publisher(url, group=GROUP)


@pytest.mark.parametrize("said", LIES.values(), ids=LIES)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_answers_the_agent_goes_on(
    said: Callable[[socketserver.StreamRequestHandler], None], kind: str, home: Path
) -> None:
    """Given something that is no queue server, I expect each event to be spooled within the deadline, in order, also
    when the server is tried again each time."""
    times = []
    with answering(said) as url:
        if kind == "sync":
            with Publisher(url, group=GROUP, deadline=DEADLINE) as publisher:
                for number in range(5):
                    times.append(timed(lambda number=number: publisher.publish(note(number))))  # type: ignore[misc]
                    after_the_pause(home)
        else:
            runner = asyncio.Runner()
            asynchronous = AsyncPublisher(url, group=GROUP, deadline=DEADLINE)
            for number in range(5):
                times.append(timed(lambda number=number: runner.run(asynchronous.publish(note(number)))))  # type: ignore[misc]
                after_the_pause(home)
            runner.run(asynchronous.aclose())
            runner.close()

    assert waiting(home) == [f"e{number}" for number in range(5)]
    assert statistics.median(times) < DEADLINE + SLACK
    assert max(times) < 10 * DEADLINE, "many times the deadline would be none at all"


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call took."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_name_server_that_is_away_does_not_hold_up(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a name that takes seconds to look up, I expect the event spooled within the deadline, and the process to
    end without waiting for the name."""
    script = (
        "import asyncio, socket, sys, time; slow = lambda *_, **__: time.sleep(20); socket.getaddrinfo = slow\n"
        "from producers import AsyncPublisher, Publisher\n"
        "began = time.perf_counter()\n"
        f"event = {note(0)!r}\n"
        "async def told():\n"
        "    await AsyncPublisher('redis://valkey.example', group='shop', deadline=0.05).publish(event)\n"
        "if sys.argv[1] == 'async': asyncio.run(told())\n"
        "else: Publisher('redis://valkey.example', group='shop', deadline=0.05).publish(event)\n"
        "print(time.perf_counter() - began)\n"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script, kind], check=True, capture_output=True, text=True, timeout=60)

    assert float(ended.stdout) < 10, "half of what the name takes"
    assert time.monotonic() - began < 15
    assert waiting(home) == ["e0"]


def test_names_are_looked_up(tmp_path: Path) -> None:
    """Given a name that has several addresses, of which not all answer, I expect the one that does."""
    assert ("127.0.0.1", 80) in [place for _, place in deadline.lookup("127.0.0.1", 80, lambda: 1.0)]
    with server(tmp_path / "queue") as (url, _), redis.Redis.from_url(url) as queue:
        named = url.replace("127.0.0.1", "localhost")
        with Publisher(named, group=GROUP) as publisher:
            publisher.publish(note(0))
        asyncio.run(published(named, note(1)))
        assert ids(queue) == ["e0", "e1"]
    with pytest.raises(OSError, match=r"not known|No address|failure"):
        deadline.lookup("nobody.invalid", 80, lambda: 10.0)


async def published(url: str, event: dict[str, Any]) -> None:
    async with AsyncPublisher(url, group=GROUP) as publisher:
        await publisher.publish(event)


def test_only_the_first_event_waits_for_a_server_that_is_away(tmp_path: Path, home: Path) -> None:
    """Given a frozen server, If many events are published, I expect one deadline a second at most, not one an event."""
    with server(tmp_path / "queue") as (url, running):
        with Publisher(url, group=GROUP, deadline=DEADLINE) as publisher:
            publisher.publish(note(0))
            os.kill(running.pid, signal.SIGSTOP)
            try:
                times = [timed(lambda n=number: publisher.publish(note(n))) for number in range(1, 300)]  # type: ignore[misc]
            finally:
                os.kill(running.pid, signal.SIGCONT)
            after_the_pause(home)
            publisher.publish(note(300))
            with redis.Redis.from_url(url) as queue:
                once = list(dict.fromkeys(ids(queue)))
    assert once == [f"e{number}" for number in range(301)]
    assert sorted(times)[len(times) * 9 // 10] < DEADLINE / 2


def test_unix_sockets_have_the_deadline_too(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with Publisher(f"unix://{path}", group=GROUP, deadline=DEADLINE) as publisher:
            assert timed(lambda: publisher.publish(note(0))) < 10 * DEADLINE
    assert [spool.group for spool in spools(home)] == [GROUP]


def test_files_are_private(home: Path, url: str) -> None:
    """Given events that were spooled, I expect nobody else to be able to read them."""
    with Publisher(url, group=GROUP) as publisher:
        publisher.publish(note(0))
    for path in (home, home / "spool"):
        assert path.stat().st_mode & 0o077 == 0
    for file in (home / "spool").iterdir():
        assert file.stat().st_mode & 0o077 == 0
