"""The main job under load: events from several publishers, through several workers, one of which is killed.

    4 publishers ──▶ 8 lanes ──▶ 2 workers (record … telemetry) ──▶ ledger, full text, graph
                                   └─ kill -9 in the middle, a new one takes its place

Each event must be in the ledger once, in the order in which its publisher published it; in the graph once; and the
books must balance.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import falkordb
import redis
from sqlalchemy import select

from memory import lua
from memory.ledger import Ledger, books, cursors
from memory.ledger.schema import events
from tests import servers
from tests.conftest import System
from workers.stage import Follower
from workers.stages import STAGES

EVENTS, PUBLISHERS, GROUPS = 20_000, 4, 8
QUEUES = "record,index,episodes,cache,telemetry,plugins,compaction,recall"

PUBLISH = """
import sys
from producers import Publisher

number, groups, url = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
events = [
    {"id": f"{groups[i % 8]}-{number}-{i:05d}", "group": groups[i % 8], "type": "file.write", "session": f"s{number}",
     "data": {"path": f"src/module{i % 50}.py", "number": i}}
    for i in range(int(sys.argv[4]))
]
with Publisher(url, source="test", group=groups[0]) as publisher:
    for start in range(0, len(events), 100):
        publisher.publish_many(events[start : start + 100])
"""


def test_each_event_once_and_in_order_though_a_worker_is_killed(system: System, group: str) -> None:
    names = [f"{group}-{n}" for n in range(GROUPS)]
    logs = system.folder
    # A dead worker's groups are taken over sooner than by default, so that the test needs no ten seconds more.
    environ = {**system.environ, "MEMLANE_LEASE_SECONDS": "4"}
    with (
        servers.worker(environ, QUEUES, logs / "one.log", name="one") as one,
        servers.worker(environ, QUEUES, logs / "two.log", name="two"),
        redis.Redis.from_url(system.queue_url) as queue,
    ):
        publishers = [_publisher(n, names, system.queue_url) for n in range(PUBLISHERS)]
        ledger = Ledger(system.database_url)
        servers.wait_until(lambda: _recorded(ledger) > EVENTS // 4, "a quarter of the events", 60)
        servers.kill(one)
        with servers.worker(environ, QUEUES, logs / "three.log", name="three"):
            for publisher in publishers:
                assert publisher.wait(60) == 0
            servers.wait_until(lambda: _recorded(ledger) == EVENTS, "all events in the ledger", 60)
            servers.wait_until(lambda: _all_passed(ledger), "all stages to have dealt with all events", 90)
            assert _all_done(ledger, names)

        _in_publish_order(ledger, names)
        _in_the_graph_once(system.graph_url, ledger, names)
        for name in names:
            with ledger.read() as connection:
                found = books.of_group(connection, name)
            captured = sum(int(count) for count in queue.hvals(lua.captured(name)))
            assert captured == EVENTS // GROUPS
            assert captured == found.recorded + found.duplicates + found.dead + queue.xlen(lua.lane(name))
            assert found.duplicates == found.dead == 0
        assert queue.zcard(lua.PENDING) == 0
        ledger.close()


def _publisher(number: int, groups: list[str], url: str) -> subprocess.Popen[bytes]:
    arguments = [str(number), ",".join(groups), url, str(EVENTS // PUBLISHERS)]
    return subprocess.Popen([sys.executable, "-c", PUBLISH, *arguments], cwd=Path(__file__).parents[2])


def _recorded(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return sum(cursors.position(connection, "record", group) for group in books.groups(connection))


def _all_passed(ledger: Ledger) -> bool:
    follows = {stage.name: stage.follows for stage in STAGES.values() if isinstance(stage, Follower) and stage.on}
    with ledger.read() as connection:
        return not any(books.lag(connection, follows).values())


def _all_done(ledger: Ledger, groups: list[str]) -> bool:
    with ledger.read() as connection:
        for stage in (stage for stage in STAGES.values() if stage.on):
            for group in groups:
                found = books.of_stage(connection, stage.name, group, stage.types)
                if found.pending or found.interest != found.done + found.dead:
                    return False
    return True


def _in_publish_order(ledger: Ledger, groups: list[str]) -> None:
    with ledger.read() as connection:
        rows = connection.execute(
            select(events.c.group_id, events.c.seq, events.c.session, events.c.data).order_by(
                events.c.group_id, events.c.seq
            )
        ).all()
    seqs, numbers = defaultdict(list), defaultdict(list)
    for row in rows:
        seqs[row.group_id].append(row.seq)
        numbers[row.group_id, row.session].append(json.loads(row.data)["number"])
    assert set(seqs) == set(groups)
    for found in seqs.values():
        assert found == list(range(1, EVENTS // GROUPS + 1)), "seq is dense"
    for (group, _), found in numbers.items():
        place = groups.index(group)
        assert found == list(range(place, EVENTS // PUBLISHERS, GROUPS)), "each once, in publish order"


def _in_the_graph_once(url: str, ledger: Ledger, groups: list[str]) -> None:
    client = falkordb.FalkorDB(unix_socket_path=url.removeprefix("unix://"))
    for group in groups:
        graph = client.select_graph(group)
        rows = graph.query("MATCH (e:Episodic) RETURN e.uuid").result_set
        assert Counter(Counter(row[0] for row in rows).values()) == {1: EVENTS // GROUPS}
    client.connection.close()
