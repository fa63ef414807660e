"""The judge of every run: what was published must be in the ledger and in the graph once, in order, and in the books.

Nothing here believes a counter: missing, doubled and reordered are found by looking at each numbered event.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field

import falkordb
import redis
from redis.exceptions import ResponseError
from sqlalchemy import func, select

from memory import lua
from memory.graph.facts import episode_uuid
from memory.ledger import Ledger, LedgerUnavailable
from memory.ledger.schema import dead_letters, events, search_blocks, stage_cursors
from ops import status
from ops.home import Home
from tests import servers
from tests.faults.numbered import Sent
from tests.faults.rig import Rig
from tests.faults.watch import Watch
from workers.stage import Follower
from workers.stages import STAGES

#: A lane with work may not sleep longer than this with default settings, s.
MOST_ASLEEP = 15.0


@dataclass
class Verdict:
    """What is wrong with a run: all zero and empty where nothing is."""

    #: Events that were published and aren't there.
    missing: int = 0
    #: Events that are there more than once.
    doubled: int = 0
    #: Events that come after one that their publisher published later.
    reordered: int = 0
    #: Groups whose seqs are not 1, 2, 3, ….
    gaps: int = 0
    #: Events that are there and were not published.
    strange: int = 0
    #: Episodes that are not in the graph, and episodes, facts and mentions that are there more than once.
    graph_missing: int = 0
    graph_doubled: int = 0
    #: Events that the full text does not know, or knows too often.
    unfound: int = 0
    #: Groups whose books don't balance, or in which something is still pending, and why.
    books: list[str] = field(default_factory=list)
    #: Dead letters, of all stages.
    dead: int = 0

    @property
    def clean(self) -> bool:
        return self == Verdict()


def recovered(rig: Rig, sent: Sent, *, seconds: float, since: float | None = None, dead: int = 0) -> float:
    """Wait until all that was published is in the ledger, but for `dead` letters of stage `record`, and every stage has
    dealt with it.

    Args:
        since: when the fault was over, by `time.monotonic()`; default: now.

    Returns:
        How long it took, s.

    Raises:
        AssertionError: it is not done after `seconds`; says what is left.
    """
    since = since or time.monotonic()
    deadline = time.monotonic() + seconds
    while left := left_to_do(rig, sent, dead):
        assert time.monotonic() < deadline, f"not done after {seconds} s: {'; '.join(left[:20])}"
        # Not all the time: the workers need the machine.
        servers.wait_until(_Pause(0.1), "a moment")
    return time.monotonic() - since


def judge(rig: Rig, sent: Sent) -> Verdict:
    """Look at every event that was published, and at everything that is there."""
    found = Verdict()
    for group in sent.groups:
        ids = _look_into_ledger(rig, sent, group, found)
        _look_into_graph(rig, group, ids, found)
        _look_into_books(rig, group, found)
    return found


def recorded(ledger: Ledger, sent: Sent) -> int:
    """Events of these groups that are in the ledger."""
    with ledger.read() as connection:
        query = select(func.count()).where(events.c.group_id.in_(sent.groups))
        return int(connection.execute(query).scalar_one())


def settle(
    rig: Rig, sent: Sent, *, since: float | None = None, seconds: float = 45.0, watch: Watch | None = None
) -> float:
    """All of it: wait until everything is done, judge it, say how long recovery took, and fail if anything is wrong.

    Returns:
        How long recovery took, s.
    """
    took = recovered(rig, sent, since=since, seconds=seconds)
    found = judge(rig, sent)
    slept = watch.longest if watch else 0.0
    tell(f"{sent.total} events, {len(sent.groups)} groups: recovered in {took:.1f} s, {told(found)}")
    assert found.clean, found
    if watch:
        tell(f"longest sleep of a lane with work {slept:.1f} s")
        assert slept < MOST_ASLEEP
    return took


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def told(found: Verdict) -> str:
    return (
        f"missing {found.missing}, doubled {found.doubled}, reordered {found.reordered}; "
        f"graph: missing {found.graph_missing}, doubled {found.graph_doubled}; "
        f"books {'balanced' if not found.books else found.books}"
    )


class _Pause:
    """True once its time is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __call__(self) -> bool:
        return time.monotonic() >= self._end


def left_to_do(rig: Rig, sent: Sent, dead: int = 0) -> list[str]:
    """What is still to be done, by name."""
    try:
        with rig.ledger.read() as connection:
            query = select(stage_cursors).where(stage_cursors.c.group_id.in_(sent.groups))
            seqs = {(row.group_id, row.stage): row.seq for row in connection.execute(query)}
        lanes = {group: int(rig.broker.client.xlen(lua.lane(group))) for group in sent.groups}
        pending = {group.decode("utf-8", "replace") for group in rig.broker.client.zrange(lua.PENDING, 0, -1)}
    except (redis.RedisError, LedgerUnavailable) as error:
        return [f"can't look: {error}"]
    recorded = sum(seqs.get((group, "record"), 0) for group in sent.groups)
    left = [] if recorded + dead >= sent.total else [f"{sent.total - dead - recorded} events not in the ledger"]
    left += [f"{count} entries in lane {group}" for group, count in lanes.items() if count]
    left += [f"{group} is pending" for group in sorted(pending.intersection(sent.groups))]
    for stage in STAGES.values():
        if isinstance(stage, Follower) and stage.on:
            for group in sent.groups:
                behind = seqs.get((group, stage.follows), 0) - seqs.get((group, stage.name), 0)
                left += [f"{stage.name} of {group} is {behind} behind"] if behind else []
    return left


def _look_into_ledger(rig: Rig, sent: Sent, group: str, found: Verdict) -> list[str]:
    """Returns the ids that are there."""
    expected = set(sent.ids(group))
    with rig.ledger.read() as connection:
        query = select(events.c.n, events.c.id, events.c.seq, events.c.session, events.c.data)
        rows = connection.execute(query.where(events.c.group_id == group).order_by(events.c.seq)).all()
        found.dead += connection.execute(select(func.count()).where(dead_letters.c.group_id == group)).scalar_one()
        of_group = search_blocks.c.group_id == group
        indexed = connection.execute(select(func.sum(search_blocks.c.events)).where(of_group)).scalar() or 0
    ids = [row.id for row in rows]
    found.missing += len(expected.difference(ids))
    found.strange += len(set(ids) - expected)
    found.gaps += [row.seq for row in rows] != list(range(1, len(rows) + 1))
    found.unfound += abs(len(rows) - indexed)
    numbers_of: dict[str, list[int]] = {}
    for row in rows:
        numbers_of.setdefault(row.session, []).append(json.loads(row.data)["number"])
    for numbers_found in numbers_of.values():
        found.doubled += len(numbers_found) - len(set(numbers_found))
        latest = -1
        for number in numbers_found:
            found.reordered += number < latest
            latest = max(latest, number)
    return ids


def _look_into_graph(rig: Rig, group: str, ids: list[str], found: Verdict) -> None:
    client = falkordb.FalkorDB(unix_socket_path=rig.graph.url.removeprefix("unix://"))
    try:
        graph = client.select_graph(group)
        times = Counter(row[0] for row in graph.ro_query("MATCH (e:Episodic) RETURN e.uuid").result_set)
        found.graph_missing += sum(episode_uuid(id) not in times for id in ids)
        found.graph_doubled += sum(count - 1 for count in times.values())
        for relation in ("RELATES_TO", "MENTIONS"):
            query = f"MATCH ()-[e:{relation}]->() RETURN count(e), count(DISTINCT e.uuid)"
            ((count, distinct),) = graph.ro_query(query).result_set
            found.graph_doubled += count - distinct
            found.graph_missing += relation == "MENTIONS" and count < len(ids)
    except ResponseError:
        # There is no graph of this name.
        found.graph_missing += len(ids)
    finally:
        client.connection.close()


def _look_into_books(rig: Rig, group: str, found: Verdict) -> None:
    (books,) = status.look(
        rig.broker.client, Home(rig.home, rig.environ["MEMLANE_VALKEY_URL"]), rig.ledger, group
    ).groups
    pending = books.pending + books.spooled + sum(stage.pending for stage in books.stages)
    if not books.balanced or pending:
        found.books.append(f"{group}: off by {books.off_by}, pending {pending}: {books}")
