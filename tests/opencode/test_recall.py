"""What memory holds at the start of a chat: from the cache, from a worker, too late, or not at all.

Real OpenCode, a real queue server, and a real worker, which is frozen where none is to answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psutil
import pytest
import redis
from sqlalchemy import select

from memory.ledger import Ledger, cursors, migrate
from memory.ledger.schema import events
from tests import servers
from tests.opencode.agent import PLUGIN, OpenCode, Served, configuration, project_at, served
from tests.opencode.model import Call, Model, Reply, calls, says

GROUP = "shop"


@dataclass(frozen=True)
class Team:
    server: Served
    model: Model
    queue: redis.Redis
    ledger: Ledger
    worker: psutil.Process

    def told(self, text: str) -> None:
        """A session in which the agent says this, once workers have dealt with it."""
        self.model.script("main", says(text))
        session = self.server.session()
        self.server.say(session, "Hello")
        servers.wait_until(lambda: self._settled(session), "all stages to have dealt with the session")

    def asked(self, text: str) -> list[str]:
        """Say this in a new session, in which the model takes two steps; the system messages of each."""
        self.model.script("main", calls("bash", command="true", description="Look"), says("I see."))
        self.server.say(self.server.session(), text)
        return self.model.systems("main")

    def answered(self) -> int:
        """How many answers were kept."""
        return len(self.queue.keys(f"memlane:context:{GROUP}:*"))

    @contextmanager
    def no_workers(self) -> Iterator[None]:
        processes = [self.worker, *self.worker.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _settled(self, session: str) -> bool:
        of_turn = select(events.c.seq).where(events.c.session == session, events.c.type == "completion")
        with self.ledger.read() as connection:
            end = connection.execute(of_turn).scalar()
            stages = ("index", "cache", "cache.index")
            return end is not None and all(cursors.position(connection, stage, GROUP) >= end for stage in stages)


@pytest.fixture(scope="module")
def team(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("recall")
    (folder / "home").mkdir()
    database = f"sqlite:///{folder / 'ledger.sqlite3'}"
    with (
        servers.queue_server(folder / "queue") as url,
        redis.Redis.from_url(url) as queue,
        closing(Ledger(database)) as ledger,
    ):
        migrate(ledger)
        environ = {
            "MEMLANE_HOME": str(folder / "home"),
            "MEMLANE_VALKEY_URL": url,
            "MEMLANE_DATABASE_URL": database,
            "MEMLANE_DATADOG": "false",
            "MEMLANE_PUBLISH_DEADLINE_MS": "10000",
        }
        opencode = OpenCode(folder / "opencode", model, environ)
        opencode.prepare()
        project = project_at(folder / "shop", configuration(model, plugin=[[PLUGIN, {"group": GROUP}]]))
        queues = "record,index,cache,recall"
        with (
            servers.worker(environ, queues, folder / "worker.log") as worker,
            served(opencode, project) as server,
        ):
            yield Team(server, model, queue, ledger, psutil.Process(worker.pid))


def test_what_is_cached_needs_no_worker(team: Team) -> None:
    team.told("The quokka test fails since the clock of the limiter was frozen.")
    question = "What about the quokka test?"
    # A worker may take longer than an agent waits; then what it found is cached all the same.
    team.asked(question)
    servers.wait_until(team.answered, "the answer")
    with team.no_workers():
        systems = team.asked(question)
    assert len(systems) == 2
    for system in systems:
        assert "[Memory Context]" in system
        assert "clock of the limiter was frozen" in system


def test_a_turn_goes_on_without_an_answer(team: Team) -> None:
    """After 300 ms, unless configured otherwise. How long it waits is measured by `python -m bench.opencode`."""
    with team.no_workers():
        systems = team.asked("What about the wombat test?")
    assert len(systems) == 2
    assert not any("[Memory Context]" in system for system in systems)


def test_an_answer_that_comes_late_is_there_for_the_next_step(team: Team) -> None:
    team.told("The platypus test fails since the queue was full.")
    thought = threading.Event()
    look = Call("bash", {"command": "true", "description": "Look"})
    team.model.script("main", Reply(calls=[look], waits_for=thought), says("I see."))
    session = team.server.session()
    with ThreadPoolExecutor() as pool:
        with team.no_workers():
            turn = pool.submit(team.server.say, session, "What about the platypus test?")
            servers.wait_until(lambda: team.model.asked("main"), "the first step")
            before = team.answered()
        try:
            servers.wait_until(lambda: team.answered() > before, "the answer")
        finally:
            thought.set()
        turn.result()
    early, late = team.model.systems("main")
    assert "[Memory Context]" not in early
    assert "the queue was full" in late
