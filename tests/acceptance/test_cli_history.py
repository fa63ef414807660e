"""`memlane history`, over a running system and straight from a database."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from ops.history.opencode import answer
from tests.acceptance.command import PATIENCE, CommandLine, lines
from tests.opencode_databases import LIMITER, recorded, renamed
from tests.servers import free_port, wait_until

DOCS = Path(__file__).parents[2] / "docs"


def test_over_the_group_and_over_the_database_it_is_the_same(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    """Given a database that was imported into a group. If both are asked, I expect the same sessions and messages, as
    JSON by the schemas, and as tables."""
    limiter = f"ses_{group}"
    database = str(renamed(recorded("single-session", tmp_path), LIMITER, limiter))
    calls = (
        ("summary",),
        ("sessions",),
        ("messages", limiter),
        ("messages", limiter[:10], "--limit", "1"),
        ("search", "limiter test"),
        ("compactions",),
        ("context", limiter),
    )
    assert memlane("import", "opencode", database, "--group", group).code == 0
    wait_until(lambda: memlane.books(group).recorded == 26, "the events and a checkpoint", PATIENCE)
    for call in calls:
        shared, direct = (
            memlane("history", *call, "--json").json,
            memlane("history", *call, "--db", database, "--json").json,
        )
        assert (shared["group"], direct["group"]) == (group, "opencode")
        for name in ("sessions", "messages", "compactions"):
            if isinstance(shared.get(name), list):
                # Of the group, workers have made checkpoints besides.
                both = [[each for each in found[name] if not each.get("checkpoint")] for found in (shared, direct)]
                ids = [[each.get("id", each["session"]) for each in found] for found in both]
                assert ids[0] == ids[1]
                assert ids[0]
    latest = ("history", "compactions", limiter, "--read", "latest")
    assert "## Files changed" in memlane(*latest).out
    assert "## Work State" in memlane(*latest, "--db", database).out
    assert "Rate limiter" in memlane("history", "sessions").out
    assert "min()" in memlane("history", "messages", limiter, "--db", database).out
    assert "sessions" in memlane("history", "summary").out
    assert limiter in memlane("history", "search", "limiter").out


def test_two_sessions_side_by_side(memlane: CommandLine, group: str) -> None:
    events = [
        {"type": "file.write", "session": session, "data": {"path": path}}
        for session, path in (("s1", "a.py"), ("s1", "b.py"), ("s2", "b.py"))
    ]
    memlane("publish", "--stdin", stdin=lines(*events))
    memlane.books(group)
    found = memlane("history", "compare", "s1", "s2", "--json").json
    assert found["files"] == {"both": ["b.py"], "only_first": ["a.py"], "only_second": []}
    assert "files of both (1 entry)\n  b.py" in memlane("history", "compare", "s1", "s2").out
    lists = "`memlane history sessions` lists them"
    memlane("history", "compare", "s1", "s3").failed(f"OTHER: there is no session 's3' in {group}, {lists}")
    memlane("history", "compare", "s1", "s1").failed("OTHER: name another session than SESSION")
    memlane("history", "messages", "s3").failed(f"SESSION: there is no session 's3' in {group}, {lists}")
    memlane("history", "search", "x", "--session", "s3").failed("memlane: --session: there is no session 's3'")
    memlane("history", "sessions", "--limit", "5000").failed("--limit:", "(`memlane history sessions --help`)")


def test_what_is_of_no_session(memlane: CommandLine, group: str) -> None:
    """Given commits, and what was remembered by a command, I expect the summary to count them, and a search to find the
    latter, without a session being named."""
    commits = [{"type": "vcs.commit", "data": {"sha": f"{n:040}", "message": f"Cart {n}"}} for n in range(20)]
    memlane("publish", "--stdin", stdin=lines(*commits))
    memlane("store", "carts are priced in UTC")
    memlane.books(group)
    found = memlane("history", "summary", "--json").json
    assert (found["sessions"], found["events"], found["messages"]) == (0, 21, 1)
    assert found["started"] > 0
    shown = memlane("history", "summary").out.split()
    assert shown[shown.index("events") + 1] == "21"
    assert "None" not in memlane("history", "search", "priced").out


def test_a_database_needs_no_server(tmp_path: Path) -> None:
    memlane = CommandLine(tmp_path / "no home", tmp_path, {"MEMLANE_GROUP": "shop"})
    database = recorded("single-session", tmp_path)
    assert "Rate limiter" in memlane("history", "sessions", "--db", str(database)).out
    assert (
        memlane("history", "--db", str(database), "sessions").out
        == memlane("history", "sessions", "--db", str(database)).out
    )
    assert "in no database" in memlane("history", "--db", str(database), "plans").err
    in_group = memlane("history", "sessions", "--db", str(database), "--group", "nosuch")
    assert (in_group.code, in_group.out) == (2, "")
    assert "a database has no groups" in in_group.err
    context = memlane("history", "context", "ses", "--db", str(database), "--json").json
    assert (context["tokens"], context["limit"], context["level"]) == (6_060, 200_000, "green")
    assert f"{LIMITER}  green  3.0 %" in memlane("history", "context", "ses", "--db", str(database)).out
    found = memlane("history", "summary", "--db", "default", "--json", OPENCODE_DB=str(database)).json
    assert (found["sessions"], found["messages"]) == (1, 4)
    assert not (tmp_path / "no home").exists()
    memlane("history", "sessions", "--db", "gone.db").failed("no OpenCode database at gone.db")
    memlane("history", "sessions").failed("memlane up")
    url = f"redis://:secret@127.0.0.1:{free_port()}"
    memlane("history", "sessions", MEMLANE_VALKEY_URL=url).failed("can't be used")


def test_plans_of_this_project(tmp_path: Path) -> None:
    memlane = CommandLine(tmp_path / "no home", tmp_path, {"MEMLANE_GROUP": "shop"})
    (tmp_path / ".git").mkdir()
    (tmp_path / ".opencode" / "plans").mkdir(parents=True)
    (tmp_path / ".opencode" / "plans" / "limiter.md").write_text("# Limiter\n\x1b[31mcap it\n")
    (tmp_path / "src").mkdir()
    (one,) = memlane("history", "plans", "--json", folder=tmp_path / "src").json["plans"]
    assert (one["name"], one["title"]) == ("limiter.md", "Limiter")
    assert r"\x1b[31mcap it" in memlane("history", "plans", "--read", "limiter.md").out
    assert "no plans in docs" in memlane("history", "plans", MEMLANE_PLANS="docs").out
    memlane("history", "plans", "--read", "../../x.md").failed("--read: there is no plan")


def test_what_agents_said_does_not_steer_the_terminal(memlane: CommandLine, group: str) -> None:
    said = {"type": "chat.message", "session": "s1", "data": {"role": "user", "text": "a red \x1b[31m [bold]herring"}}
    memlane("publish", "--stdin", stdin=lines(said))
    memlane.books(group)
    for call in (("messages", "s1"), ("search", "herring"), ("sessions",)):
        shown = memlane("history", *call).out
        assert "\x1b" not in shown
        assert r"\x1b[31m [bold]" in shown


def test_examples_of_the_documentation(tmp_path: Path) -> None:
    """What docs/history.md shows of the recorded sessions is what is answered."""
    examples = (DOCS / "history.md").read_text().partition("## Examples")[2].partition("## Context windows")[0]
    found = re.findall(r"^`(\w+)`(?: with `(.*?)`)?:\n\n```markdown\n(.*?)\n```", examples, re.DOTALL | re.MULTILINE)
    assert [tool for tool, _, _ in found] == ["sessions", "messages", "search", "compactions", "context"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = recorded("single-session", tmp_path / "one"), recorded("two-sessions", tmp_path / "two")
    for tool, args, shown in found:
        given = json.loads(args) if args else {"sessionId": LIMITER} if tool == "context" else {}
        assert answer(two if tool == "sessions" else one, tool, given).text.rstrip("\n") == shown, tool

    ((command, shown),) = re.findall(r"`(memlane history .*?)`:\n\n```\n(.*?)\n…\n```", examples, re.DOTALL)
    memlane = CommandLine(tmp_path / "no home", two.parent)
    out = memlane(*shlex.split(command)[1:]).out
    assert [line.rstrip() for line in out.splitlines()][: shown.count("\n") + 1] == shown.splitlines()
