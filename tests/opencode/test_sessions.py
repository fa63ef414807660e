"""What happens in real OpenCode sessions, and what comes of it in memory.

A real `opencode serve` with the plugin talks to a scripted model; behind it a whole `memlane up` runs. Each test has
sessions, and models, of its own; OpenCode, project and memory are shared, as those of a team are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from memory.ledger import Ledger
from memory.ledger.schema import events
from tests.acceptance.command import PATIENCE, CommandLine
from tests.acceptance.test_up import Up, up
from tests.opencode.agent import PLUGIN, OpenCode, Served, configuration, project_at, served
from tests.opencode.model import Model, calls, says
from tests.planted import ALNUM, token
from tests.servers import wait_until

#: One model a test, so that each has a script of its own.
MODELS = (
    "main",
    "worker",
    "first",
    "second",
    "failing",
    "asking",
    "compacted",
    "full",
    "tools",
    "todo",
    "boss",
    "child",
)
GROUP = "shop"
#: Limits small enough that a scripted answer fills the window.
LIMIT = {"context": 20_000, "output": 4_000}


@dataclass(frozen=True)
class Team:
    """OpenCode at work in a project, and the memory behind it."""

    opencode: OpenCode
    server: Served
    stack: Up
    model: Model

    @property
    def project(self) -> Path:
        return self.server.project

    def events(self, session: str, type: str = "") -> list[dict[str, Any]]:
        """What the ledger holds of a session, in its order."""
        query = select(events).where(events.c.group_id == GROUP, events.c.session == session).order_by(events.c.seq)
        with closing(Ledger(f"sqlite:///{self.stack.home / 'ledger.sqlite3'}")) as ledger, ledger.read() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        for row in rows:
            row["data"] = row["data"] if isinstance(row["data"], dict) else json.loads(row["data"])
        return [row for row in rows if not type or row["type"] == type]

    def wait_for(self, session: str, type: str, number: int = 1) -> list[dict[str, Any]]:
        """Events of a type, as soon as there are so many."""
        wait_until(lambda: len(self.events(session, type)) >= number, f"{number} {type} of {session}", PATIENCE)
        return self.events(session, type)


@pytest.fixture(scope="module")
def team(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with up(folder / "home") as stack:
        # On a busy machine nothing is to go into the spool that need not.
        environ = {"MEMLANE_HOME": str(stack.home), "MEMLANE_PUBLISH_DEADLINE_MS": "10000"}
        options = {"group": GROUP, "recallDeadlineMs": 10_000}
        opencode = OpenCode(folder / "opencode", model, environ)
        opencode.prepare()
        config = configuration(model, MODELS, [[PLUGIN, options]], limit=LIMIT)
        project = project_at(folder / "shop", config)
        with served(opencode, project) as server:
            yield Team(opencode, server, stack, model)


def test_a_session_is_captured(team: Team) -> None:
    """A file is written, edited, an edit fails, a command fails, todos are made, and the turn ends."""
    cart = str(team.project / "src" / "cart.py")
    team.model.script(
        "worker",
        calls("write", filePath=cart, content="total = 1\n"),
        calls("edit", filePath=cart, oldString="total = 1", newString="total = 2\nrows = 3"),
        calls("edit", filePath=cart, oldString="nowhere", newString="x"),
        calls("bash", command="echo broken; exit 3", description="Run the tests"),
        calls("todowrite", todos=[{"content": "test the cart", "status": "pending", "priority": "high"}]),
        says("The cart is done."),
    )
    session = team.server.session()
    team.server.say(session, "Write the cart", "worker")
    (completion,) = team.wait_for(session, "completion")
    found = team.events(session)

    assert [event["type"] for event in found[:3]] == ["session.start", "chat.start", "chat.message"]
    assert completion["data"]["task"] == "Write the cart"
    assert completion["data"]["tokens"] == 6 * 110
    assert completion["data"]["duration"] > 0
    writes = [event["data"] for event in found if event["type"] == "file.write"]
    assert [(data["path"], data["tool"], data["additions"], data["deletions"]) for data in writes] == [
        ("src/cart.py", "write", 1, 0),
        ("src/cart.py", "edit", 2, 1),
    ]
    assert "+rows = 3" in writes[1]["summary"]
    tools = [(event["data"]["tool"], event["data"]["status"]) for event in found if event["type"] == "tool.call"]
    ended = [("write", "completed"), ("edit", "completed"), ("edit", "error"), ("bash", "completed")]
    assert tools == [*ended, ("todowrite", "completed")]
    (error,) = [event["data"] for event in found if event["type"] == "error"]
    assert (error["tool"], error["path"], error["severity"]) == ("edit", "src/cart.py", "high")
    (bash,) = [event["data"] for event in found if event["type"] == "tool.call" and event["data"]["tool"] == "bash"]
    assert bash["summary"] == "Run the tests: failed with exit code 3\n$ echo broken; exit 3\nbroken"
    (todos,) = [event["data"]["todos"] for event in found if event["type"] == "todo.updated"]
    assert todos == [{"content": "test the cart", "status": "pending", "priority": "high"}]
    said = [(event["data"]["role"], event["data"]["text"]) for event in found if event["type"] == "chat.message"]
    assert said == [("user", "Write the cart"), ("assistant", "The cart is done.")]
    assert {event["agent"] for event in found} == {"build"}
    assert {event["project"] for event in found} == {str(team.project)}


def test_another_session_gets_what_the_first_one_learned(team: Team) -> None:
    """What one session found out is in the system messages of another one, and is not captured once more there."""
    team.model.script("first", says("The quokka test failed since the clock of the limiter was frozen."))
    first = team.server.session()
    team.server.say(first, "Why does the quokka test fail?", "first")
    team.wait_for(first, "completion")

    team.model.script("second", calls("bash", command="true", description="Look"), says("I know."))
    second = team.server.session()
    team.server.say(second, "What about the quokka test?", "second")
    systems = team.model.systems("second")
    assert len(systems) == 2
    for system in systems:
        assert "[Memory Context]" in system
        assert "clock of the limiter was frozen" in system
    team.wait_for(second, "completion")
    kept = [event for event in team.events(second) if "frozen" in json.dumps(event["data"])]
    assert not kept
    # Neither the title's nor a question without an answer is given any.
    assert not any("[Memory Context]" in system for system in team.model.systems("title"))


def test_errors_are_told_once(team: Team) -> None:
    """The provider refuses: OpenCode says so in an event of the session and in the message."""
    team.model.script("failing", says("no such thing", status=400))
    session = team.server.session()
    team.server.say(session, "Try it", "failing")
    team.wait_for(session, "error")
    # What comes behind shows that nothing more of it is under way.
    team.model.script("failing", says("Now it works."))
    team.server.say(session, "Try again", "failing")
    (completion,) = team.wait_for(session, "completion")
    (error,) = team.events(session, "error")
    assert error["data"]["name"] == "APIError"
    assert "no such thing" in error["data"]["message"]
    assert completion["data"]["task"] == "Try again"


def test_two_sessions_at_once_keep_their_files_apart(team: Team) -> None:
    """Both sessions write files of their own, in turns, in the same project."""
    for name in ("first", "second"):
        writes = [
            calls("write", filePath=str(team.project / name / f"{n}.txt"), content=f"{name} {n}\n") for n in range(5)
        ]
        team.model.script(name, *writes, says("Done."))
    sessions = {name: team.server.session() for name in ("first", "second")}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: team.server.say(sessions[name], f"Write {name}", name), sessions))
    for name, session in sessions.items():
        team.wait_for(session, "completion")
        paths = [event["data"]["path"] for event in team.events(session, "file.write")]
        assert paths == [f"{name}/{n}.txt" for n in range(5)]


def test_a_subagent_is_no_completion(team: Team) -> None:
    """A subagent is a session of its own, with its parent; only the root's turn is a completion."""
    team.model.script(
        "boss",
        calls("task", description="Look around", prompt="Look around well", subagent_type="general"),
        says("It looked around."),
        says("It looked around."),
    )
    session = team.server.session()
    team.server.say(session, "Send somebody", "boss")
    team.wait_for(session, "completion")
    children = [child["id"] for child in team.server.request("GET", f"/session/{session}/children")]
    (child,) = children
    (started,) = team.wait_for(child, "session.start")
    assert started["data"]["parent"] == session
    assert team.wait_for(child, "chat.message", 2)
    assert not team.events(child, "completion")
    assert len(team.events(session, "completion")) == 1


def test_a_full_window_is_told_once_a_level(team: Team) -> None:
    """At yellow and red the agent is advised, and an event says so, once each."""
    team.model.script(
        "full",
        says("One.", tokens=(14_500, 10)),
        says("Two.", tokens=(14_600, 10)),
        says("Three.", tokens=(14_700, 10)),
    )
    session = team.server.session()
    for text in ("one", "two", "three"):
        team.server.say(session, text, "full")
    team.wait_for(session, "completion", 3)
    (warning,) = team.events(session, "context.warning")
    assert warning["data"] == {"context_size": 14_510, "limit": 20_000, "percentage": 72.5, "level": "yellow"}
    first, *later = team.model.systems("full")
    assert "[Context Window]" not in first
    assert all("[Context Window] yellow: 7" in system for system in later)


def test_a_compaction_goes_on_as_itself(team: Team) -> None:
    """The prompt of a compaction is Memlane's, with the session's brief; what came of it is captured."""
    team.model.script("compacted", says("We agreed on blue.", tokens=(5_000, 10)), says("Still blue."))
    session = team.server.session()
    team.server.say(session, "Which colour?", "compacted")
    with team.stack.queue() as queue:
        ready = lambda: "Which colour?" in (queue.get(f"memlane:brief:{session}") or "")  # noqa: E731
        wait_until(ready, "the workers to have made the session's brief", PATIENCE)
    team.model.script("compaction", says("I decided on blue.", tokens=(300, 20)))
    team.server.compact(session)
    (compacting,) = team.wait_for(session, "session.compacting")
    (compacted,) = team.wait_for(session, "session.compacted")
    assert compacting["data"]["tokens_before"] == 5_010
    assert compacting["data"]["auto"] is False
    assert compacted["data"]["summary"] == "I decided on blue."
    assert compacted["data"]["tokens_before"] == 5_010
    (asked,) = team.model.asked("compaction")
    prompt = json.dumps(asked["messages"][-1])
    assert "a note to yourself" in prompt
    # Within the frame: the conversation that follows has the question, too.
    assert "Which colour?" in prompt.partition("<session-memory")[2].partition("</session-memory>")[0]
    assert "[Memory Context]" not in json.dumps(asked)

    # The next one carries the summary of this one, which OpenCode would drop.
    team.server.say(session, "And now?", "compacted")
    team.model.script("compaction", says("Still blue, I decided.", tokens=(300, 20)))
    team.server.compact(session)
    team.wait_for(session, "session.compacted", 2)
    (asked,) = team.model.asked("compaction")
    assert "I decided on blue." in json.dumps(asked["messages"][-1])


def test_the_tools_answer(team: Team) -> None:
    """The agent remembers, recalls, looks at its window and plans, and asks for a compaction."""
    plans = team.project / ".opencode" / "plans"
    plans.mkdir(parents=True)
    (plans / "cart.md").write_text("# Cart\nFirst the rows.\n")
    (plans / "out.md").symlink_to(team.stack.home / "run" / "stack.json")
    team.model.script(
        "tools",
        calls("memory", tool="remember", args={"text": "platypus deploys go out on Tuesdays"}),
        calls("memory", tool="context", args={}),
        calls("memory", tool="plans", args={}),
        calls("memory", tool="plans", args={"read": "cart"}),
        calls("memory", tool="plans", args={"read": "../../opencode.json"}),
        calls("memory", tool="plans", args={"read": "out"}),
        calls("memory", tool="recall", args={"query": "when do platypus deploys go out?"}),
        calls("memory", tool="sessions", args={"limit": 5}),
        calls("memory", tool="help", args={}),
        calls("memory", tool="nonsense", args={}),
        calls("memory_compact"),
        says("Done."),
    )
    team.model.script("compaction", says("A short note."))
    session = team.server.session()
    team.server.say(session, "Use your memory", "tools")
    parts = [part for message in team.server.messages(session) for part in message["parts"]]
    outputs = [part["state"].get("output", "") for part in parts if part["type"] == "tool"]
    kept, window, listed, read, outside, linked, recalled, sessions, helped, nonsense, compacting = outputs
    assert kept == "Kept."
    assert window.startswith("green: 0.6 %, 110 of 20,000 tokens")
    assert "cart.md" in listed
    assert "out.md" not in listed
    assert read == "# Cart\nFirst the rows.\n"
    assert outside.startswith("No answer: read: there is no plan")
    assert linked.startswith("No answer: read: there is no plan")
    assert "go out on Tuesdays" in recalled
    assert session in sessions
    assert "remember" in helped
    assert "search" in helped
    assert nonsense.startswith("No answer: tool: there is no operation")
    assert "ended your turn" in compacting
    (compacted,) = team.wait_for(session, "session.compacted")
    assert compacted["data"]["summary"] == "A short note."
    (request,) = team.events(session, "user.request")
    assert request["data"] == {"request": "platypus deploys go out on Tuesdays", "action": "remember"}
    # What memory was asked for is nothing to remember.
    assert {event["data"]["tool"] for event in team.events(session, "tool.call")} == set()


def test_secrets_stay_here(team: Team) -> None:
    """What looks like a secret leaves neither by events nor by questions."""
    secret, _ = token("ghp_", ALNUM, 36)(random.Random(7))
    team.model.script("todo", calls("bash", command=f"echo {secret}", description="Say it"), says(f"It is {secret}."))
    session = team.server.session()
    team.server.say(session, f"My token is {secret}, and <private>Rumpelstiltskin</private> too", "todo")
    team.wait_for(session, "completion")
    found = json.dumps([event["data"] for event in team.events(session)])
    assert "Say it" in found
    assert secret not in found
    assert "Rumpelstiltskin" not in found


def test_a_deleted_session_has_ended(team: Team) -> None:
    team.model.script("todo", says("Hello."))
    session = team.server.session()
    team.server.say(session, "Hello", "todo")
    team.server.delete(session)
    (ended,) = team.wait_for(session, "session.end")
    assert ended["data"] == {"reason": "deleted", "messages": 2}


def test_doctor_says_that_messages_arrive(team: Team, tmp_path: Path) -> None:
    memlane = CommandLine(team.stack.home, tmp_path, {"XDG_CONFIG_HOME": str(team.opencode.folder / "config")})
    team.model.script("todo", says("Hello."))
    session = team.server.session()
    team.server.say(session, "Hello", "todo")
    team.wait_for(session, "completion")

    def found() -> list[tuple[str, str]]:
        findings = memlane("doctor", "--json").json["findings"]
        return [(one["state"], one["message"]) for one in findings if one["check"] == "OpenCode"]

    ((state, message),) = found()
    assert state == "ok"
    assert "the last message was captured" in message
    assert f"in group {GROUP}" in message
    memlane("install", "opencode")
    ((state, message),) = found()
    assert state == "ok"
    assert "loads the plugin; the last message was captured" in message
    memlane("install", "opencode", "--uninstall")


def test_importing_what_was_captured_brings_nothing_new(team: Team, tmp_path: Path) -> None:
    """Live events and their later import are the same ones: whoever sees both has them once."""
    memlane = CommandLine(team.stack.home, tmp_path, {"MEMLANE_GROUP": GROUP})
    memlane.books(GROUP)
    before = memlane.books(GROUP)
    imported = memlane("import", "opencode", str(team.opencode.database), "--json").json
    after = memlane.books(GROUP)
    assert imported["published"] > 50
    assert after.duplicates - before.duplicates == imported["published"]
    assert after.recorded == before.recorded
