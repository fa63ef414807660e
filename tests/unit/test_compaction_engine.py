"""The compaction engine: which strategy says what, and what is remembered of a run."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from memory.compaction_engine import (
    REMEMBERED,
    CompactionEngine,
    CompactionStats,
    CompactionStrategy,
    ContextPercentage,
    Decision,
    EntryCount,
    Inactivity,
    TokenCount,
)

PROJECT = Path("/home/dev/shop")


def ago(hours: float, zone: timezone | None = UTC) -> str:
    """A time as ISO 8601; without a zone, as the machine's clock shows it."""
    return (datetime.now(zone) - timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize(
    ("strategy", "context", "compact"),
    [
        (ContextPercentage(80), {"percentage": 80}, True),
        (ContextPercentage(80), {"percentage": 79.9}, False),
        (ContextPercentage(80), {"context_size": 160, "limit": 200}, True),
        (ContextPercentage(80), {"context_size": 159, "limit": 200}, False),
        (ContextPercentage(80), {"context_size": 10, "limit": 200, "percentage": 85.5}, True),
        (ContextPercentage(80), {"context_size": 160, "limit": 0}, False),
        (ContextPercentage(), {}, False),
        (TokenCount(1_000), {"token_count": 1_000}, True),
        (TokenCount(1_000), {"token_count": 999, "context_size": 2_000}, False),
        (TokenCount(1_000), {"context_size": 1_000}, True),
        (TokenCount(), {}, False),
        (EntryCount(10), {"entry_count": 10}, True),
        (EntryCount(10), {"entry_count": 9}, False),
        (EntryCount(), {}, False),
        (Inactivity(24), {"last_activity": ago(24.1)}, True),
        (Inactivity(24), {"last_activity": ago(23.9)}, False),
        (Inactivity(24), {"last_activity": ago(24.1, None)}, True),
        (Inactivity(24), {"last_activity": ago(23.9, None)}, False),
        (Inactivity(24), {"last_activity": ago(24.1, timezone(timedelta(hours=14)))}, True),
        (Inactivity(24), {"last_activity": ago(25), "entry_count": 0}, False),
        (Inactivity(24), {"last_activity": "yesterday"}, False),
        (Inactivity(), {}, False),
    ],
)
def test_built_in_strategies(strategy: CompactionStrategy, context: dict[str, Any], compact: bool) -> None:
    assert strategy.should_compact(context) is compact
    assert strategy.get_trigger_reason()


@pytest.mark.parametrize("strategy", [ContextPercentage(), TokenCount(), EntryCount(), Inactivity()])
@pytest.mark.parametrize("value", [None, True, "many", float("nan"), float("inf"), [], -1])
def test_garbage_is_no_reason_to_compact(strategy: CompactionStrategy, value: Any) -> None:
    names = ("percentage", "context_size", "limit", "token_count", "entry_count", "last_activity")

    assert strategy.should_compact(dict.fromkeys(names, value)) is False


def test_the_first_strategy_that_says_so_decides() -> None:
    engine = CompactionEngine(PROJECT)
    for strategy in (EntryCount(5), TokenCount(100), ContextPercentage(80)):
        engine.register_strategy(strategy)

    assert engine.decide({"token_count": 200, "percentage": 90}) == Decision(
        True, "session holds 100 tokens or more", "TokenCount"
    )
    assert engine.decide({"token_count": 1}) == Decision(
        False, "none of these said so: EntryCount, TokenCount, ContextPercentage"
    )


def test_without_a_strategy_nothing_is_compacted() -> None:
    assert CompactionEngine(PROJECT).decide({"percentage": 99}) == Decision(False, "there is no strategy")


@pytest.mark.parametrize("fails", [lambda: 1 / 0, lambda: sys.exit(1)])
def test_a_strategy_that_fails_is_left_out(fails: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    class Broken(CompactionStrategy):
        def should_compact(self, context: dict[str, Any]) -> bool:
            context.clear()
            return bool(fails())

        def get_trigger_reason(self) -> str:
            return ""

    engine = CompactionEngine(PROJECT)
    engine.register_strategy(Broken())
    engine.register_strategy(EntryCount(5))

    assert engine.decide({"entry_count": 5}).strategy == "EntryCount"
    assert "strategy failed name=Broken" in caplog.text


@pytest.mark.parametrize("wrong", [None, EntryCount, "EntryCount"])
def test_what_is_no_strategy_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="CompactionStrategy"):
        CompactionEngine(PROJECT).register_strategy(wrong)


def test_an_engine_touches_no_file(tmp_path: Path) -> None:
    """Given a project folder that is not there. If an engine of it decides and runs, I expect that it still is not."""
    engine = CompactionEngine(tmp_path / "project", lambda context: {})
    engine.register_strategy(EntryCount())
    engine.decide({})
    asyncio.run(engine.run({}))

    assert list(tmp_path.iterdir()) == []


def run(compactor: Callable[[dict[str, Any]], Any] | None, **context: Any) -> CompactionStats:
    engine = CompactionEngine(PROJECT, compactor)
    stats = asyncio.run(engine.run({"session_id": "s1", **context}, Decision(True, "full", "TokenCount")))
    assert engine.history == [stats]
    assert datetime.fromisoformat(stats.started).tzinfo is UTC
    assert 0 <= stats.seconds < 10
    return stats


def test_a_run_hands_the_reason_on_and_keeps_what_came_of_it() -> None:
    given: list[dict[str, Any]] = []

    async def compactor(context: dict[str, Any]) -> dict[str, Any]:
        given.append(context)
        return {"tokens_before": 900, "tokens_after": 90, "message": "summarised"}

    stats = run(compactor, token_count=1_000)

    assert given == [{"session_id": "s1", "token_count": 1_000, "reason": "full"}]
    assert (stats.session_id, stats.reason, stats.success, stats.message) == ("s1", "full", True, "summarised")
    assert (stats.tokens_before, stats.tokens_after) == (900, 90)


def test_a_plain_compactor_runs_in_a_thread() -> None:
    stats = run(lambda _: {"main": threading.current_thread() is threading.main_thread()}, context_size=70)

    assert stats.success
    assert stats.data == {"main": False}
    assert (stats.tokens_before, stats.tokens_after) == (70, 0)


@pytest.mark.parametrize(
    ("compactor", "message"),
    [
        (None, "no compactor is set: hand one to the engine"),
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda _: sys.exit(2), "SystemExit: 2"),
        (lambda _: {"success": False, "error": "busy"}, "busy"),
        (lambda _: {"success": False}, "failed"),
        (lambda _: 7, "TypeError: 'int' object is not iterable"),
    ],
)
def test_a_run_that_fails_says_why(compactor: Callable[[dict[str, Any]], Any] | None, message: str) -> None:
    stats = run(compactor, token_count=10**400)

    assert not stats.success
    assert stats.message == message


def test_a_run_that_is_cancelled_is_in_the_history() -> None:
    async def never_ends(_: dict[str, Any]) -> None:
        await asyncio.sleep(60)

    engine = CompactionEngine(PROJECT, never_ends)

    async def caller() -> None:
        async with asyncio.timeout(0.01):
            await engine.run({"session_id": "s1"})

    with pytest.raises(TimeoutError):
        asyncio.run(caller())
    assert [(stats.success, stats.message, stats.reason) for stats in engine.history] == [
        (False, "was cancelled", "asked for")
    ]


def test_the_history_is_bounded() -> None:
    engine = CompactionEngine(PROJECT)

    async def many() -> None:
        for number in range(REMEMBERED + 5):
            await engine.run({"session_id": str(number)})

    asyncio.run(many())

    assert [engine.history[0].session_id, len(engine.history)] == ["5", REMEMBERED]
