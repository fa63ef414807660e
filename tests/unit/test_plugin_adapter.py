"""Hooks: their order, their time, and that none stops another one, nor its caller."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from memory import calling, hook_run
from memory.compaction_engine import CompactionEngine, TokenCount
from memory.events import ALIASES, DATA
from memory.plugin_adapter import (
    FunctionBasedHook,
    HookEvent,
    MemoryPluginAdapter,
    MemoryPluginHook,
    PluginContext,
    PluginResult,
    hook_event,
)
from tests.servers import wait_until

CONTEXT = PluginContext("s1", project_root=Path("/home/dev/shop"), user_id="u1", metadata={"limit": 100})
#: What a hook may take that a test expects to run over its time, s.
SHORT = 0.05


def hook(func: Callable[[PluginContext], Any], name: str = "hook", timeout: float | None = 30.0) -> MemoryPluginHook:
    return FunctionBasedHook(name, HookEvent.ON_SESSION_START, func, timeout)


def adapter_of(*hooks: MemoryPluginHook) -> MemoryPluginAdapter:
    adapter = MemoryPluginAdapter()
    for one in hooks:
        adapter.register_hook(one)
    return adapter


def triggered(adapter: MemoryPluginAdapter) -> list[PluginResult]:
    return asyncio.run(adapter.trigger(HookEvent.ON_SESSION_START, CONTEXT))


# What misbehaves.


async def raises(_: PluginContext) -> NoReturn:
    raise ValueError("no such thing")


def raises_plainly(_: PluginContext) -> NoReturn:
    raise ValueError("no such thing")


async def exits(_: PluginContext) -> NoReturn:
    sys.exit("over and out")


def exits_plainly(_: PluginContext) -> NoReturn:
    sys.exit("over and out")


async def raises_what_is_no_exception(_: PluginContext) -> NoReturn:
    raise GeneratorExit


def makes_up_ctrl_c(_: PluginContext) -> NoReturn:
    raise KeyboardInterrupt


async def raises_what_cannot_be_said(_: PluginContext) -> NoReturn:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Unspeakable


async def sleeps(_: PluginContext) -> None:
    await asyncio.sleep(60)


def sleeps_plainly(_: PluginContext) -> None:
    released.wait(60)


async def does_not_give_way(_: PluginContext) -> None:
    while not released.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue


async def says_it_is_cancelled(_: PluginContext) -> NoReturn:
    raise asyncio.CancelledError


async def cancels_itself(_: PluginContext) -> dict[str, Any]:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return {}


async def times_out_within(_: PluginContext) -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(60)


async def returns_garbage(_: PluginContext) -> list[int]:
    return [1, 2]


async def spoils_its_context(context: PluginContext) -> NoReturn:
    context.metadata.clear()
    raise ValueError("spoilt")


#: Far from the 60 s that a hook here would take, also on a busy machine, s.
PATIENCE = 20.0
#: Lets the threads and tasks end that a test has left behind.
released = threading.Event()


@pytest.fixture(autouse=True)
def _release(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(hook_run, "GRACE_SECONDS", SHORT)
    released.clear()
    yield
    released.set()


@pytest.mark.parametrize(
    ("func", "said"),
    [
        (raises, "ValueError: no such thing"),
        (raises_plainly, "ValueError: no such thing"),
        (exits, "SystemExit: over and out"),
        (exits_plainly, "SystemExit: over and out"),
        (raises_what_is_no_exception, "GeneratorExit"),
        (makes_up_ctrl_c, "RuntimeError: KeyboardInterrupt"),
        (raises_what_cannot_be_said, "Unspeakable"),
        (sleeps, f"took longer than {SHORT} s"),
        (sleeps_plainly, f"took longer than {SHORT} s"),
        (does_not_give_way, f"took longer than {SHORT} s, and goes on although it was cancelled"),
        (says_it_is_cancelled, "was cancelled"),
        (cancels_itself, "was cancelled"),
        (times_out_within, "TimeoutError"),
        (returns_garbage, "returned what is no dictionary, but of type list"),
        (spoils_its_context, "ValueError: spoilt"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hook_that_misbehaves_stops_neither_others_nor_the_caller(
    func: Callable[[PluginContext], Any], said: str
) -> None:
    """Given a hook that misbehaves between two that don't. If their event comes, I expect a failed result of that one,
    good ones of the others, each with the whole context, and that the caller goes on long before the bad one would."""
    seen: list[Any] = []

    async def good(context: PluginContext) -> dict[str, Any]:
        seen.append(dict(context.metadata))
        return {"good": True}

    adapter = adapter_of(hook(good, "first"), hook(func, "bad", timeout=SHORT), hook(good, "last"))

    async def caller() -> tuple[list[PluginResult], float]:
        began = time.monotonic()
        results = await adapter.trigger(HookEvent.ON_SESSION_START, CONTEXT)
        took = time.monotonic() - began
        await asyncio.sleep(0)  # a cancellation that got through would arrive here
        released.set()
        return results, took

    results, took = asyncio.run(caller())

    assert [result.success for result in results] == [True, False, True]
    assert results[1] == PluginResult(False, f"bad: {said}", {"error": said})
    assert seen == [{"limit": 100}, {"limit": 100}]
    assert took < PATIENCE


@pytest.mark.parametrize("timeout", ["soon", 0, -1, float("nan")])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(TypeError, match=r"FunctionBasedHook\.timeout must be seconds above zero"):
        adapter_of(hook(lambda _: {}, timeout=timeout))


def test_a_hook_without_a_timeout_takes_as_long_as_it_likes() -> None:
    assert [result.success for result in triggered(adapter_of(hook(lambda _: {}, timeout=None)))] == [True]


def test_a_coroutine_that_blocks_past_its_time_has_failed() -> None:
    async def blocks(_: PluginContext) -> dict[str, Any]:
        released.wait(3 * SHORT)  # nothing can interrupt that
        return {}

    [result] = triggered(adapter_of(hook(blocks, timeout=SHORT)))

    assert not result.success
    assert "blocks the event loop" in result.message


def test_why_a_hook_failed_is_told_without_what_it_was_given() -> None:
    async def tells(context: PluginContext) -> None:
        raise ValueError(f"no such limit: {context.metadata['limit']}")

    reasons = [result.reason for result in triggered(adapter_of(hook(tells), hook(lambda _: {"success": False}, "b")))]

    assert re.fullmatch(r"ValueError in test_plugin_adapter\.py:\d+", reasons[0])
    assert reasons[1] == "reported a failure"


def test_a_hook_that_runs_over_its_time_may_clean_up() -> None:
    """Given a hook that closes what it opened. If its time is over, I expect that this is done before the next runs."""
    done: list[str] = []

    async def tidy(_: PluginContext) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            done.append("closed")

    triggered(adapter_of(hook(tidy, "tidy", SHORT), hook(lambda _: done.append("next"), "next")))

    assert done == ["closed", "next"]


def test_tasks_that_a_hook_leaves_behind_end_with_it() -> None:
    """Given a hook that starts a task, which starts another one, and does not wait for them; and a task of the caller's.
    If the hook has returned, I expect that both are cancelled, and the caller's goes on."""
    left: list[asyncio.Task[None]] = []

    async def leaf() -> None:
        await asyncio.sleep(60)

    async def branch() -> None:
        left.append(asyncio.create_task(leaf()))
        await asyncio.sleep(60)

    async def leaks(_: PluginContext) -> dict[str, Any]:
        left.append(asyncio.create_task(branch()))
        await asyncio.sleep(0)
        return {"leaked": True}

    async def caller() -> tuple[list[PluginResult], bool]:
        own = asyncio.create_task(asyncio.sleep(60))
        results = await adapter_of(hook(leaks)).trigger("session.start", CONTEXT)
        going_on = not own.done()
        own.cancel()
        return results, going_on

    results, going_on = asyncio.run(caller())

    assert results[0].success
    assert [task.cancelled() for task in left] == [True, True]
    assert going_on


def test_a_task_left_behind_that_would_end_the_process_does_not() -> None:
    async def ends_all() -> None:
        sys.exit(3)

    async def leaks(_: PluginContext) -> None:
        leaks.task = asyncio.create_task(ends_all())  # type: ignore[attr-defined]

    assert [result.success for result in triggered(adapter_of(hook(leaks), hook(lambda _: None, "last")))] == [
        True,
        True,
    ]


def test_execute_gives_a_failed_result_if_its_caller_is_cancelled() -> None:
    async def caller() -> PluginResult:
        running = asyncio.create_task(hook(sleeps).execute(CONTEXT))
        await asyncio.sleep(0)
        running.cancel()
        return await running

    assert asyncio.run(caller()) == PluginResult(False, "hook: was cancelled", {"error": "was cancelled"})


def test_trigger_ends_if_its_caller_is_cancelled() -> None:
    """Given two hooks. If the caller's time is over while the first runs, I expect that it learns of it, that the first
    has ended, and that the second does not run."""
    ran: list[str] = []

    async def first(_: PluginContext) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ran.append("first has ended")

    async def caller() -> None:
        async with asyncio.timeout(SHORT):
            await adapter_of(hook(first, "first"), hook(lambda _: ran.append("second"), "second")).trigger(
                "session.start", CONTEXT
            )

    with pytest.raises(TimeoutError):
        asyncio.run(caller())
    assert ran == ["first has ended"]


def test_a_plain_function_does_not_block_the_loop() -> None:
    """Given a plain hook that waits for what only the loop can do. If it runs, I expect that this is done meanwhile."""
    loop_runs = threading.Event()

    async def caller() -> list[PluginResult]:
        asyncio.get_running_loop().call_later(0.01, loop_runs.set)
        return await adapter_of(hook(lambda _: {"went_on": loop_runs.wait(10)})).trigger("session.start", CONTEXT)

    assert asyncio.run(caller())[0].data == {"went_on": True}


def test_a_plain_function_may_return_a_coroutine() -> None:
    async def later(context: PluginContext) -> dict[str, Any]:
        return {"session": context.session_id}

    assert triggered(adapter_of(hook(lambda context: later(context))))[0].data == {"session": "s1"}


def test_plain_functions_and_coroutines_run_in_their_order() -> None:
    ran = []

    def plain(name: str) -> MemoryPluginHook:
        return hook(lambda _: ran.append(name), name)

    async def awaited(_: PluginContext) -> None:
        ran.append("c")

    async def later() -> None:
        ran.append("e")

    hooks = [plain("a"), plain("b"), hook(awaited, "c"), plain("d"), hook(lambda _: later(), "e"), plain("f")]

    assert [result.success for result in triggered(adapter_of(*hooks))] == [True] * 6
    assert ran == list("abcdef")


def test_each_plain_function_has_its_own_time() -> None:
    """Given plain hooks that together take longer than one may. If they run, I expect that none is late."""
    hooks = [hook(lambda _: time.sleep(SHORT), f"hook-{number}", timeout=SHORT * 4) for number in range(8)]

    assert [result.success for result in triggered(adapter_of(*hooks))] == [True] * 8


def test_no_plain_function_runs_behind_the_one_whose_caller_was_cancelled() -> None:
    began, ran = threading.Event(), []

    def waits(_: PluginContext) -> None:
        began.set()
        released.wait(60)
        ran.append("waits")

    adapter = adapter_of(hook(waits, "waits"), hook(lambda _: ran.append("behind"), "behind"))

    async def caller() -> None:
        running = asyncio.create_task(adapter.trigger("session.start", CONTEXT))
        await asyncio.to_thread(began.wait, 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    calling._IDLE.clear()
    asyncio.run(caller())
    released.set()
    wait_until(lambda: calling._IDLE, "its thread ends its turn")
    assert ran == ["waits"]


def test_a_plain_method_works_as_well() -> None:
    class Plain(MemoryPluginHook):
        name = "plain"
        trigger_event = HookEvent.ON_SESSION_START

        def _execute_impl(self, context: PluginContext) -> dict[str, Any]:  # type: ignore[override]
            return {"thread": threading.current_thread() is threading.main_thread()}

    assert triggered(adapter_of(Plain()))[0].data == {"thread": False}


def test_a_hook_may_trigger_another_event() -> None:
    adapter = MemoryPluginAdapter()

    async def outer(context: PluginContext) -> dict[str, Any]:
        return {"inner": [result.message for result in await adapter.trigger("file.write", context)]}

    adapter.register_hook(hook(outer))
    adapter.register_hook(FunctionBasedHook("inner", HookEvent.FILE_WRITE, lambda _: {"message": "saw it"}))

    assert triggered(adapter)[0].data == {"inner": ["inner: saw it"]}


@pytest.mark.parametrize(
    ("returned", "result"),
    [
        (None, PluginResult(True, "hook: done")),
        ({}, PluginResult(True, "hook: done")),
        ({"n": 1}, PluginResult(True, "hook: done", {"n": 1})),
        ({"message": "3 found"}, PluginResult(True, "hook: 3 found", {"message": "3 found"})),
        ({"success": True, "data": 1}, PluginResult(True, "hook: done", {"success": True, "data": 1})),
        ({"success": False}, PluginResult(False, "hook: reported a failure", {"success": False})),
        (
            {"success": False, "error": "away"},
            PluginResult(False, "hook: away", {"success": False, "error": "away"}),
        ),
        (PluginResult(True, "as I say", {"n": 1}), PluginResult(True, "as I say", {"n": 1})),
        (PluginResult(False, "no", None), PluginResult(False, "no", {})),  # type: ignore[arg-type]
    ],
)
def test_what_a_hook_returns_becomes_its_result(returned: Any, result: PluginResult) -> None:
    assert triggered(adapter_of(hook(lambda _: returned))) == [result]


def test_hooks_run_in_the_order_of_their_registration() -> None:
    """If one is registered again, I expect that it is replaced, and keeps its place."""
    ran: list[str] = []

    def noting(name: str, what: str) -> MemoryPluginHook:
        return hook(lambda _: ran.append(what), name)

    adapter = adapter_of(noting("c", "c"), noting("a", "a"), noting("b", "b"), noting("a", "new a"))

    triggered(adapter)

    assert ran == ["c", "new a", "b"]
    assert adapter.list_registered_hooks() == {"on_session_start": ["c", "a", "b"]}


def test_a_hook_that_is_unregistered_does_not_run() -> None:
    adapter = adapter_of(hook(lambda _: {}, "a"), hook(lambda _: {}, "b"))
    adapter.register_hook(FunctionBasedHook("a", HookEvent.FILE_WRITE, lambda _: {}))

    assert adapter.unregister_hook("a")
    assert not adapter.unregister_hook("a")
    assert adapter.list_registered_hooks() == {"on_session_start": ["b"]}
    assert [result.message for result in triggered(adapter)] == ["b: done"]


def test_an_event_that_nobody_waits_for_has_no_results() -> None:
    assert asyncio.run(MemoryPluginAdapter().trigger("no.such.event", CONTEXT)) == []


@pytest.mark.parametrize("wrong", [None, "hook", MemoryPluginHook, lambda _: {}])
def test_what_is_no_hook_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="MemoryPluginHook"):
        MemoryPluginAdapter().register_hook(wrong)


@pytest.mark.parametrize(("name", "event"), [("", "file.write"), (None, "file.write"), ("a", ""), ("a", 7)])
def test_a_hook_without_a_name_or_an_event_is_refused(name: Any, event: Any) -> None:
    with pytest.raises(TypeError, match="must be a text"):
        MemoryPluginAdapter().register_hook(FunctionBasedHook(name, event, lambda _: {}))


def test_a_function_based_hook_needs_a_function() -> None:
    with pytest.raises(TypeError, match="takes a function"):
        FunctionBasedHook("a", "file.write", {})  # type: ignore[arg-type]


def test_an_engine_must_be_one() -> None:
    with pytest.raises(TypeError, match="CompactionEngine"):
        MemoryPluginAdapter().set_compaction_engine({})  # type: ignore[arg-type]


def test_a_name_that_fails_later_harms_nobody() -> None:
    """Given a hook whose name is a program that works once."""

    class Once(MemoryPluginHook):
        trigger_event = HookEvent.ON_SESSION_START
        asked = 0

        @property
        def name(self) -> str:
            self.asked += 1
            if self.asked > 1:
                raise RuntimeError
            return "once"

        async def _execute_impl(self, context: PluginContext) -> dict[str, Any]:
            return {}

    assert [result.message for result in triggered(adapter_of(Once()))] == ["Once: done"]


def test_an_execute_of_somebody_s_own_may_raise() -> None:
    class Own(MemoryPluginHook):
        name = "own"
        trigger_event = HookEvent.ON_SESSION_START

        async def _execute_impl(self, context: PluginContext) -> None: ...

        async def execute(self, context: PluginContext) -> PluginResult:
            sys.exit(1)

    assert [result.success for result in triggered(adapter_of(Own(), hook(lambda _: {})))] == [False, True]


def test_half_a_registration_leaves_nothing() -> None:
    """Given an adapter with a hook and an engine. If what replaces both, adds a strategy and removes a hook then raises, I
    expect all as it was."""
    kept = [hook(lambda _: {}, "a"), hook(lambda _: {}, "b")]
    adapter = adapter_of(*kept)
    engine = CompactionEngine("/home/dev/shop")
    engine.register_strategy(TokenCount())
    adapter.set_compaction_engine(engine)

    with pytest.raises(ValueError, match="half"), adapter.all_or_nothing():
        adapter.register_hook(hook(lambda _: {}, "a"))
        adapter.register_hook(FunctionBasedHook("c", "file.write", lambda _: {}))
        adapter.unregister_hook("b")
        engine.register_strategy(TokenCount(1))
        adapter.set_compaction_engine(CompactionEngine("/elsewhere"))
        raise ValueError("half")

    assert adapter.hooks("session.start") == kept
    assert adapter.list_registered_hooks() == {"on_session_start": ["a", "b"]}
    assert adapter.compaction_engine is engine
    assert [strategy.tokens for strategy in engine.strategies if isinstance(strategy, TokenCount)] == [100_000]


def test_hooks_may_wait_for_every_type_of_event() -> None:
    """Under the type, under its older spelling, and as agents spell their hooks."""
    assert {hook_event(type) for type in DATA} <= {event.value for event in HookEvent}
    assert {old: hook_event(old) for old in ALIASES} == {old: hook_event(new) for old, new in ALIASES.items()}
    assert hook_event("of.their.own") == "of.their.own"


def test_a_context_has_its_time_and_metadata_of_its_own() -> None:
    one, other = PluginContext("s1"), PluginContext("s2")
    one.metadata["n"] = 1

    assert other.metadata == {}
    assert one.timestamp.endswith("+00:00")
    assert (one.project_root, one.user_id) == (None, None)


def test_plain_functions_that_end_share_a_thread_and_one_that_hangs_has_its_own() -> None:
    hangs, ends = threading.Event(), []

    def hanging(_: PluginContext) -> None:
        ends.append(threading.get_ident())
        hangs.wait(60)

    def ending(_: PluginContext) -> None:
        ends.append(threading.get_ident())

    adapter = adapter_of(hook(ending, "a"), hook(hanging, "b", timeout=0.05), hook(ending, "c"), hook(ending, "d"))
    began = time.monotonic()
    try:
        results = triggered(adapter)
    finally:
        hangs.set()
    assert time.monotonic() - began < PATIENCE, "the time of the one that hangs counts, not that of one before it"

    assert [result.success for result in results] == [True, False, True, True]
    before, stuck, after, again = ends
    assert before == stuck  # it had ended, so it was asked again
    assert after != stuck
    assert again == after
