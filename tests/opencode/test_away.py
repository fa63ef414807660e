"""While the queue server is away, slow or lying, OpenCode does what it would do without the plugin, and nothing is lost.

One scripted session is run without the plugin, and then with it in each state of the server. Files, output and exit
code must be the same; how much time it takes is measured by `python -m bench.opencode`.
"""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from producers import Publisher
from tests import servers
from tests.liars import LIES, answering
from tests.opencode.agent import PLUGIN, Ended, OpenCode, configuration, project_at
from tests.opencode.model import Model, Reply, calls, says

GROUP = "shop"
#: What the session's events must be, wherever they wait.
TYPES = {
    "session.start": 1,
    "chat.start": 1,
    "chat.message": 2,
    "file.write": 2,
    "tool.call": 3,
    "error": 1,
    "completion": 1,
    "session.end": 1,
}


def scripted(opencode: OpenCode, folder: Path, plugin: bool, **environ: str) -> tuple[Ended, dict[str, bytes]]:
    """Run the session; how it ended, and the project's files."""
    config = configuration(opencode.model, plugin=[[PLUGIN, {"group": GROUP}]] if plugin else [])
    project = project_at(folder / "shop", config)
    opencode.model.script(
        "main",
        calls("write", filePath=str(project / "cart.py"), content="total = 1\n"),
        calls("edit", filePath=str(project / "cart.py"), oldString="total = 1", newString="total = 2"),
        calls("edit", filePath=str(project / "cart.py"), oldString="nowhere", newString="x"),
        says("The cart is done."),
    )
    ended = opencode.run(project, "Write", "the", "cart", options=environ)
    files = {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and ".git/" not in str(path) and path.name != "opencode.json"
    }
    # The folder's name stands in OpenCode's output.
    return Ended(ended.code, ended.out.replace(str(folder), ""), ended.err.replace(str(folder), "")), files


@pytest.fixture(scope="module")
def opencode(model: Model, tmp_path_factory: pytest.TempPathFactory) -> OpenCode:
    found = OpenCode(tmp_path_factory.mktemp("opencode"), model)
    found.prepare()
    return found


@pytest.fixture(scope="module")
def plain(opencode: OpenCode, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, dict[str, bytes]]:
    """What the session does without the plugin."""
    ended, files = scripted(opencode, tmp_path_factory.mktemp("plain"), plugin=False)
    assert ended.code == 0, ended
    assert files == {"cart.py": b"total = 2\n"}
    return ended, files


@contextmanager
def absent(folder: Path) -> Iterator[str]:
    yield f"redis://:pw@127.0.0.1:{servers.free_port()}"


@contextmanager
def frozen(folder: Path) -> Iterator[str]:
    folder.mkdir()
    port = servers.free_port()
    url = f"redis://:pw@127.0.0.1:{port}"
    with servers.process(servers.queue_command(folder, port, "pw"), folder / "queue.log") as running:
        servers.wait_until(lambda: servers.answers(url), "queue server")
        running.send_signal(signal.SIGSTOP)
        try:
            yield url
        finally:
            running.send_signal(signal.SIGCONT)


@contextmanager
def refusing(folder: Path) -> Iterator[str]:
    """It lets nobody in: the password is another."""
    folder.mkdir()
    with servers.queue_server(folder) as url:
        yield url.replace("redis://:", "redis://:not")


STATES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "absent": absent,
    "frozen": frozen,
    "refusing": refusing,
    "garbage": lambda folder: answering(LIES["bytes"]),
}


@pytest.mark.parametrize("state", STATES)
def test_a_run_is_as_without_the_plugin(
    state: str, opencode: OpenCode, plain: tuple[Ended, dict[str, bytes]], tmp_path: Path
) -> None:
    """The session is the same, and its events wait in the spool; then the server is there, and they arrive, in order."""
    home = tmp_path / "home"
    home.mkdir()
    with STATES[state](tmp_path / "server") as url:
        ended = scripted(
            opencode,
            tmp_path,
            plugin=True,
            MEMLANE_HOME=str(home),
            MEMLANE_VALKEY_URL=url,
        )
    assert ended == plain

    spool = home / "spool" / f"{GROUP}.jsonl"
    assert spool.stat().st_mode & 0o777 == 0o600
    waiting = [json.loads(line) for line in spool.read_text().splitlines()]
    assert Counter(event["type"] for event in waiting) == TYPES
    assert sent_later(home, tmp_path / "again") == [event["id"] for event in waiting]


def sent_later(home: Path, folder: Path) -> list[str]:
    """Start a queue server, and send what waits; the ids of the events in the lane."""
    with servers.queue_server(folder) as url:
        with Publisher(url, source="test", group=GROUP, home=home) as publisher:
            publisher.flush(GROUP, 30)
        with redis.Redis.from_url(url) as queue:
            return [json.loads(entry[b"e"])["id"] for _, entry in queue.xrange(f"memlane:lane:{GROUP}")]


def test_what_a_killed_opencode_captured_is_kept(opencode: OpenCode, tmp_path: Path) -> None:
    """It is killed while the model thinks about what a tool did; the queue server is away, too."""
    home = tmp_path / "home"
    home.mkdir()
    project = project_at(tmp_path / "shop", configuration(opencode.model, plugin=[[PLUGIN, {"group": GROUP}]]))
    thought = threading.Event()
    write = calls("write", filePath=str(project / "cart.py"), content="total = 1\n")
    opencode.model.script("main", write, Reply("The cart is done.", waits_for=thought))
    spool = home / "spool" / f"{GROUP}.jsonl"

    def waiting() -> list[dict[str, str]]:
        return [json.loads(line) for line in spool.read_text().splitlines()] if spool.exists() else []

    with absent(tmp_path) as url:
        environ = {"MEMLANE_HOME": str(home), "MEMLANE_VALKEY_URL": url}
        with opencode.begin(project, "Write", "the", "cart", options=environ) as running:
            try:
                servers.wait_until(lambda: "tool.call" in {event["type"] for event in waiting()}, "the tool's event")
            finally:
                running.kill()
                thought.set()
    left = waiting()
    types = [event["type"] for event in left]
    assert types == ["session.start", "chat.start", "chat.message", "file.write", "tool.call"]
    assert sent_later(home, tmp_path / "again") == [event["id"] for event in left]
