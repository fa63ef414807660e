"""A session ends when it has rested for long: here, for little more than a second. Real OpenCode, real queue server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import pytest
import redis

from tests import servers
from tests.opencode.agent import PLUGIN, OpenCode, Served, configuration, project_at, served
from tests.opencode.lanes import Lanes
from tests.opencode.model import Model, says

MINUTES = 0.02


@dataclass(frozen=True)
class Team:
    server: Served
    model: Model
    lanes: Lanes


@pytest.fixture(scope="module")
def team(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("rest")
    (folder / "home").mkdir()
    with servers.queue_server(folder / "queue") as url, redis.Redis.from_url(url) as queue:
        environ = {
            "MEMLANE_HOME": str(folder / "home"),
            "MEMLANE_VALKEY_URL": url,
            "MEMLANE_PUBLISH_DEADLINE_MS": "10000",
            "MEMLANE_SESSION_IDLE_MINUTES": str(MINUTES),
        }
        opencode = OpenCode(folder / "opencode", model, environ)
        opencode.prepare()
        project = project_at(folder / "shop", configuration(model, ("main", "slow"), [[PLUGIN, {"group": "shop"}]]))
        with served(opencode, project) as server:
            yield Team(server, model, Lanes(queue))


def at(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def test_a_session_that_rests_has_ended(team: Team) -> None:
    """It may go on, and rest, later."""
    session = team.server.session()
    for turn in (1, 2):
        team.server.say(session, f"Hello {turn}")
        ended = team.lanes.wait_for(session, "session.end", turn)[-1]
        assert ended["data"] == {"reason": "idle", "messages": 2}
        last = team.lanes.events(session)
        assert last[-1] == ended
        assert at(ended) - at(last[-2]) >= 60 * MINUTES
    assert len(team.lanes.events(session, "session.end")) == 2
    assert len(team.lanes.events(session, "completion")) == 2


def test_a_session_at_work_goes_on(team: Team) -> None:
    """The model of one session thinks for longer than another one rests."""
    thought = threading.Event()
    team.model.script("slow", says("I have thought.", waits_for=thought))
    slow, quick = team.server.session(), team.server.session()
    with ThreadPoolExecutor() as pool:
        turn = pool.submit(team.server.say, slow, "Think", "slow")
        try:
            team.lanes.wait_for(slow, "chat.message")
            team.server.say(quick, "Hello")
            team.lanes.wait_for(quick, "session.end")
            assert not team.lanes.events(slow, "session.end")
        finally:
            thought.set()
        turn.result()
    (ended,) = team.lanes.wait_for(slow, "session.end")
    assert ended["data"] == {"reason": "idle", "messages": 2}
