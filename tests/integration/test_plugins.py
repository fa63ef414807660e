"""Users' hooks in workers: in order, at least once, and whatever they do, the worker and the other stages go on.

events ──▶ lane ──▶ record ──▶ ledger ──▶ plugins: hook, hook, hook
                                    └───▶ index …, which knows nothing of them
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import redis

from memory import lua
from memory.ledger import Ledger, books, cursors
from producers import Publisher
from tests import servers
from tests.workers_here import workers_here
from workers.plugins import Hooks, plugins
from workers.stage import drain
from workers.stages import STAGES

GROUP = "shop"
PLUGIN = """
import asyncio, json, os, sys, time
from pathlib import Path
from memory.plugin_adapter import FunctionBasedHook, HookEvent, MemoryPluginHook

SEEN = Path({seen!r})

def hook(name, func, event=HookEvent.COMPLETION, timeout=0.2):
    return FunctionBasedHook(name, event, func, timeout)

async def sleeps(context):
    await asyncio.sleep(60)

async def blocks(context):
    if context.metadata["task"] == "t0":
        time.sleep(3)

async def raises(context):
    raise ValueError(context.metadata["task"])

async def returns_garbage(context):
    return object()

async def exits(context):
    sys.exit(3)

async def leaks(context):
    async def later():
        await asyncio.sleep(0)
        sys.exit(4)
    asyncio.create_task(later())

def seen(context):
    with SEEN.open("a") as file:
        file.write(json.dumps([context.metadata["task"], context.session_id, str(context.project_root),
                               context.user_id, context.metadata["event_id"]]) + "\\n")

def register_plugin(adapter, config):
    names = config["hooks"]
    for name in names:
        adapter.register_hook(hook(name, globals()[name], timeout=5 if name == "seen" else 0.2))
"""


@pytest.fixture
def seen(home: Path) -> Path:
    """The file that hook `seen` writes to."""
    return home / "seen.jsonl"


def install(home: Path, seen: Path, *hooks: str) -> None:
    """Have the user's config.json name a plugin with these hooks."""
    home.mkdir(exist_ok=True)
    (home / "bad_plugin.py").write_text(PLUGIN.replace("{seen!r}", repr(str(seen))))
    plugin = {"module": "./bad_plugin.py", "config": {"hooks": list(hooks)}}
    (home / "config.json").write_text(json.dumps({"memory": {"plugins": [plugin]}}))


def publish(url: str, *numbers: int) -> None:
    with Publisher(url, source="test", group=GROUP) as publisher:
        publisher.publish_many(
            {
                "id": f"e{number}",
                "type": "completion",
                "session": "s1",
                "user": "ann",
                "project": "/home/dev/shop",
                "data": {"task": f"t{number}"},
            }
            for number in numbers
        )


def tasks(seen: Path) -> list[str]:
    """Tasks that hook `seen` was told of, in order."""
    return [json.loads(line)[0] for line in seen.read_text().splitlines()] if seen.exists() else []


def counts(queue: redis.Redis) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in queue.hgetall(lua.PLUGINS).items()}


def test_hooks_are_told_of_each_event_in_order(
    home: Path, seen: Path, queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None
) -> None:
    """Given a hook, I expect it to be told of every event once, in order, with all that is known of it; and the books of
    the stage to balance."""
    install(home, seen, "seen")
    publish(queue_url, *range(30))
    drain(STAGES["record"], GROUP)
    drain(STAGES["plugins"], GROUP)

    assert tasks(seen) == [f"t{number}" for number in range(30)]
    assert json.loads(seen.read_text().splitlines()[0]) == ["t0", "s1", "/home/dev/shop", "ann", "e0"]
    assert counts(queue) == {"seen:done": 30}
    with ledger.read() as connection:
        found = books.of_stage(connection, "plugins", GROUP, STAGES["plugins"].types)
    assert (found.interest, found.done, found.pending, found.dead) == (30, 30, 0, 0)


@pytest.mark.parametrize("bad", ["sleeps", "blocks", "raises", "returns_garbage", "exits", "leaks"])
def test_a_bad_hook_stops_neither_others_nor_the_worker(
    home: Path, seen: Path, queue_url: str, queue: redis.Redis, worker: None, bad: str
) -> None:
    """Given a hook that does what it should not, and one behind it, I expect the latter to be told of every event, and
    the former's failures to be counted."""
    install(home, seen, bad, "seen")
    publish(queue_url, 0, 1, 2)
    drain(STAGES["record"], GROUP)
    until_through(bad)

    assert tasks(seen) == ["t0", "t1", "t2"]
    found = counts(queue)
    assert found["seen:done"] == 3
    failures = {"leaks": 0, "blocks": 1}.get(bad, 3)
    assert found.get(f"{bad}:failed", 0) == failures
    assert found.get(f"{bad}:done", 0) == 3 - failures


def until_through(bad: str) -> None:
    """Drain until the stage has caught up."""
    stage = STAGES["plugins"]

    def caught_up() -> bool:
        drain(stage, GROUP)
        return not stage.has_work(GROUP)

    servers.wait_until(caught_up, f"events behind {bad}", 20)


def test_without_hooks_events_are_passed_over(
    home: Path, queue_url: str, queue: redis.Redis, ledger: Ledger, worker: None
) -> None:
    publish(queue_url, *range(700))
    drain(STAGES["record"], GROUP)
    drain(STAGES["plugins"], GROUP)

    with ledger.read() as connection:
        assert cursors.position(connection, "plugins", GROUP) == 700
        assert books.of_stage(connection, "plugins", GROUP, None).done == 700
    assert counts(queue) == {}


def test_slow_hooks_give_way_to_other_groups(
    home: Path, seen: Path, queue_url: str, queue: redis.Redis, ledger: Ledger, environ: dict[str, str]
) -> None:
    """Given hooks that take longer than a turn for a batch, I expect the cursor to move as far as they came."""
    install(home, seen, "sleeps", "seen")
    with workers_here({**environ, "MEMLANE_TURN_SECONDS": "0.3"}):
        publish(queue_url, *range(20))
        drain(STAGES["record"], GROUP)
        drain(STAGES["plugins"], GROUP)
        with ledger.read() as connection:
            assert 1 <= cursors.position(connection, "plugins", GROUP) <= 4
        assert tasks(seen) == [f"t{number}" for number in range(len(tasks(seen)))]


def test_a_plugin_that_fails_to_load_is_skipped(
    home: Path, seen: Path, queue_url: str, worker: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a plugin that can't be loaded, I expect that in the worker's log, and events to flow."""
    home.mkdir(exist_ok=True)
    (home / "config.json").write_text('{"memory": {"plugins": [{"module": "no_such_module"}]}}')
    publish(queue_url, 1)
    drain(STAGES["record"], GROUP)
    drain(STAGES["plugins"], GROUP)

    assert not STAGES["plugins"].has_work(GROUP)
    assert "no_such_module" in caplog.text
    assert [one.error for one in plugins().loaded] != [""]


def test_what_a_project_brings_along_is_not_run(home: Path, tmp_path: Path, worker: None) -> None:
    """Given a project whose configuration names code of its own, I expect a worker not to load it."""
    (tmp_path / ".memlane.json").write_text('{"memory": {"plugins": [{"module": "./evil.py"}]}}')
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        hooks = Hooks(home)
    finally:
        os.chdir(before)
    assert hooks.loaded == []
    hooks.close()


def test_a_real_worker_runs_hooks(
    home: Path, seen: Path, queue_url: str, queue: redis.Redis, environ: dict[str, str], tmp_path: Path
) -> None:
    """Given a worker process, and among its hooks those that block and exit, I expect it to live, and hooks told."""
    install(home, seen, "exits", "blocks", "leaks", "seen")
    with servers.worker(environ, "record,plugins", tmp_path / "worker.log") as running:
        publish(queue_url, *range(10))
        servers.wait_until(lambda: len(tasks(seen)) >= 10, "hooks to be told", 60)
        assert running.poll() is None
    assert list(dict.fromkeys(tasks(seen))) == [f"t{number}" for number in range(10)]
    text = (tmp_path / "worker.log").read_text()
    assert "Traceback" not in text, text


def test_flower_shows_what_became_of_hooks(queue: redis.Redis, worker: None) -> None:
    """Given results of hooks, I expect them among Flower's metrics."""
    from ops.flower.metrics import HOOKS

    queue.hset(lua.PLUGINS, mapping={"a:b:done": 3, "a:b:failed": 1})
    (found,) = HOOKS.collect()
    samples = {(sample.labels["hook"], sample.labels["result"]): sample.value for sample in found.samples}
    assert samples == {("a:b", "done"): 3.0, ("a:b", "failed"): 1.0}


def status_of(queue: redis.Redis) -> Any:
    from ops.status import _hooks

    return _hooks(queue)


def test_status_shows_what_became_of_hooks(queue: redis.Redis) -> None:
    queue.hset(lua.PLUGINS, mapping={"a:b:done": 3, "a:b:failed": 1, "c:failed": 2})
    assert status_of(queue) == {"a:b": {"done": 3, "failed": 1}, "c": {"done": 0, "failed": 2}}
