"""`memlane plugins`: what a plugin's author sees while developing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.command import PATIENCE, CommandLine, validated

PLUGIN = """
import logging
from memory.plugin_adapter import FunctionBasedHook, HookEvent

async def greet(context):
    logging.getLogger("greeter").debug("greeting %s", context.session_id)
    return {"message": f"hello {context.session_id} of {context.user_id}, {context.metadata.get('title')}"}

async def fail(context):
    raise ValueError("no")

def create_plugin(config):
    hooks = [FunctionBasedHook("greeter", HookEvent.ON_SESSION_START, greet)]
    if config.get("fail"):
        hooks.append(FunctionBasedHook("failer", HookEvent.ON_SESSION_START, fail))
    return hooks
"""


@pytest.fixture
def project(tmp_path: Path) -> CommandLine:
    """Commands in a project that names a plugin of its own, with a home that is not there."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "greeter_plugin.py").write_text(PLUGIN)
    name(folder, {})
    return CommandLine(tmp_path / "home", folder)


def name(folder: Path, config: dict[str, object], *others: str) -> None:
    """Have the project's configuration name the plugin, and others."""
    plugins = [{"module": "./greeter_plugin.py", "config": config}, *({"module": other} for other in others)]
    (folder / ".memlane.json").write_text(json.dumps({"memory": {"plugins": plugins}}))


def test_plugins_are_listed(project: CommandLine) -> None:
    listed = project("plugins", "list", "--json")
    assert listed.code == 0
    assert listed.json["events"] == {"on_session_start": ["greeter"]}
    (plugin,) = listed.json["plugins"]
    assert (plugin["hooks"], plugin["error"]) == (["greeter"], None)
    assert plugin["source"].endswith(".memlane.json")
    said = project("plugins", "list")
    assert "on_session_start" in said.out
    assert "greeter" in said.out
    assert not project.home.exists()


def test_one_that_cannot_be_loaded_is_named(project: CommandLine) -> None:
    name(project.folder, {}, "no_such_module")
    said = project("plugins", "list")
    assert said.code == 0
    assert "greeter" in said.out
    assert "no_such_module" in said.err


def test_no_plugins(tmp_path: Path) -> None:
    assert "no plugins" in CommandLine(tmp_path / "home", tmp_path)("plugins", "list").out


def test_an_event_is_tried(project: CommandLine) -> None:
    ran = project("plugins", "run", "session.start", "--session", "s1", "--user", "ann", "--data", '{"title": "cart"}')
    assert ran.code == 0
    assert ran.out == "done    greeter: hello s1 of ann, cart\n"
    assert "DEBUG greeter: greeting s1" in ran.err


def test_hooks_that_fail_and_events_that_nobody_waits_for(project: CommandLine) -> None:
    name(project.folder, {"fail": True})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with project.begun("plugins", "run", "on_session_start", "--json", **pipes) as running:
        out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    assert b"ValueError: no" in err, "an author sees where it went wrong"
    results = validated("plugins-run", out.decode())["results"]
    assert [(result["hook"], result["success"]) for result in results] == [
        ("greeter", True),
        ("failer", False),
    ]
    nobody = project("plugins", "run", "no.such.event")
    assert (nobody.code, nobody.out) == (1, "")
    assert "no.such.event" in nobody.err
    assert project("plugins", "run", "on_session_start", "--data", "[]").code == 1


ODD = """
import asyncio
from memory.plugin_adapter import FunctionBasedHook

print("being loaded")

async def stubborn(context):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

def prints(context):
    print("running")
    return {"seen": context.session_id, "odd": {1, }}

def create_plugin(config):
    return [FunctionBasedHook("stubborn", "odd", stubborn, timeout=0.1), FunctionBasedHook("greeter", "odd", prints)]
"""


def test_a_hook_that_never_ends_and_one_that_prints(project: CommandLine) -> None:
    """Given a hook that goes on although it is cancelled, and a plugin that prints. If they are run, I expect the results
    nevertheless, and on stdout nothing else."""
    (project.folder / "odd.py").write_text(ODD)
    name(project.folder, {}, "./odd.py")
    ran = project("plugins", "run", "odd", "--json")
    assert ran.code == 1
    first, second = ran.json["results"]
    assert "goes on although it was cancelled" in first["message"]
    assert (second["success"], second["data"]) == (True, {"seen": "manual", "odd": "{1}"})
    assert "running" in ran.err
    assert project("plugins", "list", "--json").code == 0


def test_a_hook_that_another_plugin_has_replaced_is_named(project: CommandLine) -> None:
    (project.folder / "second.py").write_text(PLUGIN)
    name(project.folder, {}, "./second.py")
    listed = project("plugins", "list", "--json").json["plugins"]
    assert [(one["hooks"], one["replaced"], one["workers"]) for one in listed] == [
        ([], ["greeter"], False),
        (["greeter"], [], False),
    ]
    assert "replace greeter" in project("plugins", "list").err


def test_a_key_that_is_misspelt_is_named(project: CommandLine) -> None:
    (project.folder / ".memlane.json").write_text(json.dumps({"memory": {"plugin": []}}))
    assert '.memlane.json was skipped: memory has "plugin"' in project("plugins", "list").err


def test_doctor_says_which_plugins_workers_cannot_load(project: CommandLine) -> None:
    project.home.mkdir()
    (project.home / "config.json").write_text(json.dumps({"memory": {"plugins": [{"module": "no_such_module"}]}}))
    findings = project("doctor", "--json").json["findings"]
    said = [one["message"] for one in findings if one["check"] == "plugins"]
    assert len(said) == 1
    assert "no_such_module" in said[0]
