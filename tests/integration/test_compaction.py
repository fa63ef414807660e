"""Stage `compaction`: one checkpoint for each range of a session's events, whoever asks, however often, whatever dies.

events ──▶ lane ──▶ record ──▶ ledger ──▶ compaction ──▶ checkpoints, brief:{session}
             ▲                                  └── checkpoint.created ──┐
             └──────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import select

from memory import lua
from memory.compaction.checkpoint import Checkpoint
from memory.compaction.render import tokens_of
from memory.forget import Chosen, forget, matching
from memory.graph.writer import GraphWriter
from memory.ledger import Ledger, books, checkpoints, cursors, dead
from memory.ledger.log import read
from memory.ledger.schema import checkpoints as table
from memory.ledger.schema import events
from memory.settings import settings
from producers import Publisher
from tests import servers
from tests.opencode_databases import AUTH, LIMITER, LOGIN, recorded
from tests.opencode_databases import read as read_opencode
from tests.workers_here import workers_here
from workers import resources
from workers.stage import drain
from workers.stages import STAGES

GROUP = "shop"

#: What is not about the database runs on one kind of it.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def publish(url: str, *events: dict[str, Any], group: str = GROUP) -> None:
    with Publisher(url, source="test", group=group) as publisher:
        publisher.publish_many(events)


def wrote(path: str, session: str = "s1") -> dict[str, Any]:
    return {"type": "file.write", "session": session, "project": "/home/dev/shop", "data": {"path": path}}


def asked(text: str, session: str = "s1") -> dict[str, Any]:
    return {"type": "chat.message", "session": session, "agent": "build", "data": {"role": "user", "text": text}}


def compacting(session: str = "s1", **data: Any) -> dict[str, Any]:
    return {"type": "session.compacting", "session": session, "data": data}


def warning(percentage: float, session: str = "s1") -> dict[str, Any]:
    data = {"context_size": int(percentage * 1000), "limit": 100_000, "percentage": percentage}
    return {"type": "context.warning", "session": session, "data": data}


def work(group: str = GROUP) -> None:
    """Work off all there is: events become recorded, some of them a checkpoint, and its event recorded in turn."""
    drain(STAGES["record"], group)
    drain(STAGES["compaction"], group)
    drain(STAGES["record"], group)
    drain(STAGES["compaction"], group)


def caught_up() -> bool:
    """Work off what there is, and say whether that was all."""
    work()
    return not STAGES["compaction"].has_work(GROUP)


def stored(ledger: Ledger, session: str = "s1", group: str = GROUP) -> list[Checkpoint]:
    with ledger.read() as connection:
        return checkpoints.of_session(connection, group, session)


def ranges(ledger: Ledger, session: str = "s1", group: str = GROUP) -> list[tuple[int, int]]:
    return [(one.first_seq, one.last_seq) for one in stored(ledger, session, group)]


def created(ledger: Ledger, group: str = GROUP) -> list[Any]:
    """`checkpoint.created` events that are in the ledger."""
    with ledger.read() as connection:
        return read(connection, group, 0, 1 << 40, {"checkpoint.created"}, 10_000).events


def balanced(ledger: Ledger, group: str = GROUP) -> bool:
    stage = STAGES["compaction"]
    with ledger.read() as connection:
        found = books.of_stage(connection, stage.name, group, stage.types)
    return found.interest == found.done + found.pending + found.dead and not found.pending


def brief(queue: redis.Redis, session: str = "s1") -> str:
    """What a producer's hook reads: one GET."""
    return (queue.get(lua.brief(session)) or b"").decode()


def test_a_recorded_session_becomes_a_checkpoint(
    tmp_path: Path, queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None
) -> None:
    """Given OpenCode's recorded session, which it compacted, I expect a checkpoint of what came before that: in the
    ledger, told of by an event whose text is its summary, and a brief that goes on to what came after it."""
    events = read_opencode(recorded("single-session", tmp_path))
    with Publisher(queue_url, source="test", group=GROUP) as publisher:
        publisher.publish_many(events)
    work()

    (checkpoint,) = stored(ledger, LIMITER)
    compacted = [n for n, event in enumerate(events, 1) if event.type == "session.compacted"]
    assert (checkpoint.first_seq, checkpoint.last_seq) == (1, compacted[0])
    assert (checkpoint.reason, checkpoint.tokens_before) == ("the session was compacted", 16_160)
    assert tokens_of(checkpoint.summary) == checkpoint.tokens_after <= settings().checkpoint_tokens
    assert {file.text for file in checkpoint.content.files} == {"src/limiter.py", "tests/test_limiter.py", "README.md"}

    (event,) = created(ledger)
    assert (event.id, event.source, event.session, event.project) == (
        checkpoint.id,
        "memlane",
        LIMITER,
        "/home/dev/limiter",
    )
    assert event.data == {
        "checkpoint": checkpoint.id,
        "range": [1, compacted[0]],
        "reason": "the session was compacted",
        "written_by": "extract",
        "summary": checkpoint.summary,
        "tokens_before": 16_160,
        "tokens_after": checkpoint.tokens_after,
    }
    assert balanced(ledger)
    text = brief(queue, LIMITER)
    assert "Document it and commit (answered)" in text
    assert "Next: a sliding-window limiter." in text
    assert 13 * 86_400 < queue.ttl(lua.brief(LIMITER)) <= 14 * 86_400


@pytest.mark.parametrize("batch", ["1", "500"])
def test_duplicate_triggers_make_one_checkpoint_a_range(
    queue_url: str, ledger: Ledger, environ: dict[str, str], batch: str
) -> None:
    """Given the same reason several times, under one id and under others, and a late event, I expect one checkpoint for
    each range in which something happened."""
    with workers_here({**environ, "MEMLANE_BATCH_SIZE": batch}):
        trigger = {**compacting(), "id": "t1"}
        publish(queue_url, asked("Build it"), wrote("a.py"), trigger, trigger, compacting(), compacting(requested=True))
        work()
        publish(
            queue_url,
            trigger,
            {**wrote("late.py"), "time": "2026-01-01T00:00:00Z"},
            {"type": "session.compacted", "session": "s1", "data": {}},
        )
        work()
        publish(queue_url, {"type": "session.end", "session": "s1", "data": {}})
        work()

    assert ranges(ledger) == [(1, 3), (4, 8)]
    first, second = stored(ledger)
    assert [file.text for file in first.content.files] == ["a.py"]
    assert [file.text for file in second.content.files] == ["a.py", "late.py"], "carried over"
    assert second.content.objective
    assert second.content.objective.text == "Build it"
    assert [event.data["range"] for event in created(ledger)] == [[1, 3], [4, 8]]
    assert balanced(ledger)


def test_two_workers_at_once_make_one_checkpoint(queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given workers that ask for the same range at the same moment, as after a lease ran out, I expect one checkpoint."""
    publish(queue_url, *(wrote(f"f{n}.py") for n in range(50)), compacting())
    drain(STAGES["record"], GROUP)
    with ledger.read() as connection:
        events = read(connection, GROUP, 0, 51, STAGES["compaction"].types, 500)
    start = threading.Barrier(4)

    def retry() -> None:
        start.wait()
        STAGES["compaction"].before(GROUP, events)  # type: ignore[attr-defined]

    threads = [threading.Thread(target=retry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert ranges(ledger) == [(1, 51)]
    assert len(created(ledger)) == 1


def test_a_worker_that_was_fenced_off_stores_nothing(queue_url: str, ledger: Ledger, worker: None) -> None:
    publish(queue_url, wrote("a.py"), compacting())
    drain(STAGES["record"], GROUP)
    old = cursors.take_token(ledger, "compaction", GROUP)
    cursors.take_token(ledger, "compaction", GROUP)
    with pytest.raises(cursors.Fenced):
        STAGES["compaction"].step(GROUP, old, 500)
    assert ranges(ledger) == []


def test_a_checkpoint_that_nobody_was_told_of_is_told_of(
    queue_url: str, ledger: Ledger, environ: dict[str, str]
) -> None:
    """Given a lane that is full when the checkpoint's event is to be published, I expect the checkpoint to be stored, the
    stage to wait, no dead letter, and the event to come later, once."""
    from workers import publish as publishing

    with workers_here({**environ, "MEMLANE_REST_SECONDS": "0.1"}), pytest.MonkeyPatch.context() as patch:
        publish(queue_url, wrote("a.py"), compacting())
        drain(STAGES["record"], GROUP)
        patch.setattr(publishing, "LANE_EVENTS", 0)
        drain(STAGES["compaction"], GROUP)
        assert (ranges(ledger), created(ledger)) == ([(1, 2)], [])
        assert STAGES["compaction"].has_work(GROUP)
        patch.undo()
        servers.wait_until(caught_up, "the rest to end", 10)
        work()
    assert len(created(ledger)) == 1
    with ledger.read() as connection:
        assert dead.letters(connection, group=GROUP, stage=None, limit=10) == []


@on_sqlite
def test_warnings_ask_the_strategies(queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None) -> None:
    """Given warnings below and above the mark, I expect a brief at each, and a checkpoint only above it."""
    publish(queue_url, asked("Build it"), warning(70))
    work()
    assert ranges(ledger) == []
    assert "Build it" in brief(queue)
    publish(queue_url, wrote("a.py"), warning(92))
    work()
    (checkpoint,) = stored(ledger)
    assert (checkpoint.reason, checkpoint.strategy) == ("context is filled to 85 % or more", "ContextPercentage")
    assert checkpoint.tokens_before == 92_000
    assert "a.py" in brief(queue)


@on_sqlite
def test_sessions_know_nothing_of_each_other(
    tmp_path: Path, queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None
) -> None:
    """Given two recorded sessions of one project at the same time, I expect each one's state in its own brief only."""
    with Publisher(queue_url, source="test", group=GROUP) as publisher:
        publisher.publish_many(read_opencode(recorded("two-sessions", tmp_path)))
    publish(queue_url, compacting(AUTH), compacting(LOGIN))
    work()
    auth, login = brief(queue, AUTH), brief(queue, LOGIN)
    assert "api/users.py" in auth
    assert "web/login.ts" not in auth
    assert "web/login.ts" in login
    assert "api/users.py" not in login
    assert [len(stored(ledger, session)) for session in (AUTH, LOGIN)] == [1, 1]


@on_sqlite
def test_a_brief_is_kept_up_as_the_session_goes_on(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None
) -> None:
    """Given a session without any warning, I expect its brief to know of a turn once that is over."""
    publish(queue_url, asked("Build it"))
    work()
    publish(queue_url, wrote("a.py"), {"type": "completion", "session": "s1", "data": {"task": "Build it"}})
    work()
    assert "a.py" in brief(queue)
    assert "Build it (answered)" in brief(queue)
    assert ranges(ledger) == []


@on_sqlite
def test_old_sessions_that_are_imported_get_no_brief(
    queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None
) -> None:
    old = {"time": "2020-01-01T00:00:00Z"}
    publish(queue_url, {**asked("Build it"), **old}, {**compacting(), **old})
    work()
    assert ranges(ledger) == [(1, 2)]
    assert brief(queue) == ""


@on_sqlite
def test_nothing_happened_nothing_is_made(queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None) -> None:
    start = {"type": "session.start", "session": "s1", "data": {"title": "x"}}
    publish(queue_url, start, compacting(), {"type": "session.end", "session": "s1", "data": {}})
    publish(
        queue_url,
        {"type": "session.end", "data": {}},
        {"type": "context.warning", "data": {"context_size": 9, "limit": 9}},
    )
    work()
    assert ranges(ledger) == []
    assert queue.keys(lua.PREFIX + "brief:*") == []
    assert balanced(ledger)


@on_sqlite
def test_many_reasons_are_worked_off_in_turns(queue_url: str, ledger: Ledger, environ: dict[str, str]) -> None:
    """Given a turn that is over at once, I expect the cursor to move as far as checkpoints were made, and no further."""
    with workers_here({**environ, "MEMLANE_TURN_SECONDS": "0.000001"}):
        for n in range(3):
            publish(queue_url, wrote(f"f{n}.py"), compacting())
        drain(STAGES["record"], GROUP)
        drain(STAGES["compaction"], GROUP)
        assert ranges(ledger) == []
        drain(STAGES["compaction"], GROUP)
        assert ranges(ledger) == [(1, 2)]
        servers.wait_until(caught_up, "all of them", 20)
    assert ranges(ledger) == [(1, 2), (3, 4), (5, 6)]
    assert balanced(ledger)


def test_checkpoints_of_sessions_can_be_forgotten(queue_url: str, ledger: Ledger, worker: None) -> None:
    publish(queue_url, wrote("a.py"), compacting(), wrote("b.py", "s2"), compacting("s2"))
    work()
    with ledger.write() as connection:
        assert checkpoints.forget(connection, GROUP, {"s1", "nobody"}) == 1
    assert (len(stored(ledger)), len(stored(ledger, "s2"))) == (0, 1)


def test_a_real_worker_makes_checkpoints(
    queue_url: str, queue: redis.Redis, ledger: Ledger, environ: dict[str, str], tmp_path: Path
) -> None:
    """Given a worker process with the rights it has in the stack, I expect an event published to come back as a
    checkpoint, all by itself."""
    with servers.worker(environ, "record,compaction", tmp_path / "worker.log"):
        publish(queue_url, asked("Build it"), wrote("a.py"), compacting())
        servers.wait_until(lambda: created(ledger), "a checkpoint", 30)
        servers.wait_until(lambda: "a.py" in brief(queue), "a brief", 30)
    assert "Traceback" not in (tmp_path / "worker.log").read_text()
    resources.close()


# Forgetting


@pytest.fixture
def graph(graph_url: str) -> Iterator[GraphWriter]:
    writer = GraphWriter(graph_url)
    yield writer
    writer.close()


def forgetting(ledger: Ledger, queue: redis.Redis, graph: GraphWriter, group: str, *ids: str) -> dict[str, Any]:
    chosen = Chosen(ids=ids)
    counted = matching(ledger, group, chosen).as_json()
    done = forget(ledger, group, chosen, graph=graph, client=queue).as_json()
    assert counted["types"] == done["types"], "counted before as it was done"
    return done


def everywhere(ledger: Ledger, queue: redis.Redis, graph: GraphWriter, group: str, *sessions: str) -> str:
    """All that is known, as text."""
    drain(STAGES["episodes"], group)
    with ledger.read() as connection:
        rows = connection.execute(select(events.c.text, events.c.data).where(events.c.group_id == group)).all()
        made = connection.execute(select(table.c.content, table.c.summary).where(table.c.group_id == group)).all()
    episodes = graph.rows(group, "MATCH (e:Episodic) RETURN e.content")
    return "\n".join(str(found) for found in [rows, made, episodes, *(brief(queue, session) for session in sessions)])


def test_what_is_forgotten_is_in_no_checkpoint_either(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    graph_url: str,
    graph: GraphWriter,
    group: str,
) -> None:
    """Given a checkpoint of a session and another that carries over what the first one says, I expect both, the events
    that told of them, and the brief to be gone with an event that they tell of; those of other sessions stay; and the
    next checkpoint to be made of what is left."""
    with workers_here({**environ, "MEMLANE_GRAPH_URL": graph_url}):
        secret = {**asked("The secret plan"), "id": "secret"}
        publish(queue_url, secret, wrote("a.py"), compacting(), wrote("b.py"), compacting(), group=group)
        publish(queue_url, wrote("other.py", "s2"), compacting("s2"), group=group)
        work(group)
        assert everywhere(ledger, queue, graph, group, "s1").count("The secret plan") > 4

        done = forgetting(ledger, queue, graph, group, "secret")
        assert done["types"] == {"chat.message": 1, "checkpoint.created": 2}
        assert "secret plan" not in everywhere(ledger, queue, graph, group, "s1", "s2")
        assert ranges(ledger, group=group) == []
        assert ranges(ledger, "s2", group) == [(6, 7)]
        assert brief(queue) == ""

        publish(queue_url, wrote("c.py"), compacting(), group=group)
        work(group)
        (checkpoint,) = stored(ledger, group=group)
        assert [file.text for file in checkpoint.content.files] == ["a.py", "b.py", "c.py"]
        assert balanced(ledger, group)


@pytest.mark.parametrize("moment", ["before it is stored", "before it is told of", "after the brief is written"])
def test_what_is_forgotten_while_a_checkpoint_is_made(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    graph_url: str,
    graph: GraphWriter,
    group: str,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given events that are forgotten after the stage has read them, while it works or while what it has published waits
    in the lane, I expect what it makes to know nothing of them: what is recorded of it is empty, and counted."""
    from workers import compaction

    with workers_here({**environ, "MEMLANE_GRAPH_URL": graph_url}):
        secret = {**asked("The secret plan"), "id": "secret"}
        publish(queue_url, secret, wrote("a.py"), compacting(), group=group)
        drain(STAGES["record"], group)
        name = {"before it is stored": "made", "before it is told of": "publish"}.get(moment, "brief")
        step = getattr(compaction, name)
        done: list[Any] = []

        def forgets() -> None:
            if not done:
                done.append(forgetting(ledger, queue, graph, group, "secret"))

        def and_forgets(*arguments: Any, **options: Any) -> Any:
            if name == "publish":
                forgets()
            result = step(*arguments, **options)
            forgets()
            return result

        monkeypatch.setattr(compaction, name, and_forgets)
        drain(STAGES["compaction"], group)
        assert done
        work(group)
        assert "secret plan" not in everywhere(ledger, queue, graph, group, "s1")
        assert "a.py" in brief(queue)
        assert balanced(ledger, group)
        with ledger.read() as connection:
            found = books.of_group(connection, group)
        told_of_it = 0 if moment == "before it is stored" else 1
        assert sum(found.captured.values()) == found.recorded == 4
        assert found.forgotten == 1 + told_of_it


def test_checkpoints_made_elsewhere_are_recorded_whole(
    queue_url: str,
    queue: redis.Redis,
    ledger: Ledger,
    environ: dict[str, str],
    graph_url: str,
    graph: GraphWriter,
    group: str,
) -> None:
    """Given a checkpoint that an import brings along, I expect it to stay, though events of this group are forgotten:
    what it tells of are others. A garbled one is kept as well."""
    with workers_here({**environ, "MEMLANE_GRAPH_URL": graph_url}):
        publish(queue_url, {**asked("The secret plan"), "id": "secret"}, wrote("a.py"), group=group)
        work(group)
        forgetting(ledger, queue, graph, group, "secret")
        for covered in ([1, 2], [1, 1 << 80], "all"):
            data = {"checkpoint": "c", "range": covered, "summary": f"of another home: {covered}"}
            publish(
                queue_url,
                {"type": "checkpoint.created", "source": "memlane", "session": "s1", "data": data},
                group=group,
            )
        work(group)
        assert len(created(ledger, group)) == 3
        with ledger.read() as connection:
            assert books.of_group(connection, group).forgotten == 1
