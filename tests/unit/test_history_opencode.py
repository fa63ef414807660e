"""History straight from OpenCode databases: the recorded ones, which are only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memory.history import router
from memory.history.operations import HistoryError
from memory.history.scratch import holding
from ops.history import opencode
from producers.opencode_db import DatabaseNotFound, read_events
from tests.opencode_databases import AUTH, LIMITER, LOGIN, change, contents, recorded


@pytest.fixture(params=["single-session", "two-sessions"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return recorded(request.param, tmp_path)


@pytest.fixture
def limiter(tmp_path: Path) -> Path:
    return recorded("single-session", tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return recorded("two-sessions", tmp_path)


def ask(database: Path, tool: str, args: dict[str, Any] | None = None, **who: Any) -> dict[str, Any]:
    return opencode.answer(database, tool, args, **who).data


def test_it_is_the_history_that_an_import_gives(any_database: Path) -> None:
    """Given a database. If it is asked directly, I expect what the same operations give over all its events, imported:
    though less of it is read."""
    events = list(read_events(any_database, group_for=lambda _: "opencode"))
    with holding(events, "opencode") as ledger:

        def imported(tool: str, args: dict[str, Any] | None = None) -> Any:
            return unnumbered(router.answer(ledger, "opencode", tool, args).data)

        def direct(tool: str, args: dict[str, Any] | None = None) -> Any:
            return unnumbered(ask(any_database, tool, args))

        assert direct("sessions") == imported("sessions")
        assert direct("compactions") == imported("compactions")
        known = imported("summary")
        # Messages are not written after the session's latest event; the rest is what a database counts.
        assert {**known, **direct("summary"), "active": 0} == {**known, "active": 0}
        for session in {event.session for event in events}:
            for tool in ("messages", "compactions"):
                assert direct(tool, {"sessionId": session}) == imported(tool, {"sessionId": session})
        for query in ("rate limiters", "login test", "why did it fail?", "objective"):
            found = [each["id"] for each in direct("search", {"query": query, "limit": 100})["results"]]
            others = imported("search", {"query": query, "limit": 100})["results"]
            said = [each["id"] for each in others if each["type"] != "completion"]
            assert set(found) == set(said), query


def unnumbered(data: Any) -> Any:
    """Without what depends on how much was read: places among the events, and scores."""
    left_out = ("number", "first_seq", "last_seq", "score", "range")
    if isinstance(data, dict):
        return {name: unnumbered(value) for name, value in data.items() if name not in left_out}
    return [unnumbered(value) for value in data] if isinstance(data, list) else data


def test_a_session_and_its_messages(limiter: Path) -> None:
    (session,) = ask(limiter, "sessions")["sessions"]
    assert (session["session"], session["name"], session["messages"]) == (LIMITER, "Rate limiter", 4)
    found = ask(limiter, "messages", {"sessionId": LIMITER[:8]})["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "user", "assistant"]
    (one,) = ask(limiter, "messages", {"sessionId": LIMITER, "read": found[1]["id"]})["messages"]
    assert one == found[1]
    (one,) = ask(limiter, "messages", {"sessionId": LIMITER, "read": found[1]["number"]})["messages"]
    assert one == found[1]
    (compaction,) = ask(limiter, "compactions", {"read": "latest"})["compactions"]
    assert compaction["summary"].startswith("## Objective")
    assert ask(limiter, "help", {"tool": "search"})["tool"] == "search"


def test_sessions_by_project_and_in_pages(two: Path) -> None:
    listed = ask(two, "sessions")["sessions"]
    assert {each["session"] for each in listed} >= {AUTH, LOGIN}
    first, second = (each["session"] for each in listed[:2])
    page = ask(two, "sessions", {"limit": 1})
    assert (page["total"], [each["session"] for each in page["sessions"]]) == (len(listed), [first])
    page = ask(two, "sessions", {"limit": 1, "before": first})
    assert [each["session"] for each in page["sessions"]] == [second]
    mine = ask(two, "sessions", {"projectPath": "."}, project=listed[0]["project"])
    assert mine["total"] == sum(each["project"] == listed[0]["project"] for each in listed)
    assert ask(two, "sessions", {"projectPath": "/nowhere"})["sessions"] == []


def test_compare(two: Path) -> None:
    found = ask(two, "compare", {"sessionId": AUTH, "otherSessionId": LOGIN})
    assert [each["session"] for each in found["sessions"]] == [AUTH, LOGIN]
    assert found["files"]["only_first"] or found["files"]["only_second"] or found["files"]["both"]


def test_search_takes_words_as_they_are(limiter: Path) -> None:
    for query in ("%", "_", "100%", "\\", "'; DROP TABLE message; --", "capped"):
        ask(limiter, "search", {"query": query})
    found = ask(limiter, "search", {"query": "capping", "sessionId": LIMITER})["results"]
    assert found
    assert all("**cap" in each["snippet"] for each in found)
    assert {each["number"] for each in found} == {None}
    assert ask(limiter, "search", {"query": "zanzibar"})["results"] == []


def test_the_database_is_only_read(limiter: Path) -> None:
    before = contents(limiter.parent)
    for tool, args in (("summary", {}), ("sessions", {}), ("messages", {"sessionId": LIMITER}), ("compactions", {})):
        ask(limiter, tool, args)
    ask(limiter, "search", {"query": "limiter"})
    assert contents(limiter.parent) == before


def test_rows_that_are_broken_hide_no_others(limiter: Path) -> None:
    change(
        limiter,
        "UPDATE message SET data = 'broken' WHERE id = (SELECT min(id) FROM message)",
        "UPDATE part SET data = '{' WHERE id = (SELECT max(id) FROM part)",
        "DROP TABLE todo",
    )
    assert ask(limiter, "summary")["sessions"] == 1
    assert ask(limiter, "sessions")["sessions"][0]["messages"] in (2, 3)
    assert ask(limiter, "search", {"query": "limiter"})["results"]


@pytest.mark.parametrize(
    ("tool", "args", "error"),
    [
        ("messages", {"sessionId": "ses_none"}, "sessionId: there is no session 'ses_none' in "),
        ("messages", {}, "sessionId: name a session"),
        ("messages", {"read": 5}, "read: name the session, too"),
        ("search", {"query": "x", "sessionId": "ses_none"}, "sessionId: there is no session"),
        ("sessions", {"before": "nothing"}, "before: there is no session 'nothing'"),
        ("compare", {"sessionId": LIMITER, "otherSessionId": LIMITER}, "otherSessionId: name another session"),
    ],
)
def test_what_is_wrong_is_named(limiter: Path, tool: str, args: dict[str, Any], error: str) -> None:
    with pytest.raises(HistoryError) as found:
        ask(limiter, tool, args)
    assert str(found.value).startswith(error)


def test_no_database_is_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound):
        ask(tmp_path / "gone.db", "summary")
    assert list(tmp_path.iterdir()) == []
