"""Garbage, wherever somebody else might write: Celery's lists, the bell, `pending`, and lanes.

    LPUSH memlane:record …, LPUSH memlane:bell …    discarded
    ZADD memlane:pending …, SADD memlane:groups …   no group's name: passed over
    publish.lua, by a broken publisher              dead letters, and the lane goes on

Random bytes, JSON of all shapes, and real wake-ups with some bytes changed, from a printed seed, while numbered events
are published and worked on by workers that must not end.
"""

from __future__ import annotations

import json
import random
import secrets
import time

import redis

from memory import lua
from producers.calls import Call
from tests import servers
from tests.faults.load import all_published, under_way
from tests.faults.numbered import Sent
from tests.faults.oracle import judge, recovered, settle, tell, told
from tests.faults.programs import QUEUES
from tests.faults.rig import Rig, groups

#: Pieces of garbage of each kind.
PIECES = 150
#: What a wake-up looks like, as Celery writes it.
WAKE_UP = json.dumps(
    {
        "body": "W1sic2hvcCJdLCB7fSwge31d",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "memlane.record", "id": "4e7", "root_id": "4e7", "retries": 0, "eta": None},
        "properties": {
            "correlation_id": "4e7",
            "delivery_info": {"exchange": "", "routing_key": "record"},
            "body_encoding": "base64",
            "delivery_tag": "c5f",
        },
    }
).encode()


def test_garbage_stops_nothing(system: Rig) -> None:
    """Given garbage in every list and lane, I expect the workers to go on as the same processes, what was found in lanes in
    the dead letters, and all numbered events as ever."""
    seed = secrets.randbelow(1_000_000)
    tell(f"seed {seed}")
    chance = random.Random(seed)
    sent = Sent(groups(3), 100, ("p0", "p1"))
    queue = system.broker.client
    starts = {name: system.log(name).count(" ready.") for name in ("lanes", "graph")}
    publishers = under_way(system, sent, seconds=1.5)
    in_lanes = 0
    for _ in range(PIECES):
        queue.lpush(lua.PREFIX + chance.choice(QUEUES.split(",")), _garbage(chance))
        queue.lpush(lua.BELL, _garbage(chance))
        call = Call(chance.choice(sent.groups), [_garbage(chance)], [])
        in_lanes += lua.run(queue, "publish", call.keys, call.arguments(1_000_000))[0] == b"ok"
    all_published(publishers)
    servers.wait_until(lambda: not _left(queue), "the lists to be empty")
    recovered(system, sent, seconds=45)
    for name, count in starts.items():
        assert system.worker_named(name).alive, f"worker {name} has ended"
        assert system.log(name).count(" ready.") == count, f"worker {name} began anew"
    found = judge(system, sent)
    tell(told(found))
    assert found.dead == in_lanes
    found.dead = 0
    assert found.clean, found


def test_what_is_no_groups_name_is_passed_over(system: Rig) -> None:
    """Given names among the pending groups, and among those that are known, that no group can have, If a lane's ring is
    lost, I expect the sweep to heal that in spite of them, and the status to be told."""
    sent = Sent(groups(), 100)
    queue = system.broker.client
    for name in (b"\xff\xfe", b"\x00", b"a b", b"", b"x" * 500):
        queue.zadd(lua.PENDING, {name: 0})
        queue.sadd(lua.GROUPS, name)
    # A lane that is pending rings no bell.
    queue.zadd(lua.PENDING, {sent.groups[0]: time.time() * 1000})
    system.publish(sent)
    settle(system, sent)


def _left(queue: redis.Redis) -> int:
    return sum(int(queue.llen(lua.PREFIX + name)) for name in (*QUEUES.split(","), "bell"))


def _garbage(chance: random.Random) -> bytes:
    """Random bytes, JSON of a wrong shape, or a wake-up with some bytes changed."""
    kind = chance.randrange(3)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 300))
    if kind == 1:
        return json.dumps(
            chance.choice([None, 1, [], {}, [[]], {"body": 1}, {"headers": []}, "lane x", "ask"])
        ).encode()
    text = bytearray(WAKE_UP)
    for _ in range(chance.randrange(1, 6)):
        text[chance.randrange(len(text))] = chance.randrange(256)
    return bytes(text)
