"""What becomes of a compaction's prompt by option and beside other plugins, and what is captured of OpenCode's own ones.

A real `opencode serve` works in several projects, each with a configuration and a group of its own. The queue server is
real; no workers run, so that what they would have made (the session's brief) is what a test puts there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import servers
from tests.opencode.agent import PLUGIN, OpenCode, Served, configuration, project_at, served
from tests.opencode.lanes import Lanes
from tests.opencode.model import Model, says

#: OpenCode compacts by itself from 16,000 tokens on.
LIMIT = {"context": 20_000, "output": 4_000}
BRIEF = "The cart must stay blue."
#: How Memlane's own prompt and OpenCode's can be told.
OURS, OPENCODES = "this is a note to yourself", "anchored summary"


#: The two other plugins of every project. What they do at the beginning of a compaction, a test writes into their file.
PLACES = ("before", "behind")
OTHER = """
export default { id: "%(place)s", server: async () => ({
  "experimental.session.compacting": async (input, output) =>
    new Function("output", await Bun.file("%(file)s").text())(output),
}) };
"""
MODELS = ("main", "filling", "refused")


@dataclass(frozen=True)
class Team:
    server: Served
    model: Model
    lanes: Lanes
    folder: Path

    def project(self, name: str, **options: Any) -> Served:
        """A project, and its group of the same name, whose OpenCode has Memlane's plugin between two others."""
        before, behind = [(self.folder / f"{place}.js").as_uri() for place in PLACES]
        config = configuration(self.model, MODELS, [before, [PLUGIN, {"group": name, **options}], behind], limit=LIMIT)
        return replace(self.server, project=project_at(self.folder / name, config))

    def others(self, **bodies: str) -> None:
        """What the other plugins do, by their place."""
        for place in PLACES:
            (self.folder / f"{place}.txt").write_text(bodies.get(place, ""))

    def compact(self, project: Served) -> tuple[str, str]:
        """Compact a new session that has a brief; the session, and what the model was asked."""
        self.model.script("main", says("We agreed on blue.", tokens=(5_000, 10)))
        self.model.script("compaction", says("I decided on blue."))
        session = project.session()
        project.say(session, "Which colour?")
        self.lanes.queue.set(f"memlane:brief:{session}", BRIEF)
        project.compact(session)
        (asked,) = self.model.asked("compaction")
        (message,) = [message for message in asked["messages"] if message["role"] == "user"]
        return session, message["content"]


@pytest.fixture(scope="module")
def team(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("compactions")
    (folder / "home").mkdir()
    with servers.queue_server(folder / "queue") as url, redis.Redis.from_url(url) as queue:
        environ = {
            "MEMLANE_HOME": str(folder / "home"),
            "MEMLANE_VALKEY_URL": url,
            # On a busy machine nothing is to go into the spool that need not.
            "MEMLANE_PUBLISH_DEADLINE_MS": "10000",
            "MEMLANE_RECALL_DEADLINE_MS": "1000",
        }
        opencode = OpenCode(folder / "opencode", model, environ)
        opencode.prepare()
        for place in PLACES:
            (folder / f"{place}.js").write_text(OTHER % {"place": place, "file": folder / f"{place}.txt"})
        with served(opencode, project_at(folder / "elsewhere", configuration(model))) as server:
            team = Team(server, model, Lanes(queue), folder)
            team.others()
            yield team


@pytest.fixture(scope="module")
def shop(team: Team) -> Served:
    """The project in which nothing is configured but the group."""
    return team.project("shop")


# Whose prompt


def test_the_brief_is_appended(team: Team) -> None:
    """With `append`, OpenCode's own prompt stays, and another plugin's context and the brief follow it."""
    team.others(behind='output.context.push("The beaver sleeps.");')
    _, prompt = team.compact(team.project("append", compaction="append"))
    assert OURS not in prompt
    own, _, added = prompt.partition("<session-memory>")
    assert OPENCODES in own
    assert "We agreed on blue." in own
    assert added == f"\n{BRIEF}\n</session-memory>\n\nThe beaver sleeps."


def test_a_compaction_is_left_alone(team: Team) -> None:
    """With `off`, nothing of it is changed; it is captured nevertheless."""
    team.others()
    session, prompt = team.compact(team.project("off", compaction="off"))
    assert OPENCODES in prompt
    assert OURS not in prompt
    assert BRIEF not in prompt
    (compacting,) = team.lanes.wait_for(session, "session.compacting")
    assert compacting["data"] == {"auto": False, "tokens_before": 5_010}
    (compacted,) = team.lanes.wait_for(session, "session.compacted")
    assert compacted["data"] == {"auto": False, "summary": "I decided on blue.", "tokens_before": 5_010}


@pytest.mark.parametrize("place", PLACES)
def test_what_another_plugin_adds_is_part_of_the_prompt(team: Team, shop: Served, place: str) -> None:
    """OpenCode drops `context` where there is a prompt: ours holds it, wherever the other plugin stands."""
    team.others(**{place: 'output.context.push("The beaver sleeps.");'})
    _, prompt = team.compact(shop)
    assert OPENCODES not in prompt
    own, _, others = prompt.partition("</session-memory>")
    assert OURS in own
    assert BRIEF in own
    assert others.startswith("\n\nThe beaver sleeps.\n")


@pytest.mark.parametrize("place", PLACES)
def test_another_plugins_prompt_stays(team: Team, shop: Served, place: str) -> None:
    """The brief is added to it, once, wherever the other plugin stands."""
    team.others(**{place: 'output.prompt = "Write a poem on all of this.";'})
    _, prompt = team.compact(shop)
    assert prompt.startswith("Write a poem on all of this.\n\nWhat your memory holds on this session.")
    assert prompt.count(BRIEF) == 1
    assert OURS not in prompt
    assert OPENCODES not in prompt


def test_another_plugin_writes_on_from_our_prompt(team: Team, shop: Served) -> None:
    team.others(behind='output.prompt += "\\nIn Latin, please.";')
    _, prompt = team.compact(shop)
    assert OURS in prompt
    assert prompt.count(BRIEF) == 1
    assert "\nIn Latin, please.\n\n" in prompt


# OpenCode's own compactions


def test_a_full_window_is_compacted_once(team: Team, shop: Served) -> None:
    """An answer fills the window: OpenCode compacts and goes on. The two events say so, with summary and tokens."""
    team.others()
    team.model.script("filling", says("A long answer.", tokens=(16_500, 10)), says("On I go.", tokens=(700, 5)))
    team.model.script("compaction", says("I gave a long answer.", tokens=(16_600, 20)))
    session = shop.session()
    shop.say(session, "Tell me all", "filling")
    (compacted,) = team.lanes.wait_for(session, "session.compacted")
    (compacting,) = team.lanes.events(session, "session.compacting")
    assert compacting["data"] == {"auto": True, "overflow": False, "tokens_before": 16_510}
    told = {"summary": "I gave a long answer.", "tokens_before": 16_510, "tokens_after": 705}
    assert compacted["data"] == {"auto": True, "overflow": False, **told}
    assert len(team.model.asked("filling")) == 2


def test_a_refused_request_is_compacted_once(team: Team, shop: Served) -> None:
    """The provider says that the window is too small: OpenCode compacts what was before, and asks again."""
    team.others()
    session = shop.session()
    team.model.script("refused", says("Hello.", tokens=(5_000, 10)))
    shop.say(session, "Hello", "refused")
    refusal = says("prompt is too long: 30000 tokens > 20000 maximum", status=400)
    team.model.script("refused", refusal, says("Now.", tokens=(800, 2)))
    team.model.script("compaction", says("We said hello."))
    shop.say(session, "Tell me all", "refused")
    (compacted,) = team.lanes.wait_for(session, "session.compacted")
    (compacting,) = team.lanes.events(session, "session.compacting")
    assert compacting["data"] == {"auto": True, "overflow": True, "tokens_before": 5_010}
    told = {"summary": "We said hello.", "tokens_before": 5_010, "tokens_after": 802}
    assert compacted["data"] == {"auto": True, "overflow": True, **told}
