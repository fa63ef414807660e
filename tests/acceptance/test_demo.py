"""`memlane demo` as who has just cloned the repository runs it, and what it leaves behind: nothing.

The caller's environment names other servers, so that a demo which went there would fail.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ops.stack.flower import DEFAULT_PORT as FLOWER_PORT
from ops.stack.queue_server import DEFAULT_PORT as QUEUE_PORT
from tests.acceptance.command import MEMLANE, PATIENCE, CommandLine, environment, validated
from tests.acceptance.test_up import Up
from tests.servers import wait_until

ELSEWHERE = {
    "MEMLANE_VALKEY_URL": "redis://127.0.0.1:1",
    "MEMLANE_GRAPH_URL": "redis://127.0.0.1:1",
    "MEMLANE_DATABASE_URL": "postgresql://127.0.0.1:1/none",
    "MEMLANE_GROUP": "not a group",
    "MEMLANE_BATCH_SIZE": "none",
    "MEMLANE_DATADOG": "true",
    "DD_AGENT_HOST": "127.0.0.1",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1",
}


@contextmanager
def demo(folder: Path, *options: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A demo whose temporary home is made in this folder; all that it began is gone afterwards."""
    running = subprocess.Popen(
        [MEMLANE, "demo", *options],
        env=environment(folder / "home", **{**ELSEWHERE, "TMPDIR": str(folder), **environ}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    family: list[psutil.Process] = []
    try:
        yield running
    finally:
        if running.poll() is None:
            family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        for process in family:
            process.kill()
        running.communicate()


def left_behind(folder: Path) -> list[str]:
    """Processes that have to do with the folder, and what is in it."""
    processes = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.status() != psutil.STATUS_ZOMBIE and any(f"{folder}/memlane-demo-" in word for word in words):
            processes.append(str(process))
    return processes + [path.name for path in folder.iterdir()]


@contextmanager
def busy(*ports: int) -> Iterator[None]:
    """Somebody listens on these ports of the loopback interface."""
    taken = []
    try:
        for port in ports:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.append(listening)
            try:
                listening.bind(("127.0.0.1", port))
                listening.listen()
            except OSError:
                continue  # somebody else does: just as well
        yield
    finally:
        for listening in taken:
            listening.close()


def test_for_people_beside_another_stack(shared_stack: Up, tmp_path: Path) -> None:
    with busy(QUEUE_PORT, FLOWER_PORT), demo(tmp_path) as running:
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, err) == (0, "")
    steps = [line for line in out.splitlines() if line[:1].isdigit()]
    assert [step.partition(" ")[2].partition(":")[0] for step in steps] == [
        "Starting queue server, graph server, workers and Flower in a temporary home",
        "Importing a recorded OpenCode session",
        "The events flow through the stages",
        "Asking",
        "Asking again",
        "An agent edits tests/test_limiter.py",
        "Asking again",
        "The books",
    ]
    assert f"port {QUEUE_PORT} is in use: the queue server gets " in out
    assert "25 events published: 11 tool.call, 4 chat.message, 4 file.write" in out
    for stage, events in (("record", 26), ("index", 26), ("episodes", 26), ("cache", 7), ("compaction", 13)):
        assert f" ms  {stage:15} {events:3} of {events}\n" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  cache ")] == ["miss,", "hit,", "miss,"]
    assert "failed with exit code 1" in out
    assert "off by" not in out
    assert left_behind(tmp_path) == []
    assert shared_stack.supervisor.poll() is None


def test_for_programs_that_keep_it_up(tmp_path: Path) -> None:
    with demo(tmp_path, "--json", KEEP="1") as running:
        assert running.stdout is not None
        answer = validated("demo", running.stdout.readline())
        assert answer["books"]["balanced"] is True
        (group,) = answer["books"]["groups"]
        recorded, *asked = (group[name] for name in ("recorded", "cache_hits", "cache_misses"))
        assert recorded == answer["events"] + 2, "an edit, and a checkpoint"
        assert asked == [1, 2]

        home = Path(answer["home"])
        assert answer["flower"] == json.loads((home / "run" / "stack.json").read_text())["flower_url"]
        command = CommandLine(home, tmp_path, {"MEMLANE_GROUP": group["group"]})
        assert "limiter" in command("recall", answer["question"]).out
        running.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping" in (home / "run" / "stack.json").read_text(), "the stop")
        running.send_signal(signal.SIGTERM)  # impatient: changes nothing
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out, err) == (0, "", "")
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(("number", "when"), [(signal.SIGHUP, "run/stack.json"), (signal.SIGTERM, "logs/recall.log")])
def test_told_to_end_in_the_middle_of_the_start(tmp_path: Path, number: signal.Signals, when: str) -> None:
    with demo(tmp_path) as running:
        wait_until(lambda: [*tmp_path.glob(f"memlane-demo-*/{when}")] or running.poll() is not None, when)
        running.send_signal(number)
        _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + number
    assert "Traceback" not in err
    assert left_behind(tmp_path) == []
