"""`memlane up`, as the operator has it: the real command as a process, in a home of its own, on any free ports.

Two homes are used. One stack is started once, and looked at and wounded by several tests, which it survives; with the
other one, a single test goes through the life of a home: stop, restart, power cut, restart, hurried stop.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from ops.stack import Stack, running
from ops.stack.graph_server import socket_path
from ops.stack.ports import choose
from producers import Publisher
from producers.address import queue_url
from tests.servers import wait_until

MEMLANE = [str(Path(sys.executable).with_name("memlane"))]
#: Seconds for everything to be ready, or gone: several times what it takes on an idle machine.
START, STOP = 60.0, 30.0
#: Seconds within which init must have taken note that the children of an ended process have ended too.
GONE = 5.0


@dataclass
class Up:
    """A running `memlane up --json`."""

    home: Path
    supervisor: subprocess.Popen[str]
    answer: dict[str, Any]

    @property
    def state(self) -> dict[str, Any]:
        """What other processes read."""
        state: dict[str, Any] = json.loads((self.home / "run" / "stack.json").read_text())
        return state

    def process(self, name: str) -> dict[str, Any]:
        (found,) = [process for process in self.state["processes"] if process["name"] == name]
        assert isinstance(found, dict)
        return found

    def family(self) -> list[psutil.Process]:
        """The supervisor, its processes, and all that those began."""
        supervisor = psutil.Process(self.supervisor.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def queue(self) -> redis.Redis:
        return redis.Redis.from_url(self.state["valkey_url"], decode_responses=True)

    def graph(self) -> redis.Redis:
        return redis.Redis.from_url(self.state["graph_url"], decode_responses=True)

    def said(self) -> str:
        """What it printed on stderr so far."""
        return (self.home.parent / "stderr").read_text()


@contextmanager
def up(home: Path, *options: str, **environment: str) -> Iterator[Up]:
    """Start the command and wait until it says that all is ready; however the test ends, nothing is left running."""
    # Where another Celery project would have its own package `workers`, and its own broker.
    folder = home.parent / "project"
    (folder / "workers").mkdir(parents=True, exist_ok=True)
    (folder / "workers" / "app.py").write_text("raise SystemExit('the wrong app')\n")
    others = dict.fromkeys(("BROKER_URL", "CELERY_BROKER_URL", "MEMLANE_VALKEY_URL"), "redis://127.0.0.1:1/0")
    with (home.parent / "stderr").open("w") as stderr:
        supervisor = subprocess.Popen(
            [*MEMLANE, "up", "--json", "--port", "0", "--flower-port", "0", *options],
            cwd=folder,
            env={**os.environ, **others, "MEMLANE_HOME": str(home), "DD_DOGSTATSD_DISABLE": "true", **environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert supervisor.stdout is not None
    family: list[psutil.Process] = []
    try:
        line = supervisor.stdout.readline()  # ends with the process, if that fails
        assert line, (home.parent / "stderr").read_text()
        stack = Up(home, supervisor, json.loads(line))
        family = stack.family()
        yield stack
    finally:
        supervisor.kill()
        supervisor.wait()
        supervisor.stdout.close()
        for process in psutil.wait_procs(family, STOP)[1]:
            process.kill()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("up") / "home") as stack:
        yield stack


def memlane_up(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command, where it is expected to end by itself."""
    environment = {**os.environ, "MEMLANE_HOME": str(home)}
    command = [*MEMLANE, "up", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START, check=False)


def status(url: str, credentials: str | None = None) -> int:
    """HTTP status of a GET."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"} if credentials else {}
    try:
        connection.request("GET", "/", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_answer_has_addresses_but_no_passwords(stack: Up) -> None:
    assert stack.answer["addresses"] == {
        "valkey": stack.state["valkey_url"].replace(f"operator:{password(stack)}@", ""),
        "graph": stack.state["graph_url"],
        "flower": stack.state["flower_url"],
    }
    assert stack.answer["pid"] == stack.state["pid"] == stack.supervisor.pid
    assert json.loads(Path(stack.answer["stack_file"]).read_text()) == stack.state
    for secret in (stack.home / "secrets").iterdir():
        assert secret.read_text().strip() not in json.dumps(stack.answer)


def test_queue_server_wants_the_password(stack: Up) -> None:
    with stack.queue() as client:
        assert client.ping()
        kept = client.config_get("maxmemory-policy") | client.config_get("append*")
    assert kept["maxmemory-policy"] == "noeviction"
    assert (kept["appendonly"], kept["appendfsync"]) == ("yes", "everysec")
    for wrong in ("", ":wrong@", f":{password(stack)}@", f"worker:{password(stack)}@"):
        url = stack.state["valkey_url"].replace(f"operator:{password(stack)}@", wrong)
        with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_each_process_comes_as_its_own_user(stack: Up) -> None:
    """The workers as `worker`, commands and Flower as `operator`, and publishers as `producer`."""
    assert queue_url({"MEMLANE_HOME": str(stack.home)}) == stack.state["producer_url"]
    with (
        stack.queue() as client,
        Publisher(stack.state["producer_url"], source="test", group="users", deadline=10, spool=False) as publisher,
    ):
        publisher.publish({"type": "session.start", "session": "s", "data": {}})

        def users(name: str) -> set[str]:
            process = psutil.Process(stack.process(name)["pid"])
            family = (process, *process.children(recursive=True))
            ports = {connection.laddr.port for each in family for connection in each.net_connections("tcp")}
            listed = client.client_list()
            return {seen["user"] for seen in listed if int(seen["addr"].rpartition(":")[2]) in ports}

        for name, expected in (("lanes", "worker"), ("graph", "worker"), ("recall", "worker"), ("flower", "operator")):
            # One that is just being opened is nobody's yet: until it has said who it is, it is listed as `default`.
            wait_until(lambda name=name, expected=expected: users(name) == {expected}, f"{name} to be {expected}")  # type: ignore[misc]
        assert "producer" in {seen["user"] for seen in client.client_list()}


def test_flower_wants_the_password(stack: Up) -> None:
    state = stack.state
    assert status(state["flower_url"], f"{state['flower_user']}:{state['flower_password']}") == http.client.OK
    assert status(state["flower_url"]) == http.client.UNAUTHORIZED
    assert status(state["flower_url"], f"{state['flower_user']}:wrong") == http.client.UNAUTHORIZED


def test_graph_server_has_no_port(stack: Up) -> None:
    with stack.graph() as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.execute_command("GRAPH.QUERY", "nothing", "RETURN 1")


def test_home_is_for_its_owner_only(stack: Up) -> None:
    for path in (stack.home, *(stack.home / name for name in ("run", "logs", "secrets", "valkey", "graph", "flower"))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    files = [path for name in ("run", "secrets", "logs") for path in (stack.home / name).iterdir()]
    assert stack.home / "run" / "stack.json" in files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_password_in_arguments_environment_or_logs(stack: Up) -> None:
    secrets = [path.read_text().strip() for path in (stack.home / "secrets").iterdir()]
    assert len(secrets) == 5
    seen = [text for process in stack.family() for text in (*process.cmdline(), *process.environ().values())]
    seen += [log.read_text(errors="replace") for log in (stack.home / "logs").iterdir()]
    assert not [secret for secret in secrets if any(secret in text for text in seen)]


def test_second_up_says_who_is_running(stack: Up) -> None:
    second = memlane_up(stack.home)
    assert second.returncode == 1
    assert f"pid {stack.supervisor.pid} since {stack.state['started']}" in second.stderr
    assert stack.state["flower_url"] in second.stderr
    assert password(stack) not in second.stderr
    assert second.stderr.count("\n") == 1
    assert second.stdout == ""


def test_running_tells_a_stack_from_what_a_dead_one_left(stack: Up, tmp_path: Path) -> None:
    assert running(stack.home) == stack.state
    assert running(tmp_path) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").touch()
    (tmp_path / "run" / "stack.json").write_text(json.dumps(stack.state))
    assert running(tmp_path) is None


def test_killed_server_is_started_again_with_its_data(stack: Up) -> None:
    with stack.queue() as client:
        client.set("memlane:before", "the kill")
        client.execute_command("WAITAOF", 1, 0, 5000)
    before = stack.process("valkey")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: stack.process("valkey")["restarts"] == before["restarts"] + 1, "the restart", START)
    wait_until(lambda: stack.process("valkey")["state"] == "running", "the server", START)
    with stack.queue() as client:
        assert client.get("memlane:before") == "the kill"
    assert "valkey ended unexpectedly (SIGKILL); starting it again in" in stack.said()


def test_killed_worker_takes_its_pool_with_it_and_is_started_again(stack: Up) -> None:
    before = stack.process("recall")
    pool = psutil.Process(before["pid"]).children(recursive=True)
    assert pool
    os.kill(before["pid"], signal.SIGKILL)
    assert not psutil.wait_procs(pool, STOP)[1]
    wait_until(lambda: stack.process("recall")["restarts"] == before["restarts"] + 1, "the restart", START)
    wait_until(lambda: stack.process("recall")["state"] == "running", "the worker", START)
    assert stack.process("recall")["pid"] != before["pid"]


def test_life_of_a_home(tmp_path: Path) -> None:
    """Data outlive every way to end; no process does.

    Spaces in the path, since configuration files are written with it. The second run has no Valkey on its PATH: what
    one kind of server wrote, the other one must read.
    """
    home = tmp_path / "a home"
    without_flower = "--no-flower"

    with up(home, without_flower) as first:
        with first.queue() as client, first.graph() as graph:
            client.set("memlane:kept", "1")
            client.xadd("memlane:lane:shop", {"e": "{}"})
            graph.execute_command("GRAPH.QUERY", "shop", "CREATE (:File {path: 'src/cart.py'})")
        assert ended_by(first, signal.SIGTERM) == 0
        assert not (home / "run" / "stack.json").exists()

    with up(home, without_flower, PATH=str(Path(sys.executable).parent)) as second:
        with second.queue() as client:
            assert client.get("memlane:kept") == "1"
            client.set("memlane:kept", "2")
            client.bgrewriteaof()
            wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, "the rewrite", STOP)
            client.execute_command("WAITAOF", 1, 0, 5000)
        family = second.family()
        second.supervisor.kill()
        second.supervisor.wait()
        assert not psutil.wait_procs(family, GONE)[1]
        assert (home / "run" / "stack.json").exists()
        assert running(home) is None

    with up(home, without_flower) as third:
        with third.queue() as client, third.graph() as graph:
            assert client.get("memlane:kept") == "2"
            assert client.xlen("memlane:lane:shop") == 1
            found = graph.execute_command("GRAPH.QUERY", "shop", "MATCH (file:File) RETURN file.path")
            assert found[1] == [["src/cart.py"]]
        # A worker that hangs would be waited for; the second signal says that nobody wants to wait.
        os.kill(third.process("recall")["pid"], signal.SIGSTOP)
        family = third.family()
        third.supervisor.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping" in third.said(), "the stop", STOP)
        third.supervisor.send_signal(signal.SIGINT)
        assert third.supervisor.wait(10) == 0
        assert not psutil.wait_procs(family, GONE)[1]
        assert "recall did not end within 2 s: killed" in third.said()


def test_server_that_can_not_start_is_said_once_with_its_log(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "valkey" / "appendonlydir").mkdir(parents=True)
    manifest = home / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("not a manifest\n")
    broken = memlane_up(home, "--port", "0")
    assert broken.returncode == 1
    assert "memlane: valkey ended while starting (exit code 1)" in broken.stderr
    assert f"log: {home / 'logs' / 'valkey.log'}" in broken.stderr
    assert "AOF manifest" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert running(home) is None


def test_stack_in_a_block(tmp_path: Path) -> None:
    """As `memlane demo` and other tests use it."""
    with Stack(tmp_path, valkey_port=0, flower=False) as stack:
        pids = [process["pid"] for process in stack.processes]
        assert [process["state"] for process in stack.processes] == ["running"] * 7
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_busy_port_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = memlane_up(tmp_path / "home", "--port", str(port))
    assert ended.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in ended.stderr
    assert "--port" in ended.stderr
    assert running(tmp_path / "home") is None


def test_busy_usual_port_is_replaced_and_said() -> None:
    said: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        port = choose(None, usual, "the queue server", "--port", said.append)
    assert port != usual
    assert said == [f"port {usual} is in use: the queue server gets {port}"]


def test_socket_of_a_home_with_a_long_path_is_elsewhere(tmp_path: Path) -> None:
    with socket_path(tmp_path / "short") as inside:
        assert inside.is_relative_to(tmp_path)
    with socket_path(tmp_path / ("long" * 30)) as outside:
        assert stat.S_IMODE(outside.parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(outside))
    assert not outside.parent.exists()


def password(stack: Up) -> str:
    """The operator's."""
    return (stack.home / "secrets" / "valkey-operator").read_text().strip()


def ended_by(stack: Up, number: signal.Signals) -> int:
    """Exit code after a signal; no process of the stack may be left by then."""
    family = stack.family()
    assert len(family) > len(stack.state["processes"])
    stack.supervisor.send_signal(number)
    code = stack.supervisor.wait(STOP)
    assert not psutil.wait_procs(family, GONE)[1]
    return code
