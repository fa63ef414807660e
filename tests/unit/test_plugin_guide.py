"""The published guide for plugins: its code, as it is printed, runs. Plugins have been written to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory.compaction_engine import CompactionEngine
from memory.plugin_adapter import HookEvent, MemoryPluginAdapter, MemoryPluginHook, PluginContext, PluginResult
from memory.plugins import load

ROOT = Path(__file__).parents[2]
#: The guide's blocks of code, verbatim; .txt, so that no formatter mends them.
GUIDE = ROOT / "tests" / "data" / "plugin_guide"

#: What its shorter snippets use and don't import.
IMPORTS = """
import logging
from pathlib import Path
from memory.plugin_adapter import MemoryPluginHook, PluginContext, PluginResult, HookEvent, MemoryPluginAdapter
logger = logging.getLogger("guide")
"""
#: What a hook needs besides what the guide prints of it.
REST = """
    @property
    def name(self) -> str:
        return "my_hook"

    @property
    def trigger_event(self) -> str:
        return HookEvent.ON_SESSION_START

"""
CONTEXT = PluginContext(
    session_id="s1", project_root=Path("/home/dev/shop"), user_id="u1", timestamp="2026-02-17T10:00:00"
)


def printed(name: str) -> str:
    return (GUIDE / f"{name}.py.txt").read_text("utf-8")


def run(source: str, **names: Any) -> dict[str, Any]:
    """What code leaves behind."""
    exec(compile(source, "guide", "exec"), names)  # noqa: S102 - the guide's code is what is tested
    return names


def indented(source: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in source.splitlines(keepends=True))


@pytest.fixture
def plugin() -> dict[str, Any]:
    """The complete plugin, run as a module."""
    return run(printed("plugin"), __name__="plugin")


def test_the_complete_plugin_runs_as_a_program(tmp_path: Path) -> None:
    """Given the complete plugin, saved as printed. If it is run, I expect its hooks by event on stdout, and no file."""
    (tmp_path / "plugin.py").write_text(printed("plugin"), "utf-8")

    ran = subprocess.run(
        [sys.executable, "plugin.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "Registered hooks:\n  on_session_start: ['session_logger']\n  on_context_warning: ['memory_tracker']\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["plugin.py"]


def test_the_hook_whose_line_cannot_succeed_gives_a_failed_result(plugin: dict[str, Any], tmp_path: Path) -> None:
    """Given the complete plugin, whose logger calls `Path.append_text`, which does not exist. If a session starts, I
    expect a failed result of it, and that a hook behind it runs."""
    adapter = MemoryPluginAdapter(project_root=tmp_path)
    plugin["register_plugin"](adapter, {"log_file": str(tmp_path / "logs" / "memory.log")})
    adapter.register_hook(run(printed("function_hook"))["hook"])

    results = asyncio.run(adapter.trigger(HookEvent.ON_SESSION_START, CONTEXT))

    assert [result.success for result in results] == [False, True]
    assert "append_text" in results[0].message
    assert results[1].data == {"logged": True}


def test_the_complete_plugin_s_other_hook_and_strategy_work(plugin: dict[str, Any], tmp_path: Path) -> None:
    """Given the complete plugin. If a context warning comes, I expect its figures as the result's data; and the engine
    that it set decides by its strategy."""
    adapter = MemoryPluginAdapter(project_root=tmp_path)
    plugin["register_plugin"](adapter)
    warned = PluginContext("s1", metadata={"context_size": 90, "limit": 100, "percentage": 90.0})

    [result] = asyncio.run(adapter.trigger("context.warning", warned))

    assert result == PluginResult(
        True, "memory_tracker: done", {"tracked": True, "context_size": 90, "percentage": 90.0}
    )
    engine = adapter.compaction_engine
    assert isinstance(engine, CompactionEngine)
    assert not engine.decide({"entry_count": 100}).compact
    assert engine.decide({"entry_count": 101}).reason == "Smart compaction: high entry count or inactivity"
    assert engine.decide({"last_activity": "2020-01-01T00:00:00"}).compact
    assert not engine.decide({"last_activity": "yesterday"}).compact


def test_without_a_project_the_complete_plugin_sets_no_engine(plugin: dict[str, Any]) -> None:
    adapter = MemoryPluginAdapter()
    plugin["register_plugin"](adapter)

    assert adapter.compaction_engine is None
    assert adapter.list_registered_hooks() == {
        "on_session_start": ["session_logger"],
        "on_context_warning": ["memory_tracker"],
    }


def test_the_complete_plugin_is_loaded_by_the_guide_s_configuration(tmp_path: Path) -> None:
    """Given the complete plugin as my_plugin.py beside .memlane.json with the guide's configuration. If plugins are
    loaded, I expect its hooks."""
    (tmp_path / "my_plugin.py").write_text(printed("plugin"), "utf-8")
    (tmp_path / ".memlane.json").write_text((GUIDE / "configuration.json").read_text("utf-8"), "utf-8")
    adapter = MemoryPluginAdapter(project_root=tmp_path)

    [one] = load(adapter, home=tmp_path / "home", project_root=tmp_path)

    assert (one.module, one.hooks, one.error) == ("my_plugin", ("session_logger", "memory_tracker"), "")


def test_the_mechanism_hook_runs() -> None:
    hook = run(printed("mechanism_hook"))["MyMechanism"]()

    result = asyncio.run(hook.execute(CONTEXT))

    assert result.success
    assert result.data == {"custom_data": "value", "session_id": "s1"}


def test_the_function_based_hook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    hook = run(printed("function_hook"))["hook"]

    result = asyncio.run(hook.execute(CONTEXT))

    assert result.success
    assert result.data == {"logged": True}
    assert capsys.readouterr().out == "Session s1 started\n"


def test_the_strategy_is_registered_with_an_engine_that_creates_no_folder() -> None:
    """Given the guide's strategy, with the import that it leaves out, and an engine of a project that is not there."""
    engine = run("from pathlib import Path\n" + printed("compaction_strategy"))["engine"]

    assert engine.decide({"token_count": 50_000}).reason == "Token threshold (50000) exceeded"
    assert not engine.decide({"token_count": 49_999}).compact
    assert not Path("/my/project").exists()


@pytest.mark.parametrize("works", [True, False])
def test_a_hook_that_reports_its_own_failure_gives_a_failed_result(works: bool) -> None:
    """Given the guide's hook with try and except. If what it tries raises, it returns `{"success": False, …}`, and I
    expect a failed result."""

    async def risky_operation() -> str:
        if works:
            return "all well"
        raise OSError("disk is full")

    source = IMPORTS + "class MyHook(MemoryPluginHook):" + REST + indented(printed("error_handling"))
    hook = run(source, risky_operation=risky_operation)["MyHook"]()

    result = asyncio.run(hook.execute(CONTEXT))

    assert result.success is works
    assert result.data == (
        {"success": True, "data": "all well"} if works else {"success": False, "error": "disk is full"}
    )
    assert works or result.message == "my_hook: disk is full"


def test_the_early_return_runs() -> None:
    source = IMPORTS + "class MyHook(MemoryPluginHook):" + REST + indented(printed("early_return"))
    hook = run(source)["MyHook"]()

    assert asyncio.run(hook.execute(PluginContext("s1"))).data == {"skipped": True, "reason": "no_project"}
    assert asyncio.run(hook.execute(CONTEXT)).success


def test_the_logging_lines_run() -> None:
    body = "    async def _execute_impl(self, context):\n" + indented(indented(printed("logging")))
    source = IMPORTS + "class MyHook(MemoryPluginHook):" + REST + body

    assert asyncio.run(run(source)["MyHook"]().execute(CONTEXT)).success


#: The guide's hook with an option, completed.
MY_HOOK = (
    IMPORTS
    + printed("my_hook")
    + REST
    + """
    async def _execute_impl(self, context: PluginContext) -> dict:
        return {"success": True, "data": self.option}
"""
)


def test_the_guide_s_test_passes(tmp_path: Path) -> None:
    """Given the guide's test, with `MyHook` completed and the imports that it leaves out, and as `pytest.mark.asyncio`
    a few lines that do what that plugin does. If pytest runs it, I expect that it passes."""
    (tmp_path / "test_guide.py").write_text(MY_HOOK + printed("test_my_hook"), "utf-8")
    (tmp_path / "conftest.py").write_text(
        """
import asyncio

def pytest_configure(config):
    config.addinivalue_line("markers", "asyncio: a coroutine")

def pytest_pyfunc_call(pyfuncitem):
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
""",
        "utf-8",
    )

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def test_registering_listing_and_triggering_as_the_guide_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given the complete plugin as my_plugin.py on Python's path. If the guide's lines for registering, listing and
    triggering run one after the other, I expect what they say."""
    (tmp_path / "my_plugin.py").write_text(printed("plugin"), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    trigger = "async def main():\n" + indented(printed("triggering")) + "import asyncio\nasyncio.run(main())\n"

    run(MY_HOOK + printed("registering") + printed("listing") + trigger)

    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["on_session_start: ['session_logger', 'my_hook']", "on_context_warning: ['memory_tracker']"]
    assert "append_text" in said[2]
    assert said[3:] == ["Success: False", "Hook: my_hook: done", "Success: True"]
    monkeypatch.delitem(sys.modules, "my_plugin")


def test_hooks_log_when_debug_logging_is_enabled() -> None:
    """In a process of its own, since it changes what Python logs."""
    source = printed("debug_logging") + MY_HOOK + "import asyncio\nadapter = MemoryPluginAdapter()\n"
    source += "adapter.register_hook(MyHook())\n"
    source += "asyncio.run(adapter.trigger('session.start', PluginContext(session_id='s1')))\n"

    ran = subprocess.run(
        [sys.executable, "-c", source],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "DEBUG:memory.plugin_adapter:hook registered name=my_hook event=on_session_start" in ran.stderr
    assert "DEBUG:memory.plugin_adapter:hook ran name=my_hook event=session.start success=True" in ran.stderr


@pytest.mark.parametrize(
    ("event", "value"),
    [
        (HookEvent.ON_SESSION_START, "on_session_start"),
        (HookEvent.ON_CONTEXT_WARNING, "on_context_warning"),
        (HookEvent.ON_SESSION_END, "on_session_end"),
        (HookEvent.ON_USER_REQUEST, "on_user_request"),
    ],
)
def test_events_are_strings(event: HookEvent, value: str) -> None:
    assert isinstance(event, str)
    assert event == value
    assert f"{event}" == value
    assert json.dumps({event: event}) == f'{{"{value}": "{value}"}}'


def test_what_the_guide_imports_is_what_it_says() -> None:
    create: Callable[..., list[MemoryPluginHook]] = run(printed("plugin"), __name__="plugin")["create_plugin"]

    assert all(isinstance(hook, MemoryPluginHook) for hook in create())
