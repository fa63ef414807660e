"""Hooks that come with Memlane: what they ask, publish and forget by the callables they are given, and without them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis

from memory.compaction_engine import CompactionEngine, ContextPercentage, TokenCount
from memory.events import Event, create, parse
from memory.mechanisms import BootstrapMechanism, CompactionMechanism, SnapshotMechanism, UserRequestMechanism
from memory.plugin_adapter import MemoryPluginAdapter, MemoryPluginHook, PluginContext, PluginResult
from producers import AsyncPublisher, Publisher

PROJECT = Path("/home/dev/shop")


class Lane:
    """Takes events as a publisher does: checked, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: dict[str, Any]) -> str:
        self.events.append(create(event, source="test", group=event.get("group", "g")))
        return self.events[-1].id

    async def publish_later(self, event: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return self.publish(event)


class Memory:
    """Answers as a recaller does, and forgets."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def recall(self, question: str, **options: Any) -> dict[str, Any]:
        self.asked.append((question, options))
        return {"context": "[Memory Context]\n- UTC only", "tokens": 7, "items": [{"id": "e1"}], "cache": "hit"}

    async def forget(self, what: str, **options: Any) -> dict[str, Any]:
        self.asked.append((what, options))
        return {"forgotten": 2}


def context(**metadata: Any) -> PluginContext:
    return PluginContext("s1", PROJECT, "ada", "2026-02-17T10:00:00.000+00:00", metadata)


def run(hook: MemoryPluginHook, **metadata: Any) -> PluginResult:
    """The result of a hook, triggered by its event."""
    adapter = MemoryPluginAdapter(project_root=PROJECT)
    adapter.register_hook(hook)
    [result] = asyncio.run(adapter.trigger(hook.trigger_event, context(**metadata)))
    return result


def test_publishers_can_be_handed_over_as_they_are(queue_url: str, queue: redis.Redis) -> None:
    """Given a real queue server, a publisher for plain code and one for coroutines. If a session ends, I expect its
    snapshot of each in the lane."""

    async def caller() -> list[PluginResult]:
        with Publisher(queue_url, source="test", group="shop") as plain:
            async with AsyncPublisher(queue_url, source="test", group="shop") as later:
                hooks = (SnapshotMechanism(plain.publish), SnapshotMechanism(later.publish))
                return [await hook.execute(context(reason="done")) for hook in hooks]

    results = asyncio.run(caller())

    events = [parse(fields[b"e"]) for _, fields in queue.xrange("memlane:lane:shop")]
    assert [event.id for event in events] == [result.data["event"] for result in results]
    assert {(event.type, event.session) for event in events} == {("checkpoint.created", "s1")}
    assert {event.data["summary"] for event in events} == {"Session s1 ended: done"}


@pytest.mark.parametrize(
    ("metadata", "question"),
    [
        ({"title": " Fix the limiter "}, "Fix the limiter"),
        ({"title": "Fix", "query": "rounding in carts"}, "rounding in carts"),
        ({"title": ""}, "recent work, decisions, errors and open tasks in shop"),
        ({"title": 7}, "recent work, decisions, errors and open tasks in shop"),
    ],
)
def test_bootstrap_asks_for_what_the_session_is_about(metadata: dict[str, Any], question: str) -> None:
    memory = Memory()

    result = run(BootstrapMechanism(memory.recall), **metadata)

    assert result.success
    assert result.message == "bootstrap: 1 memories loaded"
    assert result.data["context"] == "[Memory Context]\n- UTC only"
    assert (result.data["question"], result.data["tokens"], result.data["items"]) == (question, 7, 1)
    assert memory.asked == [(question, {})]


def test_bootstrap_has_a_budget_of_its_own() -> None:
    memory = Memory()
    run(BootstrapMechanism(memory.recall, tokens=300), title="Fix")

    assert memory.asked == [("Fix", {"tokens": 300})]


def engine_of(adapter: MemoryPluginAdapter, **options: Any) -> CompactionEngine:
    engine = CompactionEngine(PROJECT, **options)
    engine.register_strategy(ContextPercentage(80))
    adapter.set_compaction_engine(engine)
    return engine


@pytest.mark.parametrize("later", [False, True])
def test_compaction_is_published_if_the_engine_says_so(later: bool) -> None:
    """Given an engine without a compactor. If the context is full, I expect `session.compacting` for the session, whatever
    kind of function publishes, and the run in the engine's history."""
    lane, adapter = Lane(), MemoryPluginAdapter()
    hook = CompactionMechanism(adapter, lane.publish_later if later else lane.publish)
    engine = engine_of(adapter)

    result = run(hook, context_size=170_000, limit=200_000)

    [event] = lane.events
    assert (event.type, event.session, event.user, event.project) == ("session.compacting", "s1", "ada", str(PROJECT))
    reason = "context is filled to 80 % or more"
    assert event.data == {"auto": True, "tokens_before": 170_000, "reason": reason}
    assert result.success
    assert result.message == f"compaction: session.compacting was published: {reason}"
    assert (result.data["compact"], result.data["event"], result.data["strategy"]) == (
        True,
        event.id,
        "ContextPercentage",
    )
    assert [(stats.success, stats.tokens_before) for stats in engine.history] == [(True, 170_000)]


def test_the_size_of_the_context_is_its_token_count_for_strategies() -> None:
    lane, adapter = Lane(), MemoryPluginAdapter()
    engine = CompactionEngine(PROJECT)
    engine.register_strategy(TokenCount(50_000))
    adapter.set_compaction_engine(engine)

    assert run(CompactionMechanism(adapter, lane.publish), context_size=50_000, limit=200_000).data["compact"]


def test_an_engine_s_own_compactor_compacts() -> None:
    """Given an engine that compacts by itself. I expect that it is told why, and that nothing is published."""
    lane, adapter = Lane(), MemoryPluginAdapter()
    told: list[str] = []
    engine_of(adapter, compactor=lambda known: told.append(known["reason"]))

    result = run(CompactionMechanism(adapter, lane.publish), percentage=90.0, context_size=9, limit=10)

    assert result.message == "compaction: compacted: context is filled to 80 % or more"
    assert told == ["context is filled to 80 % or more"]
    assert lane.events == []


def test_nothing_is_compacted_unless_the_engine_says_so() -> None:
    lane, adapter = Lane(), MemoryPluginAdapter()
    engine = engine_of(adapter)

    result = run(CompactionMechanism(adapter, lane.publish), context_size=100, limit=200_000)

    assert result.success
    assert result.data["compact"] is False
    assert lane.events == []
    assert engine.history == []


def test_a_snapshot_tells_what_the_session_did() -> None:
    lane = Lane()

    result = run(
        SnapshotMechanism(lane.publish),
        title="Fix the limiter",
        reason="done",
        messages=[{"role": "user"}, {"role": "assistant"}],
        files=[f"src/{number}.py" for number in range(22)],
        errors=["no such table"],
        todos=[
            {"content": "count in UTC", "status": "completed"},
            {"content": "document it", "status": "pending"},
            {"content": "never mind", "status": "cancelled"},
        ],
        tokens=12_000,
    )

    [event] = lane.events
    assert (event.type, event.session) == ("checkpoint.created", "s1")
    assert event.data["checkpoint"] == "s1 2026-02-17T10:00:00.000+00:00"
    assert event.data["summary"].splitlines() == [
        "Session s1 (Fix the limiter) ended: done, after 2 messages",
        "Files: " + ", ".join(f"src/{number}.py" for number in range(20)) + ", and 2 more",
        "Completed: count in UTC",
        "Errors: no such table",
        "Open: document it",
    ]
    assert (event.data["messages"], event.data["tokens_before"]) == (2, 12_000)
    assert result.message == "snapshot: snapshot stored"
    assert result.data["event"] == event.id


@pytest.mark.parametrize(
    ("metadata", "summary"),
    [
        ({}, "Session s1 ended"),
        ({"messages": 12, "reason": None}, "Session s1 ended, after 12 messages"),
        ({"messages": "many", "files": "a.py", "todos": [7, {}]}, "Session s1 ended"),
        ({"summary": " Rounded prices. ", "messages": 3}, "Rounded prices."),
    ],
)
def test_a_snapshot_of_what_little_is_known(metadata: dict[str, Any], summary: str) -> None:
    assert run(SnapshotMechanism(Lane().publish), **metadata).data["summary"] == summary


def test_what_is_published_for_an_event_that_comes_twice_is_there_once() -> None:
    """Given a worker that runs a hook twice for the same event. I expect the same id, in the event's group; for another
    event another one."""
    lane = Lane()
    for event_id in ("e1", "e1", "e2"):
        run(SnapshotMechanism(lane.publish), event_id=event_id, group="shop", agent="build")

    first, again, other = (event.id for event in lane.events)
    assert first == again != other
    assert {(event.group, event.agent) for event in lane.events} == {("shop", "build")}


@pytest.mark.parametrize(
    ("metadata", "asked"),
    [
        ({"request": "how do we count?", "action": "query"}, "how do we count?"),
        ({"request": "how do we count?"}, "how do we count?"),
        ({"request": "/query how do we count?"}, "how do we count?"),
        ({"request": "remember when we fixed it?"}, "remember when we fixed it?"),
        ({"request": "forget it"}, "forget it"),
        ({"request": "/deploy now"}, "/deploy now"),
        ({"request": "note: why is this slow?"}, "note: why is this slow?"),
    ],
)
def test_a_question_is_answered(metadata: dict[str, Any], asked: str) -> None:
    memory = Memory()

    result = run(UserRequestMechanism(recall=memory.recall), **metadata)

    assert result.message == "user_request: 1 memories found"
    assert result.data["context"] == "[Memory Context]\n- UTC only"
    assert memory.asked == [(asked, {})]


@pytest.mark.parametrize(
    "metadata",
    [
        {"request": "we count in UTC", "action": "remember"},
        {"request": "/remember we count in UTC"},
        {"request": "Remember: we count in UTC"},
        {"request": "remember that we count in UTC"},
    ],
)
def test_what_is_to_be_remembered_is_published(metadata: dict[str, Any]) -> None:
    lane = Lane()

    result = run(UserRequestMechanism(publish=lane.publish), **metadata)

    [event] = lane.events
    assert (event.type, event.data) == ("user.request", {"request": "we count in UTC", "action": "remember"})
    assert result.data == {"action": "remember", "event": event.id, "message": "remembered"}


def test_what_was_published_already_is_not_published_again() -> None:
    """Given a worker that runs the hook for a request that is recorded. I expect no event, which would never end."""
    lane = Lane()

    result = run(UserRequestMechanism(publish=lane.publish), request="UTC", action="remember", event_id="e1")

    assert result.data["event"] == "e1"
    assert lane.events == []


def test_what_is_to_be_forgotten_is_forgotten() -> None:
    memory = Memory()

    result = run(UserRequestMechanism(forget=memory.forget), request="/forget the old password rule")

    assert result.data == {"action": "forget", "forgotten": 2, "message": "forgotten"}
    assert memory.asked == [("the old password rule", {"session": "s1"})]


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({}, "no request"),
        ({"request": "  "}, "no request"),
        ({"request": 7}, "no request"),
        ({"request": "x", "action": "burn"}, "unknown action: it must be one of remember, query, forget"),
    ],
)
def test_a_request_that_can_t_be_understood_fails(metadata: dict[str, Any], error: str) -> None:
    memory = Memory()
    result = run(UserRequestMechanism(Lane().publish, memory.recall, memory.forget), **metadata)

    assert not result.success
    assert error in result.message


@pytest.mark.parametrize(
    ("hook", "metadata", "missing"),
    [
        (BootstrapMechanism(), {}, "no `recall` callable was given"),
        (SnapshotMechanism(), {}, "no `publish` callable was given"),
        (UserRequestMechanism(), {"request": "x", "action": "query"}, "no `recall` callable was given"),
        (UserRequestMechanism(), {"request": "x", "action": "remember"}, "no `publish` callable was given"),
        (UserRequestMechanism(), {"request": "x", "action": "forget"}, "no `forget` callable was given"),
        (CompactionMechanism(MemoryPluginAdapter()), {"percentage": 99.0}, "no compaction engine"),
    ],
)
def test_without_what_it_needs_a_mechanism_fails_and_says_so(
    hook: MemoryPluginHook, metadata: dict[str, Any], missing: str
) -> None:
    result = run(hook, **metadata)

    assert not result.success
    assert missing in result.message


def test_without_a_way_to_start_a_compaction_the_result_says_so() -> None:
    adapter = MemoryPluginAdapter()
    engine = engine_of(adapter)

    result = run(CompactionMechanism(adapter), percentage=99.0)

    assert not result.success
    assert "no `publish` callable was given" in result.message
    assert not engine.history[0].success


def test_a_queue_that_is_away_makes_a_failed_result() -> None:
    def away(event: dict[str, Any]) -> str:
        raise ConnectionError("the queue server is away")

    assert run(SnapshotMechanism(away)).message == "snapshot: ConnectionError: the queue server is away"
