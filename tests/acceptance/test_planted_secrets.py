"""Hundreds of secrets are planted; then they are looked for everywhere.

    our publisher ── events, errors ──▶ ┌───────┐     ┌─────────┐──▶ ledger, dead letters, full text
    a foreign one ── XADD: events, ───▶ │ queue │ ──▶ │ workers │──▶ graph
                     and what is none   │ server│     └─────────┘──▶ logs, Datadog (a UDP socket), Flower, models
    an asker ─────── questions ───────▶ └───────┘ ── MONITOR ──▶ what passed through it

Secrets are made anew for each run, from a seed that is printed when it fails; `MEMLANE_TEST_SEED` repeats it. What a
foreign producer itself sends to the queue server is not looked at: it is redacted when it is read from there.
"""

from __future__ import annotations

import html
import http.client
import json
import os
import random
import re
import secrets
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import falkordb
import pytest
import redis
from sqlalchemy import func, inspect, select, text

from memory import lua
from memory.ledger import Ledger, books, migrate
from memory.ledger.schema import dead_letters, events, search_postings
from memory.privacy import redact_text
from memory.settings import settings
from ops.stack import flower
from producers import Publisher
from producers.recall import Recall
from tests import servers
from tests.planted import KINDS, Kind, in_code, in_diff, in_prose, nested
from tests.scripted_embedder import scripted_embedder
from tests.scripted_model import scripted_model
from workers.stage import Follower
from workers.stages import STAGES

ROOT = Path(__file__).parents[2]
QUEUES = "record,index,episodes,cache,telemetry,plugins,compaction,extraction,embedding,recall"
#: Ways into the system, each with secrets of its own.
CHANNELS = ("published", "foreign", "garbage", "error", "question")
#: By how many characters a hidden text is found first.
HEAD = 8


def private(rng: random.Random) -> tuple[str, str]:
    word = f"salary-of-{rng.randrange(10**12)}"
    return f"<private>my {word}</private>", word


#: In nested data it stands alone.
SURROUNDINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("prose", in_prose),
    ("code", in_code),
    ("diff", in_diff),
    ("data", str),
)
PLANTED: dict[str, Kind] = {**{name: kind for name, (_, kind) in KINDS.items()}, "private text": private}


@dataclass(frozen=True)
class Planted:
    """A secret, the value it is hidden in, and all by which it would be recognised."""

    channel: str
    kind: str
    surrounding: str
    value: Any
    forms: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.channel}: {self.kind}, {self.surrounding}"

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


def planted(rng: random.Random, mark: str) -> list[Planted]:
    """Two of each kind for each channel, one for questions; over all channels, each kind in each surrounding. The mark
    stands beside each."""
    found = []
    for place, channel in enumerate(CHANNELS):
        for number, (name, kind) in enumerate(PLANTED.items()):
            for turn in (0, 2)[: 1 if channel == "question" else 2]:
                name_of, surround = SURROUNDINGS[(number + place + turn) % 4]
                text, secret = _drawn(kind, rng)
                value: Any = surround(text)
                value = f"{mark} {value}"
                if name_of == "data":
                    for _ in range(rng.randrange(1, 4)):
                        value = nested(rng, value)
                found.append(Planted(channel, name, name_of, value, _forms(text, secret)))
    return found


def _drawn(kind: Kind, rng: random.Random) -> tuple[str, str]:
    """Of some thousand random values beside a name one looks like words, by chance (memory/privacy/NOTICE.md); three in a
    row do not."""
    for _ in range(3):
        text, secret = kind(rng)
        if all(secret not in redact_text(surround(text)) for surround in (str, in_prose, in_code, in_diff)):
            break
    return text, secret


def _forms(text: str, secret: str) -> frozenset[str]:
    """What would tell the secret: as it is, as it is written in JSON, addresses and pages, as full text cuts it up; of a
    key, each of its lines."""
    pieces = {secret}
    if "-----BEGIN" in text or "PuTTY" in text:
        pieces |= set(re.findall(r"[A-Za-z0-9+/]{64}", text))
    forms = set(pieces)
    for piece in pieces:
        forms |= {json.dumps(piece)[1:-1], piece.replace("/", "\\/"), escaped(piece)}
        forms |= {quote(piece, safe=""), html.escape(piece)}
    if not re.search("[A-Za-z]", secret):
        forms.add(re.sub("[ -]", "", secret))
    run = max(re.findall("[A-Za-z0-9]+", secret), key=len)
    if len(run) >= 15:
        forms.add(run[:-3])  # stemming may change the end
    return frozenset(re.sub(r"\\+", r"\\", form.lower()) for form in forms)


def escaped(text: str) -> str:
    """Each character as JSON may write it."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


class Searched:
    """Looks for all forms of all secrets at once: one by one would take minutes."""

    def __init__(self, hidden: Sequence[Planted]) -> None:
        self._by_head: dict[str, list[tuple[str, Planted]]] = {}
        for one in hidden:
            for form in one.forms:
                self._by_head.setdefault(form[:HEAD], []).append((form, one))

    def found(self, place: str) -> set[str]:
        """Names of the secrets that stand in a text. Backslashes count once: what shows a text may double them."""
        low, heads = re.sub(r"\\+", r"\\", place.lower()), self._by_head
        names = set()
        for n in range(len(low) - HEAD + 1):
            if (head := low[n : n + HEAD]) in heads:
                names |= {one.name for form, one in heads[head] if low.startswith(form, n)}
        return names


def event_of(number: int, one: Planted) -> dict[str, Any]:
    """An event that holds the secret, in one of many places."""
    said = one.text
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("note", {"text": one.value, "notes": {said: 1}}),
        ("chat.message", {"role": "user", "text": said}),
        ("tool.call", {"tool": "bash", "status": "completed", "input": {"commands": [{"line": one.value}, said]}}),
        ("user.request", {"request": said, "action": "remember"}),
        ("file.write", {"path": f"src/part{number}.py", "summary": said, "before": one.value}),
        ("todo.updated", {"todos": [{"content": said, "status": "open"}]}),
        ("completion", {"task": said, "tokens": 3}),
        ("vcs.commit", {"sha": "4d5e6f", "message": said, "author": said}),
        ("session.start", {"title": said}),
        ("error", {"message": said, "name": "ShopError", "details": one.value}),
    ]
    type, data = kinds[number % len(kinds)]
    if one.channel == "error":
        type, data = kinds[-1]
    event = {"id": f"{one.channel}-{number}", "type": type, "session": "s1", "annotation": one.value, "data": data}
    # Not of now: what is said now a model is shown later, with the answer.
    return event | {"time": "2026-11-21T10:00:00Z"}


def whole(event: dict[str, Any], group: str) -> dict[str, Any]:
    """The event as a foreign producer must write it."""
    return {"specversion": "1.0", "source": "foreign", "group": group, **event}


def written(number: int, value: Any) -> bytes:
    """JSON in one of the ways in which it may be written."""
    raw = json.dumps(value, ensure_ascii=number % 2 == 0)
    match number % 3:
        case 0:
            raw = raw.replace("<", "\\u003c").replace(">", "\\u003e").replace("/", "\\/")
        case 1:
            raw = re.sub(r'"(?:\\.|[^"\\])*"', lambda string: f'"{escaped(json.loads(string[0]))}"', raw)
    return raw.encode()


def garbage(number: int, one: Planted, group: str) -> dict[str, bytes]:
    """A lane entry that holds the secret and is no event, in one of many ways."""
    event = whole(event_of(number, one), group)
    said = one.text.encode()
    match number % 11:
        case 0:
            return {"e": written(number, {**event, "type": 7})}
        case 1:
            return {"e": written(number, {**event, "data": [one.value]})}
        case 2:
            return {"e": written(number, event)[:-1]}
        case 3:
            return {"e": b"garbage " + said}
        case 4:
            return {"payload": said, "more": b"x"}
        case 5:
            return {"e": b"\xff\xfe\x00" + said}
        case 6:
            return {"e": written(number, {**event, "group": "another"})}
        case 7:
            return {"e": written(number, [one.value, [said.decode()]])}
        case 8:
            return {
                "e": written(number, {**event, "padding": " " * 270_000 if number < 20 else "", "time": said.decode()})
            }
        case 9:
            return {"e": b'{"twice": ' + written(number, one.value) + b', "twice": 1, "type": 7}'}
        case _:
            return {"e": written(number, event).replace(b'"', b'\\"')}


@dataclass
class Evidence:
    """What was planted, and what was found of it afterwards."""

    seed: int
    mark: str
    hidden: list[Planted]
    places: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @cached_property
    def found(self) -> dict[str, set[str]]:
        """Names of the secrets that stand in each place."""
        searched = Searched(self.hidden)
        return {place: searched.found(text) for place, text in self.places.items()}

    def leaks(self, *channels: str) -> dict[str, list[str]]:
        """Names of secrets that came in by these channels, by the place where they were found."""
        of = tuple(f"{channel}: " for channel in channels)
        found = {place: sorted(name for name in names if name.startswith(of)) for place, names in self.found.items()}
        return {f"{place} (seed {self.seed})": names for place, names in found.items() if names}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def evidence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, graph_url: str) -> Evidence:
    """Everything is planted once, and every place is read once, for each kind of database."""
    seed = int(os.environ.get("MEMLANE_TEST_SEED") or secrets.randbelow(10**9))
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("planted")
    mark = f"mark{rng.randrange(10**9)}"
    found = Evidence(seed, mark, planted(rng, mark))
    if request.param == "sqlite":
        database = f"sqlite:///{folder / 'ledger.sqlite3'}"
    else:
        database = servers.new_database(request.getfixturevalue("postgres_server"))
    with ExitStack() as stack:
        queue_url = stack.enter_context(servers.queue_server(folder / "queue"))
        listener, model = stack.enter_context(datadog()), stack.enter_context(scripted_model())
        embedder = stack.enter_context(scripted_embedder())
        environ = {
            "MEMLANE_HOME": str(folder / "home"),
            "MEMLANE_VALKEY_URL": queue_url,
            "MEMLANE_DATABASE_URL": database,
            "MEMLANE_GRAPH_URL": graph_url,
            "MEMLANE_DATADOG": "true",
            "MEMLANE_PUBLISH_DEADLINE_MS": "10000",
            "MEMLANE_LLM_BASE_URL": model.url,
            "MEMLANE_LLM_MODEL": "scripted",
            "MEMLANE_LLM_TOKENS_A_DAY": "0",
            "MEMLANE_EMBEDDING_BASE_URL": embedder.url,
            "MEMLANE_EMBEDDING_MODEL": "scripted",
            "DD_AGENT_HOST": "127.0.0.1",
            "DD_DOGSTATSD_PORT": str(listener.port),
            "DD_DOGSTATSD_DISABLE": "false",
        }
        # Which stages are on, this process goes by, too.
        settings.cache_clear()
        stack.callback(settings.cache_clear)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environ.items():
            patch.setenv(name, value)
        group = f"g-{secrets.token_hex(4)}"
        seen = stack.enter_context(monitored(queue_url, f"{group}-foreign"))
        ledger = stack.enter_context(closing(Ledger(database)))
        migrate(ledger)
        page = stack.enter_context(flower_of(environ, folder))
        with servers.worker(environ, QUEUES, folder / "worker.log", processes=2):
            page("/")  # it knows only of tasks that begin when it is up
            _plant(found, queue_url, group)
            servers.wait_until(lambda: _all_dealt_with(ledger, found), "all events to be dealt with", 120)
            found.places["answers"] = _ask(found, queue_url, group)
            servers.wait_until(lambda: page("/api/tasks").count("memlane.recall") > 20, "Flower to know", 30)
            for path in ("/api/tasks?limit=10000", "/metrics", "/tasks", "/workers", "/broker", "/api/workers"):
                found.places[f"Flower {path}"] = page(path)
            with redis.Redis.from_url(queue_url) as queue:
                found.places["queue server, all keys"] = dump(queue)
                found.places["queue server, meanwhile"] = seen(queue)
        found.places["full text"] = _full_text(ledger)
        found.places["ledger, all rows"] = _rows(ledger)
        found.places["graph"] = _graph(graph_url, group)
        found.places["what the model was asked"] = "\n".join(asked.text for asked in model.asked)
        found.places["what the embedding model was asked"] = "\n".join(embedder.texts)
        found.places["Datadog"] = "\n".join(listener.datagrams)
        found.counts["dead"] = _count(ledger, dead_letters)
        found.counts["recorded"] = _count(ledger, events)
    for file in (path for path in folder.rglob("*") if path.is_file() and "queue" not in path.parts):
        found.places[f"file {file.relative_to(folder)}"] = file.read_bytes().decode("latin-1")
    found.places["worker's log"] = (folder / "worker.log").read_text()
    found.places["Flower's log"] = (folder / "flower.log").read_text()
    return found


def _plant(found: Evidence, queue_url: str, group: str) -> None:
    """Publish, by the publisher and by hand; in a group each, so that it is known who put what into a lane."""
    by = {channel: [one for one in found.hidden if one.channel == channel] for channel in CHANNELS}
    with Publisher(queue_url, source="test", group=group) as publisher, redis.Redis.from_url(queue_url) as queue:
        publisher.publish_many([event_of(n, one) for n, one in enumerate(by["published"])])
        publisher.publish_many([event_of(n, one) for n, one in enumerate(by["error"])])
        foreign = f"{group}-foreign"
        with queue.pipeline(transaction=False) as pipeline:
            for n, one in enumerate(by["foreign"]):
                pipeline.xadd(lua.lane(foreign), {"e": written(n, whole(event_of(n, one), foreign))})
            for n, one in enumerate(by["garbage"]):
                pipeline.xadd(lua.lane(foreign), garbage(n, one, foreign))
            pipeline.lpush(lua.BELL, f"lane {foreign}")
            pipeline.execute()


def _ask(found: Evidence, queue_url: str, group: str) -> str:
    """Ask with each secret; and what is known, so that answers are in the cache."""
    with Recall(queue_url, group=group) as memory, ThreadPoolExecutor(8) as pool:
        asked = [one.text for one in found.hidden if one.channel == "question"]
        answers = list(
            pool.map(lambda said: memory.ask(said, paths=[f"src/{said[:200]}"], tokens=60, deadline=30), asked)
        )
        answers.append(memory.ask("what of the retry loop and the password form?", deadline=30))
        assert answers[-1]["items"], "what was told is found"
    return json.dumps(answers, ensure_ascii=False)


def _all_dealt_with(ledger: Ledger, found: Evidence) -> bool:
    expected = sum(one.channel in ("published", "error", "foreign") for one in found.hidden)
    follows = {stage.name: stage.follows for stage in STAGES.values() if isinstance(stage, Follower) and stage.on}
    with ledger.read() as connection:
        recorded = connection.execute(select(func.count()).select_from(events)).scalar_one()
        dead = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one()
        return recorded >= expected and dead > 0 and not any(books.lag(connection, follows).values())


def _count(ledger: Ledger, table: Any) -> int:
    with ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _rows(ledger: Ledger) -> str:
    """All columns of all rows of all tables."""
    found = []
    with ledger.read() as connection:
        for table in inspect(connection).get_table_names():
            rows = connection.execute(text(f'SELECT * FROM "{table}"'))
            found += [f"{table} {tuple(row)!r}" for row in rows]
    return "\n".join(found)


def _full_text(ledger: Ledger) -> str:
    """All words that can be searched for."""
    with ledger.read() as connection:
        return " ".join(connection.execute(select(search_postings.c.term)).scalars())


def _graph(url: str, group: str) -> str:
    """All properties of all nodes and edges."""
    client = falkordb.FalkorDB(unix_socket_path=url.removeprefix("unix://"))
    found = []
    for name in (group, f"{group}-foreign"):
        graph = client.select_graph(name)
        for query in ("MATCH (n) RETURN labels(n), properties(n)", "MATCH ()-[r]->() RETURN type(r), properties(r)"):
            found += [repr(row) for row in graph.query(query).result_set]
        graph.delete()
    client.connection.close()
    return "\n".join(found)


def dump(queue: redis.Redis) -> str:
    """All keys, with all that is in them."""
    read = {
        b"string": queue.get,
        b"list": lambda key: queue.lrange(key, 0, -1),
        b"hash": queue.hgetall,
        b"set": queue.smembers,
        b"zset": lambda key: queue.zrange(key, 0, -1, withscores=True),
        b"stream": queue.xrange,
    }
    return "\n".join(f"{key!r} {read[queue.type(key)](key)!r}" for key in queue.scan_iter(count=1_000))


@contextmanager
def monitored(url: str, foreign: str) -> Iterator[Any]:
    """All commands that the server is sent, those of its scripts included; but for what a foreign producer puts into the
    lane of its group."""
    address = urlsplit(url)
    assert address.hostname
    heard = bytearray()
    with socket.create_connection((address.hostname, address.port or 6379)) as ear:
        ear.sendall(f"AUTH {address.password}\r\nMONITOR\r\n".encode())

        def listen() -> None:
            while received := ear.recv(1 << 20):
                heard.extend(received)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        servers.wait_until(lambda: heard.count(b"+OK") == 2, "MONITOR")

        def seen(queue: redis.Redis) -> str:
            end = secrets.token_hex(8)
            queue.echo(end)
            servers.wait_until(lambda: end.encode() in heard, "all commands")
            own = f'] "XADD" "{lua.lane(foreign)}"'
            return "\n".join(line for line in heard.decode("latin-1").split("\r\n") if own not in line)

        yield seen
        ear.shutdown(socket.SHUT_RDWR)
        listener.join()


@dataclass
class Listener:
    port: int
    datagrams: list[str] = field(default_factory=list)


@contextmanager
def datadog() -> Iterator[Listener]:
    """A socket in the place of Datadog's agent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        agent.bind(("127.0.0.1", 0))
        listener = Listener(agent.getsockname()[1])
        over = threading.Event()

        def listen() -> None:
            agent.settimeout(0.1)
            while not over.is_set():
                with suppress(TimeoutError):
                    listener.datagrams.append(agent.recv(65_536).decode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listener
        over.set()
        thread.join()


@contextmanager
def flower_of(environ: dict[str, str], folder: Path) -> Iterator[Any]:
    """Flower; what is handed out reads one of its pages."""
    home, port = Path(environ["MEMLANE_HOME"]), servers.free_port()
    program = flower.program(home, port)
    token = b64encode(f"{flower.USER}:{flower.password(home)}".encode()).decode()

    def page(path: str) -> str:
        servers.wait_until(program.ready, "Flower", 60)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with closing(connection):
            connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            assert answer.status == http.client.OK, path
            return answer.read().decode()

    with servers.process(program.command, folder / "flower.log", {**os.environ, **environ, "PYTHONPATH": str(ROOT)}):
        yield page


def test_none_of_the_secrets_is_found(evidence: Evidence) -> None:
    """Given secrets of all kinds that were published, put into lanes by hand, in events, errors and garbage, I expect none
    of them anywhere, and labels in their place."""
    hidden = [one for one in evidence.hidden if one.channel != "question"]
    assert len(hidden) >= 700
    assert len({one.kind for one in hidden}) >= 90
    assert {one.surrounding for one in hidden} == {"prose", "code", "diff", "data"}
    by = {channel: sum(one.channel == channel for one in hidden) for channel in CHANNELS}
    assert evidence.counts["recorded"] == by["published"] + by["error"] + by["foreign"]
    assert evidence.counts["dead"] == by["garbage"]

    assert evidence.leaks("published", "foreign", "garbage", "error") == {}

    for place in (
        "ledger, all rows",
        "graph",
        "Datadog",
        "queue server, meanwhile",
        "answers",
        "what the model was asked",
        "what the embedding model was asked",
    ):
        assert "[redacted:" in evidence.places[place], place
        assert evidence.mark in evidence.places[place], place


def test_what_is_searched_for_would_be_found(evidence: Evidence) -> None:
    """Given the places as they are, If one of the secrets stood there, in whatever form, I expect it to be found."""
    searched = Searched(evidence.hidden)
    for one in evidence.hidden:
        assert all(one.name in searched.found(f"x{form.upper()}x") for form in one.forms)
    told = "\n".join(one.text for one in evidence.hidden)
    assert searched.found(told) == {one.name for one in evidence.hidden}


def test_none_of_the_questions_is_found(evidence: Evidence) -> None:
    """Given questions that hold secrets of all kinds, I expect none of them anywhere, while they wait or afterwards."""
    assert evidence.leaks("question") == {}


def test_content_is_neither_logged_nor_shown(evidence: Evidence) -> None:
    """Given a word in every event and question, I expect it in no log and on no page of Flower; in Datadog, only in the
    text of errors."""
    for place, found in evidence.places.items():
        if "log" in place or "flower" in place.lower():
            assert evidence.mark not in found, place
    told = [line for line in evidence.places["Datadog"].splitlines() if line]
    assert all(line.startswith("_e{") for line in told if evidence.mark in line)
