"""Publishing, by both publishers, against a real queue server: what is accepted, in which order, and what is said when
the server is away, frozen or full."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from memory import lua
from memory.events import Event, EventInvalid
from producers.address import QueueUnknown, checked, queue_url, without_password
from producers.publisher import AsyncPublisher, Publishable, Publisher, QueueFull, QueueUnavailable
from tests import servers

PASSWORD = "s3cret-pass"
#: What is far from for ever, also on a busy machine, s.
PATIENCE = 10.0


class Blocking:
    """The asyncio publisher, called as the other one is."""

    def __init__(self, url: str, **options: Any) -> None:
        self._publisher = AsyncPublisher(url, **options)
        self._runner = asyncio.Runner()

    def publish(self, event: Publishable) -> str:
        return self._runner.run(self._publisher.publish(event))

    def publish_many(self, events: list[Publishable]) -> list[str]:
        return self._runner.run(self._publisher.publish_many(events))

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._publisher.aclose())
        self._runner.close()


type Kind = type[Publisher] | type[Blocking]


@pytest.fixture(params=[Publisher, Blocking], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The publisher under test."""
    found: Kind = request.param
    return found


@pytest.fixture
def publisher(kind: Kind, queue_url: str) -> Iterator[Publisher | Blocking]:
    with kind(queue_url, source="test", group="shop") as opened:
        yield opened


@dataclass
class Server:
    """A queue server of the test's own, which it may stop."""

    url: str
    address: str
    command: list[str]
    folder: Path
    running: subprocess.Popen[bytes]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server neither answers nor hangs up."""
        os.kill(self.running.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.running.pid, signal.SIGCONT)


@contextmanager
def own_server(folder: Path, *options: str, port: int = 0) -> Iterator[Server]:
    port = port or servers.free_port()
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
    folder.mkdir(exist_ok=True)
    command = servers.queue_command(folder, port, PASSWORD, *options)
    with servers.process(command, folder / "queue.log") as running:
        servers.wait_until(lambda: servers.answers(url), "queue server")
        yield Server(url, f"127.0.0.1:{port}", command, folder, running)


def write(path: str, **fields: Any) -> dict[str, Any]:
    return {"type": "file.write", "session": "s1", "data": {"path": path}, **fields}


def numbered(count: int, **fields: Any) -> list[Publishable]:
    return [
        {"id": f"e{n}", "type": "tool.call", "data": {"tool": "t", "status": "ok", "n": n}} | fields
        for n in range(count)
    ]


def lane(queue: redis.Redis, group: str = "shop") -> list[dict[str, Any]]:
    """The events in a lane, in its order."""
    return [json.loads(fields[b"e"]) for _, fields in queue.xrange(lua.lane(group))]


def ids(queue: redis.Redis, group: str = "shop") -> list[str]:
    return [event["id"] for event in lane(queue, group)]


def counters(queue: redis.Redis, group: str = "shop") -> dict[str, int]:
    """What the lane has accepted, in whatever life of the server, and how many events were refused."""
    found = {name.decode(): int(value) for name, value in queue.hgetall(lua.captured(group)).items()}
    refused = {"refused": found.pop("refused")} if "refused" in found else {}
    return ({"captured": sum(found.values())} if found else {}) | refused


def scripts_run(queue: redis.Redis) -> int:
    """How many script calls the server has worked off."""
    stats = queue.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


def test_many_events_of_one_group_keep_their_order(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given 1,200 events, If they are published in one call, I expect them in the lane in order, by 500 a round
    trip."""
    publisher.publish({"type": "session.start", "data": {}})  # the server knows the script now
    before = scripts_run(queue)

    returned = publisher.publish_many(numbered(1_200))

    assert returned == [f"e{n}" for n in range(1_200)]
    assert ids(queue)[1:] == returned
    assert counters(queue) == {"captured": 1_201}
    assert scripts_run(queue) - before == 3


def test_large_events_go_in_chunks_of_a_mebibyte(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given ten events of 210 KB, I expect no call to carry more than 1 MiB of them, and their order kept."""
    publisher.publish({"type": "session.start", "data": {}})
    before = scripts_run(queue)
    texts = {f"text{n}": "x" * 30_000 for n in range(7)}

    returned = publisher.publish_many([{"id": f"big{n}", "type": "note", "data": texts} for n in range(10)])

    assert ids(queue)[1:] == returned == [f"big{n}" for n in range(10)]
    assert scripts_run(queue) - before == 3


def test_groups_are_told_apart_in_one_call(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given events of three groups, mixed, I expect ids in the order given and each lane in that order, too."""
    groups = ["shop", "other", "a_b-C"]
    events: list[Publishable] = [
        {"id": f"e{n}", "group": groups[n % 3], "type": "completion", "data": {"task": str(n)}} for n in range(30)
    ]

    assert publisher.publish_many(events) == [f"e{n}" for n in range(30)]

    for place, group in enumerate(groups):
        assert ids(queue, group) == [f"e{n}" for n in range(place, 30, 3)]
        assert counters(queue, group) == {"captured": 10}
    assert {group.decode() for group in queue.zrange(lua.PENDING, 0, -1)} == set(groups)


def test_every_form_of_input_is_the_same_event(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given one event as dict, JSON text, JSON bytes and Event, I expect the same in the lane each time."""
    fields = {
        "id": "x",
        "source": "mine",
        "type": "file:write",
        "time": "2026-11-21T12:00:00.1239+02:00",
        "group": "shop",
        "project": "/home/dev/shop",
        "data": {"path": "/home/dev/shop/src/../Straße.py", "extra": [1, {"a": None}]},
        "traceparent": "00-1",
    }
    text = json.dumps(fields, ensure_ascii=False)
    forms: list[Publishable] = [fields, text, text.encode(), Event.model_validate(fields)]
    for form in forms:
        assert publisher.publish(form) == "x"

    found = lane(queue)
    assert found == [found[0]] * 4
    assert found[0]["type"] == "file.write"
    assert found[0]["time"] == "2026-11-21T10:00:00.123Z"
    assert found[0]["data"] == {"path": "Straße.py", "extra": [1, {"a": None}]}
    assert found[0]["subject"] == "Straße.py"
    assert found[0]["traceparent"] == "00-1"


def test_what_is_missing_is_filled_in(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given an event of type and data only, I expect an id of its own, the time, source and group."""
    first = publisher.publish({"type": "completion", "data": {"task": "a"}})
    second = publisher.publish({"type": "completion", "data": {"task": "a"}})

    assert first != second
    event = lane(queue)[0]
    assert (event["id"], event["source"], event["group"]) == (first, "test", "shop")
    age = datetime.now(UTC) - datetime.fromisoformat(event["time"])
    assert 0 <= age.total_seconds() < 60


INVALID: dict[str, tuple[Any, str]] = {
    "required field missing": ({"type": "file.write", "data": {}}, "data.path"),
    "wrong kind of field": ({"type": "completion", "data": {"task": "t", "tokens": "many"}}, "data.tokens"),
    "group with a colon": ({"type": "completion", "group": "a:b", "data": {"task": "t"}}, "group"),
    "no data": ({"type": "completion"}, "data"),
    "type with a space": ({"type": "a b", "data": {}}, "type"),
    "not JSON": ("{", "JSON"),
    "not an object": ("[1]", "object"),
    "not UTF-8": (b'{"type": "\xff"}', "UTF-8"),
    "not expressible as JSON": ({"type": "note", "data": {"x": object()}}, "data"),
    "too large": ({"type": "note", "data": {f"t{n}": "x" * 30_000 for n in range(10)}}, "bytes"),
    "an Event that was not checked": (
        Event(id="x", source="s", type="file.write", time=datetime.now(UTC), group="shop", data={"tool": "edit"}),
        "data.path",
    ),
}


@pytest.mark.parametrize(("event", "field"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_event_is_refused_with_its_whole_batch(
    publisher: Publisher | Blocking, queue: redis.Redis, event: Any, field: str
) -> None:
    """Given a batch in which one event is invalid, I expect its place and field named, nothing written, and it
    counted."""
    with pytest.raises(EventInvalid) as refused:
        publisher.publish_many([write("src/a.py"), event, write("src/b.py")])

    assert str(refused.value).startswith("event 1: ")
    assert field in str(refused.value)
    assert counters(queue) == {"refused": 1}
    assert {key.decode() for key in queue.keys()} == {lua.captured("shop"), lua.GROUPS}  # noqa: SIM118 - KEYS, of a test's server


def test_the_content_of_a_refused_event_is_not_shown(publisher: Publisher | Blocking) -> None:
    with pytest.raises(EventInvalid) as refused:
        publisher.publish({"type": "completion", "data": {"task": {"s3cret": 1}, "tokens": "s3cret"}})

    assert "s3cret" not in str(refused.value)


def test_a_full_lane_takes_nothing(kind: Kind, queue_url: str, queue: redis.Redis) -> None:
    """Given a lane with room for one more, If two are published, I expect neither; one alone is taken."""
    with kind(queue_url, group="shop", lane_events=3, spool=False) as publisher:
        publisher.publish_many([write("a"), write("b")])
        with pytest.raises(QueueFull, match="lane of group shop"):
            publisher.publish_many([write("c"), write("d")])
        assert queue.xlen(lua.lane("shop")) == 2
        assert counters(queue) == {"captured": 2}
        assert not queue.exists(lua.dropped("shop", "c"))

        publisher.publish(write("e"))
        assert queue.xlen(lua.lane("shop")) == 3


@pytest.mark.parametrize("size", [1, 2, 100])
def test_above_the_memory_mark_nothing_is_taken(kind: Kind, tmp_path: Path, size: int) -> None:
    """Given a small server, If events are published until it is full, I expect `full` well below maxmemory, however
    many events a call holds, and nothing written by a call that was refused."""
    with own_server(tmp_path / "queue", "--maxmemory", "6mb") as server, redis.Redis.from_url(server.url) as queue:
        with kind(server.url, group="shop", spool=False) as publisher:
            publisher.publish(write("odd"))
            batch: list[Publishable] = [{"type": "note", "data": {"text": "x" * 9_000}}] * size
            with pytest.raises(QueueFull, match="memory"):
                for _ in range(2_000):
                    publisher.publish_many(batch)

            memory = queue.info("memory")
            assert 0.7 < memory["used_memory"] / memory["maxmemory"] < 0.95
            length = queue.xlen(lua.lane("shop"))
            assert (length - 1) % size == 0
            assert counters(queue) == {"captured": length}
            with pytest.raises(QueueFull, match=server.address):
                publisher.publish_many(batch)
            assert queue.xlen(lua.lane("shop")) == length

            assert 0 < queue.pttl(lua.FULL) <= 1_000, "then the server looks at its memory again"
            queue.delete(lua.lane("shop"), lua.FULL)
            # Valkey frees in the background.
            servers.wait_until(lambda: queue.info("memory")["used_memory"] < 3_000_000, "room")
            publisher.publish_many(batch)


def test_at_the_memory_limit_the_queue_is_full(kind: Kind, tmp_path: Path) -> None:
    """Given a server that has no memory left at all, I expect `full` and not "unavailable", and nothing written."""
    with (
        own_server(tmp_path / "queue") as server,
        redis.Redis.from_url(server.url) as queue,
        kind(server.url, group="shop", spool=False) as publisher,
    ):
        publisher.publish(write("a"))
        queue.delete(lua.FULL)
        queue.config_set("maxmemory", "1mb")

        with pytest.raises(QueueFull, match=server.address):
            publisher.publish_many([write("b"), write("c")])

        assert queue.xlen(lua.lane("shop")) == 1
        assert counters(queue) == {"captured": 1}


def refusal(kind: Kind, url: str, deadline: float) -> tuple[str, float]:
    """What an unusable server is said to be, and how long that took, s."""
    with kind(url, group="shop", deadline=deadline, spool=False) as publisher:
        start = time.monotonic()
        with pytest.raises(QueueUnavailable) as unavailable:
            publisher.publish(write("a"))
        return str(unavailable.value), time.monotonic() - start


def test_a_server_that_is_away(kind: Kind) -> None:
    port = servers.free_port()

    def seconds() -> float:
        said, taken = refusal(kind, f"redis://:{PASSWORD}@127.0.0.1:{port}", 1.0)
        assert f"127.0.0.1:{port}" in said
        assert PASSWORD not in said
        return taken

    assert servers.at_best(seconds) < 1.0


def test_a_wrong_password(kind: Kind, queue_url: str, queue: redis.Redis) -> None:
    address = queue_url.rpartition("@")[2]

    said, _ = refusal(kind, f"redis://:{PASSWORD}@{address}", 1.0)

    assert address in said
    assert "password" in said
    assert PASSWORD not in said
    assert not queue.exists(lua.lane("shop"))


@pytest.mark.parametrize("connected", [False, True])
def test_a_server_that_is_frozen_costs_one_deadline(kind: Kind, tmp_path: Path, connected: bool) -> None:
    """Given a server that accepts connections and says nothing, I expect an error at the deadline, not
    later."""
    with (
        own_server(tmp_path / "queue") as server,
        kind(server.url, group="shop", deadline=0.5, spool=False) as publisher,
    ):
        if connected:
            publisher.publish(write("a"))

        def seconds() -> float:
            with server.frozen():
                start = time.monotonic()
                with pytest.raises(QueueUnavailable) as unavailable:
                    publisher.publish(write("b"))
                taken = time.monotonic() - start
            assert server.address in str(unavailable.value)
            assert PASSWORD not in str(unavailable.value)
            if connected:
                publisher.publish(write("c"))
            return taken

        assert 0.4 < servers.at_best(seconds) < 0.5 + 0.4
        publisher.publish(write("d"))


def test_a_refused_event_does_not_wait_for_ever_for_its_counter(kind: Kind, tmp_path: Path) -> None:
    """Given a frozen server, If an event is invalid, I expect that to be said, not that the server is away."""
    with (
        own_server(tmp_path / "queue") as server,
        kind(server.url, group="shop", deadline=0.3, spool=False) as publisher,
    ):
        with server.frozen():
            start = time.monotonic()
            with pytest.raises(EventInvalid):
                publisher.publish({"type": "file.write", "data": {}})
            assert time.monotonic() - start < PATIENCE


def test_scripts_may_be_flushed(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    publisher.publish({"id": "a", "type": "session.start", "data": {}})
    queue.script_flush()
    publisher.publish({"id": "b", "type": "session.start", "data": {}})

    assert ids(queue) == ["a", "b"]


def test_the_server_may_be_restarted_between_two_events(kind: Kind, tmp_path: Path) -> None:
    """Given an open publisher, If the server is killed and started again, I expect the next event to be taken at
    once."""
    with own_server(tmp_path / "queue", "--appendfsync", "always") as first:
        with kind(first.url, group="shop") as publisher:
            publisher.publish(write("a", id="a"))
            first.running.kill()
            first.running.wait()
            port = int(first.address.rpartition(":")[2])
            with own_server(tmp_path / "queue", port=port) as second, redis.Redis.from_url(second.url) as queue:
                publisher.publish(write("b", id="b"))
                assert ids(queue) == ["a", "b"]


def test_the_bell_is_rung_once_while_a_lane_waits(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given an empty lane, If many events come, I expect one ring, and the lane pending since the oldest of them."""
    before = milliseconds(queue)
    publisher.publish(write("a"))
    after = milliseconds(queue)
    since = queue.zscore(lua.PENDING, "shop")
    publisher.publish_many(numbered(1_200))
    publisher.publish(write("b"))

    assert before <= since <= after
    assert queue.zscore(lua.PENDING, "shop") == since
    assert queue.lrange(lua.BELL, 0, -1) == [b"lane shop"]


def test_a_bell_that_nobody_answers_does_not_grow(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given ten thousand rings that nobody answered, I expect the newest to be kept, and no more than these."""
    queue.rpush(lua.BELL, *(f"lane g{n}" for n in range(10_000)))

    publisher.publish(write("a"))

    assert queue.llen(lua.BELL) == 10_000
    assert queue.lindex(lua.BELL, 0) == b"lane shop"


def test_an_edit_drops_its_paths(publisher: Publisher | Blocking, queue: redis.Redis) -> None:
    """Given a written file and one only looked at, I expect the written one marked as dropped now, as it is stored."""
    before = milliseconds(queue) * 1000
    publisher.publish_many(
        [
            write("/home/dev/shop/src/cart.py", project="/home/dev/shop"),
            {"type": "tool.call", "data": {"tool": "read", "status": "ok", "path": "src/read.py"}},
        ]
    )

    mark = lua.dropped("shop", "src/cart.py")
    assert before <= int(queue.get(mark) or 0) <= (milliseconds(queue) + 1) * 1000
    assert queue.ttl(mark) > 3_000, "longer than any cached answer lives"
    assert not queue.exists(lua.dropped("shop", "src/read.py"))


NOT_ADDRESSES = [
    f"redis://:{PASSWORD}/x@127.0.0.1:6379",
    f"redis://:{PASSWORD}#x@127.0.0.1:6379",
    f"redis://:{PASSWORD}?x@127.0.0.1:6379",
    f"redis://:{PASSWORD}",
    f"http://:{PASSWORD}@127.0.0.1:6379",
    f"{PASSWORD}",
]


@pytest.mark.parametrize("url", NOT_ADDRESSES)
def test_an_address_that_is_none_keeps_its_password(kind: Kind, url: str) -> None:
    """Given a password that was not percent-encoded, I expect to be told so without a part of it being shown."""
    with pytest.raises(QueueUnknown) as unknown:
        kind(url, group="shop")

    assert "percent-encoded" in str(unknown.value)
    assert PASSWORD not in str(unknown.value)
    assert PASSWORD not in without_password(url)


def test_addresses_are_shown_without_their_passwords() -> None:
    shown = {
        f"redis://:{PASSWORD}@127.0.0.1:6379": "redis://127.0.0.1:6379",
        f"redis://user:{PASSWORD}@[::1]:6379/2": "redis://[::1]:6379/2",
        f"rediss://:p%40{PASSWORD}@valkey.example:6379?ssl_cert_reqs=none": "rediss://valkey.example:6379",
        f"redis://valkey.example?password={PASSWORD}": "redis://valkey.example",
        f"unix://:{PASSWORD}@/run/queue.sock?db=1": "unix:///run/queue.sock",
    }
    assert {url: without_password(checked(url)) for url in shown} == shown


@pytest.mark.parametrize("stack", ["", "[]", "{}", '{"valkey_url": null}', "\0"])
def test_where_no_stack_runs_that_is_said(tmp_path: Path, stack: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(stack)

    with pytest.raises(QueueUnknown, match="memlane up"):
        queue_url({"MEMLANE_HOME": str(tmp_path)})


def test_the_address_is_that_of_the_environment_or_of_the_running_stack(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text('{"valkey_url": "redis://stack"}')

    assert queue_url({"MEMLANE_HOME": str(tmp_path)}) == "redis://stack"
    assert queue_url({"MEMLANE_HOME": str(tmp_path), "MEMLANE_VALKEY_URL": "redis://env"}) == "redis://env"
    assert queue_url({"MEMLANE_HOME": str(tmp_path), "MEMLANE_VALKEY_URL": ""}) == "redis://stack"


def milliseconds(queue: redis.Redis) -> int:
    """The server's time."""
    seconds, microseconds = queue.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
