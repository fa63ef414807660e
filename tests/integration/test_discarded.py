"""Messages in Celery's lists that are no wake-ups, and a queue server at its memory limit: neither ends a worker.

LPUSH memlane:record  <garbage>  ─▶ worker: discarded, counted, logged without its content
publish ─▶ bell ─▶ wake-up       ─▶ the same process works it off
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

from memory import lua
from memory.ledger import Ledger, cursors, migrate
from producers import Publisher
from tests import servers
from workers.app import QUEUES

#: Is in every message that is discarded, and may be in no log.
CONTENT = "Zebra-7f3a"
GROUP = "shop"


def body(*arguments: Any, named: Any = None, callbacks: Any = None) -> str:
    text = json.dumps([list(arguments), {} if named is None else named, {} if callbacks is None else callbacks])
    return b64encode(text.encode()).decode()


def message(**changes: Any) -> dict[str, Any]:
    """A good wake-up, as Celery 5 writes it, with some of it changed; by ... it is left out. `a__b` is b in a."""
    found: dict[str, Any] = {
        "body": body(GROUP, callbacks=dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "memlane.record",
            "id": "52aa2a53-eb5d-498e-961b-3c886531cb00",
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "retries": 0,
            "timelimit": [120, None],
            "root_id": "52aa2a53-eb5d-498e-961b-3c886531cb00",
            "parent_id": None,
            "argsrepr": "['shop']",
            "kwargsrepr": "{}",
            "origin": "gen1@host",
            "ignore_result": True,
            "stamps": {},
        },
        "properties": {
            "correlation_id": "52aa2a53-eb5d-498e-961b-3c886531cb00",
            "reply_to": "9a661112-9a67-3b89-a08e-0d01fff1ea9e",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "record"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "c5ff1182-d0de-4f45-9ac6-f762f7474e16",
        },
        # Read by nobody, so of no harm: here it makes the message one with content.
        "note": CONTENT,
    }
    for name, value in changes.items():
        place, _, inner = name.replace("content_", "content-").partition("__")
        holder, key = (found[place], inner) if inner else (found, place)
        if value is ...:
            del holder[key]
        else:
            holder[key] = value
    return found


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


GOOD = json.dumps(message())
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": CONTENT.encode(),
    "half of it": GOOD[: len(GOOD) // 2].encode(),
    "two of them": (GOOD + GOOD).encode(),
    "not UTF-8": b"\xff\xfe" + CONTENT.encode(),
    "UTF-16": GOOD.encode("utf-16"),
    "NUL bytes": b"\0" * 100,
    "pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94",
    "null": b"null",
    "a number": b"17",
    "an endless number": b"9" * 5_000,
    "NaN": b"NaN",
    "a string": json.dumps(CONTENT).encode(),
    "a list": json.dumps([CONTENT]).encode(),
    "an empty object": b"{}",
    "deep lists": nested(5_000).encode(),
    "deep objects": ('{"a":' * 2_000 + "1" + "}" * 2_000).encode(),
    "a large one": json.dumps(message(note=CONTENT * 100_000)).encode(),
    **{
        name: json.dumps(changed).encode()
        for name, changed in {
            "no headers": message(headers=...),
            "headers null": message(headers=None),
            "headers a list": message(headers=[CONTENT]),
            "headers a string": message(headers=CONTENT),
            "no id": message(headers__id=...),
            "id null": message(headers__id=None),
            "id a number": message(headers__id=7),
            "id a list": message(headers__id=[CONTENT]),
            "id with a line end": message(headers__id=f"a\nlevel=ERROR {CONTENT}"),
            "id too long": message(headers__id="a" * 1_000),
            "no task": message(headers__task=...),
            "task a list": message(headers__task=["memlane.record"]),
            "task an object": message(headers__task={"a": CONTENT}),
            "unknown task": message(headers__task=f"memlane.{CONTENT}"),
            "a task of Celery's": message(headers__task="celery.backend_cleanup"),
            "eta that is no time": message(headers__eta=CONTENT),
            "eta in a thousand years": message(headers__eta="3026-01-01T00:00:00"),
            "expires that is no time": message(headers__expires=[CONTENT]),
            "expired": message(headers__expires="2001-01-01T00:00:00"),
            "time limit that is none": message(headers__timelimit=CONTENT),
            "time limit of three": message(headers__timelimit=[1, 2, 3]),
            "compressed": message(headers__compression="application/x-gzip"),
            "compressed in an unknown way": message(headers__compression=CONTENT),
            "retries a string": message(headers__retries=CONTENT),
            "no properties": message(properties=...),
            "properties null": message(properties=None),
            "properties a list": message(properties=[CONTENT]),
            "no delivery tag": message(properties__delivery_tag=...),
            "delivery tag null": message(properties__delivery_tag=None),
            "delivery tag an object": message(properties__delivery_tag={"a": CONTENT}),
            "unknown encoding of the body": message(properties__body_encoding=CONTENT),
            "encoding of the body a number": message(properties__body_encoding=64),
            "no body": message(body=...),
            "body null": message(body=None),
            "body a list": message(body=[[GROUP], {}, {}]),
            "body not base64": message(body="%%%" + CONTENT),
            "body not ASCII": message(body="ü" + CONTENT),
            "body not JSON": message(body=b64encode(CONTENT.encode()).decode()),
            "body not UTF-8": message(body=b64encode(b'[["\xff"], {}, {}]').decode()),
            "body an object": message(body=b64encode(b'{"args": ["shop"], "kwargs": {}}').decode()),
            "body of two": message(body=b64encode(b'[["shop"], {}]').decode()),
            "body deep": message(body=b64encode(nested(4_000).encode()).decode()),
            "no content type": message(content_type=...),
            "pickled": message(content_type="application/x-python-serialize"),
            "content type a number": message(content_type=7),
            "unknown charset": message(content_encoding=CONTENT),
            "charset an object": message(content_encoding={"a": 1}),
            "no arguments": message(body=body()),
            "two arguments": message(body=body(GROUP, GROUP)),
            "argument null": message(body=body(None)),
            "argument a number": message(body=body(7)),
            "argument an object": message(body=body({"__type__": "datetime", "__value__": CONTENT})),
            "argument no group": message(body=body(f"../{CONTENT}")),
            "argument with a line end": message(body=body("shop\n")),
            "argument too long": message(body=body("a" * 65)),
            "named argument": message(body=body(named={"group": CONTENT})),
            "unknown named argument": message(body=body(GROUP, named={CONTENT: None})),
            "arguments an object": message(body=b64encode(b'[{"group": "shop"}, {}, {}]').decode()),
            "named a list": message(body=body(GROUP, named=[CONTENT])),
            "callback": message(body=body(GROUP, callbacks={"callbacks": [{"task": CONTENT}]})),
            "chord": message(body=body(GROUP, callbacks={"chord": {"task": CONTENT}})),
            "callbacks a list": message(body=body(GROUP, callbacks=[CONTENT])),
        }.items()
    },
}


@dataclass
class Worker:
    """A running worker for all queues, and what it works with."""

    pid: int
    url: str
    queue: redis.Redis
    publisher: Publisher
    ledger: Ledger
    log: Path

    def position(self, stage: str = "cache.index") -> int:
        """How many events a stage has dealt with; the default is one that is woken last."""
        with self.ledger.read() as connection:
            return cursors.position(connection, stage, GROUP)

    def works(self) -> None:
        """It works off a wake-up of each of several queues."""
        before = self.position("record")
        self.publisher.publish({"type": "file.write", "session": "s", "data": {"path": "src/cart.py"}})
        servers.wait_until(lambda: self.position() == before + 1, "the next event to be dealt with")

    def answers(self) -> bool:
        """Does it take commands?"""
        app = Celery("test", broker=self.url, set_as_current=False)
        app.conf.broker_transport_options = {"global_keyprefix": lua.PREFIX}
        # Not from kombu's pool: its connections of an earlier call may be dead.
        with app.connection_for_write() as connection:
            return len(app.control.ping(timeout=1.0, limit=1, connection=connection)) == 1

    def processes(self) -> set[int]:
        process = psutil.Process(self.pid)
        assert process.status() != psutil.STATUS_ZOMBIE
        return {process.pid, *(child.pid for child in process.children(recursive=True))}

    def discarded(self) -> dict[str, int]:
        return {queue.decode(): int(count) for queue, count in self.queue.hgetall(lua.DISCARDED).items()}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("discarded")
    database = f"sqlite:///{folder / 'ledger.sqlite3'}"
    log = folder / "worker.log"
    with servers.queue_server(folder / "queue") as url, closing(Ledger(database)) as ledger:
        migrate(ledger)
        environ = {
            "MEMLANE_HOME": str(folder),
            "MEMLANE_VALKEY_URL": url,
            "MEMLANE_DATABASE_URL": database,
            "MEMLANE_DATADOG": "false",
        }
        queues = ",".join(queue for queue in QUEUES if queue != "episodes")
        with (
            pytest.MonkeyPatch.context() as patch,
            servers.worker(environ, queues, log) as running,
            redis.Redis.from_url(url) as queue,
        ):
            patch.setenv("MEMLANE_HOME", str(folder))
            with Publisher(url, source="test", group=GROUP, deadline=10, spool=False) as publisher:
                yield Worker(running.pid, url, queue, publisher, ledger, log)


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_wake_up_is_discarded(worker: Worker, kind: str) -> None:
    """If a malformed message is put before a good wake-up, I expect the same processes to work off the latter, and the
    former to be counted, and logged without its content."""
    processes, before = worker.processes(), worker.discarded().get("record", 0)
    worker.queue.lpush(lua.PREFIX + "record", MALFORMED[kind])

    worker.works()

    assert worker.discarded()["record"] == before + 1
    assert worker.queue.llen(lua.PREFIX + "record") == 0
    assert worker.processes() == processes
    log = worker.log.read_text()
    assert f"discarded queue=record bytes={len(MALFORMED[kind])}" in log
    assert CONTENT not in log
    assert not any(word in log for word in ("Traceback", "level=ERROR", "level=CRITICAL"))


@pytest.mark.parametrize("queue", [queue for queue in QUEUES if queue != "episodes"])
@pytest.mark.parametrize("priority", ["", "\x06\x163", "\x06\x169"])
def test_every_queue_and_priority_is_watched(worker: Worker, queue: str, priority: str) -> None:
    before = worker.discarded().get(queue, 0)
    worker.queue.lpush(lua.PREFIX + queue + priority, CONTENT)
    servers.wait_until(lambda: worker.discarded().get(queue, 0) == before + 1, "the message to be counted")
    worker.works()


def test_a_flood_of_garbage_holds_nothing_up(worker: Worker) -> None:
    processes, before = worker.processes(), worker.discarded().get("record", 0)
    kinds = [raw for raw in MALFORMED.values() if len(raw) < 10_000]
    worker.queue.lpush(lua.PREFIX + "record", *(kinds[number % len(kinds)] for number in range(1_000)))

    worker.works()

    servers.wait_until(lambda: worker.discarded()["record"] == before + 1_000, "all of it to be counted")
    assert worker.processes() == processes


def test_what_a_wake_up_says_besides_is_of_no_effect(worker: Worker) -> None:
    """Given a wake-up with fields that nobody reads, of any type, I expect it to be worked off."""
    processes, before = worker.processes(), worker.discarded()
    wake_up = message(headers__shadow=[1], headers__stamps=7, headers__group={"a": 1}, headers__argsrepr=5, more=[{}])
    wake_up["properties"] |= {"delivery_info": None, "priority": "high", "reply_to": [], "correlation_id": {}}
    ahead = worker.position()
    # Published without a ring: only this wake-up leads to it.
    with worker.queue.pipeline() as pipeline:
        event = worker.publisher.check({"type": "completion", "session": "s", "data": {"task": "x"}})
        pipeline.xadd(lua.lane(GROUP), {"e": event.model_dump_json()})
        pipeline.lpush(lua.PREFIX + "record", json.dumps(wake_up))
        pipeline.execute()
    servers.wait_until(lambda: worker.position() == ahead + 1, "the event to be dealt with")
    assert worker.discarded() == before
    assert worker.processes() == processes


def test_malformed_commands_end_no_worker(worker: Worker) -> None:
    """Not that anybody but who has a worker's rights could send one."""
    processes = worker.processes()
    for raw in MALFORMED.values():
        worker.queue.publish(f"{lua.PREFIX}/0.celery.pidbox", raw)
    worker.works()
    assert worker.answers()
    assert worker.processes() == processes


def at_the_limit(queue: redis.Redis, then: Callable[[Any], object]) -> None:
    """Do something, and bring the server to its memory limit, in one step."""
    with queue.pipeline(transaction=True) as pipeline:
        then(pipeline)
        pipeline.config_set("maxmemory", 1)
        pipeline.execute()


def test_a_wake_up_is_worked_off_at_the_memory_limit(worker: Worker) -> None:
    """Given a server that has no room for kombu's note that a wake-up was taken. I expect it to be worked off by the same
    process all the same: draining is what makes room."""
    processes, before = worker.processes(), worker.discarded()
    event = worker.publisher.check({"type": "completion", "session": "s", "data": {"task": "x"}})

    ahead = worker.position("record")

    def put(pipeline: Any) -> None:
        pipeline.xadd(lua.lane(GROUP), {"e": event.model_dump_json()})
        pipeline.lpush(lua.PREFIX + "record", GOOD, CONTENT)

    try:
        at_the_limit(worker.queue, put)
        servers.wait_until(lambda: worker.position("record") == ahead + 1, "the event to be recorded")
        servers.wait_until(lambda: worker.queue.llen(lua.PREFIX + "record") == 0, "the garbage to be discarded")
        assert worker.processes() == processes
    finally:
        worker.queue.config_set("maxmemory", 0)
    worker.works()
    assert worker.processes() == processes
    assert worker.discarded() == before, "at the limit nothing can be counted"
    assert "it could not be counted" in worker.log.read_text()


def test_a_worker_that_loses_its_connection_at_the_memory_limit_comes_back(worker: Worker) -> None:
    processes = worker.processes()
    connections = worker.log.read_text().count("Connected to")
    try:
        at_the_limit(worker.queue, lambda pipeline: None)
        worker.queue.client_kill_filter(_type="normal", skipme=True)
        worker.queue.client_kill_filter(_type="pubsub")
        servers.wait_until(
            lambda: worker.log.read_text().count("Connected to") > connections, "the worker to come back"
        )
        assert worker.processes() == processes
    finally:
        worker.queue.config_set("maxmemory", 0)
    worker.works()
    assert worker.processes() == processes
    servers.wait_until(worker.answers, "the worker to take commands")
