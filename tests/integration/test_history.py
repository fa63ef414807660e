"""History over the ledger, on both databases: what each operation gives, and that it stays within its group."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from memory.context_window import ModelLimit, Thresholds, overflows, percentage
from memory.history import router
from memory.history.markdown import CHARACTERS_A_TOKEN, TOKENS
from memory.history.operations import OPERATIONS, HistoryError, checked
from memory.ledger import Ledger, migrate, sessions
from memory.ledger.log import emptied
from memory.ledger.schema import events as log
from memory.ledger.sessions import Session
from tests.histories import BEGAN_MS, event, index_again, put, said

MINUTE = 60_000


def ask(ledger: Ledger, tool: str, args: dict[str, Any] | None = None, **who: Any) -> dict[str, Any]:
    """An operation's data."""
    return router.answer(ledger, who.pop("group", "shop"), tool, args, **who).data


def read(ledger: Ledger, tool: str, args: dict[str, Any] | None = None, **who: Any) -> str:
    """An operation's text."""
    return router.answer(ledger, who.pop("group", "shop"), tool, args, **who).text


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """Two sessions of a shop, one of another project folder, and one of another group."""
    todos = [{"content": "fix", "status": "completed"}, {"content": "test", "status": "pending"}]
    put(
        ledger,
        [
            event(
                1, "session.start", "ses_a", {"title": "New session - 2026-11-21", "model": "acme/m1"}, agent="build"
            ),
            said(2, "ses_a", "Why does the limiter test fail?\nIt worked yesterday.", message="msg_1"),
            event(3, "file.write", "ses_a", {"path": "/home/dev/shop/src/limiter.py"}),
            event(4, "error", "ses_a", {"message": "AssertionError: 3 != 2"}),
            event(5, "todo.updated", "ses_a", {"todos": todos}),
            said(6, "ses_a", "The limiter counted requests twice; fixed.", "assistant", tokens=4_000, message="msg_2"),
            event(7, "completion", "ses_a", {"task": "fix the limiter", "duration": 4.0, "tokens": 9_000}),
            event(8, "session.start", "ses_b", {"title": "Price carts", "parent": "ses_a"}, agent="plan"),
            said(9, "ses_b", "How are carts priced? The limiter is not meant."),
            event(10, "file.write", "ses_b", {"path": "src/cart.py"}),
            event(11, "file.write", "ses_b", {"path": "src/limiter.py"}),
            event(12, "context.warning", "ses_b", {"context_size": 180_000, "limit": 200_000}),
            event(13, "session.compacted", "ses_b", {"summary": "Carts are priced in UTC.", "tokens_before": 180_000}),
            event(14, "checkpoint.created", "ses_b", {"checkpoint": "cp1", "summary": "a checkpoint of carts"}),
            said(15, "ses_c", "elsewhere", project="/home/dev/other"),
            event(16, "vcs.commit", None, {"sha": "abc", "message": "the limiter counts once"}),
        ],
    )
    put(ledger, [event(17, "chat.message", "ses_x", {"role": "user", "text": "limiter secrets"}, group="bank")], "bank")
    return ledger


def test_summary_counts(told: Ledger) -> None:
    assert ask(told, "summary") == {
        "group": "shop",
        "sessions": 3,
        "projects": 2,
        "started": BEGAN_MS + MINUTE,
        "active": BEGAN_MS + 16 * MINUTE,
        "events": 16,
        "messages": 4,
        "writes": 3,
        "errors": 1,
        "completions": 1,
        "compactions": 1,
        "checkpoints": 1,
        "tokens": 9_000,
        "todos_open": 1,
        "todos_done": 1,
    }
    assert "- todos: 1 open, 1 done" in read(told, "summary")
    assert "- 4 messages, 1 compaction, 1 checkpoint" in read(told, "summary")
    assert ask(told, "summary", group="nobody")["sessions"] == 0
    assert "Nothing is known yet" in read(told, "summary", group="nobody")


def test_summary_counts_what_is_of_no_session(ledger: Ledger) -> None:
    """Given events of no session only, one of them forgotten, I expect all others to count, in text as in data."""
    commits = [event(n, "vcs.commit", None, {"sha": f"{n:040}", "message": "limiter"}) for n in range(1, 5)]
    more: list[tuple[str, dict[str, Any]]] = [
        ("user.request", {"request": "in UTC", "action": "remember"}),
        ("file.write", {"path": "a.py"}),
        ("completion", {"task": "t"}),
        ("session.compacted", {"summary": "s"}),
    ]
    put(ledger, commits + [event(n, type, None, data) for n, (type, data) in enumerate(more, 5)])
    with ledger.write() as connection:
        connection.execute(update(log).where(log.c.seq == 1).values(**emptied(1)))
    found = ask(ledger, "summary")
    assert (found["sessions"], found["projects"], found["events"]) == (0, 1, 7)
    assert (found["started"], found["active"]) == (BEGAN_MS + 2 * MINUTE, BEGAN_MS + 8 * MINUTE)
    names = ("messages", "writes", "errors", "completions", "compactions", "checkpoints")
    assert [found[name] for name in names] == [1, 1, 0, 1, 1, 0]
    assert "- 7 events: 1 file write" in read(ledger, "summary")


def test_a_turn_that_ended_is_no_completed_task(ledger: Ledger) -> None:
    """Given a question that was answered, which Claude Code's transcripts tell as the end of a turn, I expect its
    tokens to count, and nobody to say that it was completed."""
    asked = "Which carts are there?"
    turn = {"task": asked, "duration": 3.0, "tokens": 70, "turn": True}
    put(
        ledger,
        [
            said(1, "ses_a", asked),
            said(2, "ses_a", "One, in src/cart.py.", "assistant"),
            event(3, "completion", "ses_a", turn),
            said(4, "ses_b", "hello"),
            event(5, "completion", "ses_b", {"task": "price carts", "tokens": 5}),
        ],
    )
    assert [(each["completions"], each["tokens"]) for each in ask(ledger, "sessions")["sessions"]] == [(1, 5), (0, 70)]
    compared = ask(ledger, "compare", {"sessionId": "ses_a", "otherSessionId": "ses_b"})
    assert [side["tasks"] for side in compared["sessions"]] == [[], ["price carts"]]
    found = ask(ledger, "search", {"query": "which carts are there"})["results"]
    assert [each["number"] for each in found if "Completed" in each["snippet"] or each["type"] == "completion"] == [5]


def test_sessions_are_listed_by_project_the_latest_first(told: Ledger) -> None:
    found = ask(told, "sessions")
    assert [each["session"] for each in found["sessions"]] == ["ses_c", "ses_b", "ses_a"]
    assert found["total"] == 3
    oldest = found["sessions"][-1]
    assert oldest["name"] == "Why does the limiter test fail?"
    assert (oldest["model"], oldest["agent"], oldest["duration_ms"]) == ("acme/m1", "build", 6 * MINUTE)
    assert (oldest["messages"], oldest["writes"], oldest["todos_open"], oldest["tokens"]) == (2, 1, 1, 9_000)
    assert found["sessions"][1]["parent"] == "ses_a"

    shown = read(told, "sessions", session="ses_b")
    assert (
        shown.index("## /home/dev/other") < shown.index("## /home/dev/shop") < shown.index("`ses_b` (your own) Price")
    )
    mine = ask(told, "sessions", {"projectPath": "."}, project="/home/dev/other")
    assert [each["session"] for each in mine["sessions"]] == ["ses_c"]
    shop = ask(told, "sessions", {"projectPath": "/home/dev/shop/", "limit": 1})
    assert (shop["total"], [each["session"] for each in shop["sessions"]]) == (2, ["ses_b"])
    assert 'before: "ses_b"' in read(told, "sessions", {"projectPath": "/home/dev/shop", "limit": 1})
    behind = ask(told, "sessions", {"before": "ses_b"})
    assert [each["session"] for each in behind["sessions"]] == ["ses_a"]


def test_messages_of_a_session(told: Ledger) -> None:
    found = ask(told, "messages", {"sessionId": "ses_a"})
    assert [(each["number"], each["role"]) for each in found["messages"]] == [(2, "user"), (6, "assistant")]
    assert found["earlier"] is False
    assert found["messages"][0]["text"].endswith("yesterday.")
    shown = read(told, "messages", session="ses_a")
    assert "> Why does the limiter test fail?\n> It worked yesterday." in shown

    last = ask(told, "messages", {"sessionId": "ses_a", "limit": "1"})
    assert ([each["number"] for each in last["messages"]], last["earlier"]) == ([6], True)
    assert "before: 6 shows those before these" in read(told, "messages", {"sessionId": "ses_a", "limit": 1})
    assert [each["number"] for each in ask(told, "messages", {"sessionId": "ses_a", "before": 6})["messages"]] == [2]
    for named in (6, "6", "e6"):
        assert ask(told, "messages", {"read": named})["messages"][0]["text"].startswith("The limiter counted")


def test_a_long_session_is_shown_in_pages_that_lose_nothing(ledger: Ledger) -> None:
    """Given messages that are too many and too long for one text, If each text's advice is followed, I expect every
    message, once, none of the texts above its budget, and every one whole by its number."""
    texts = [f"number {n}: " + f"word{n} " * (300 if n % 3 else 3) for n in range(120)]
    put(ledger, [said(n, "ses", each) for n, each in enumerate(texts, 1)])
    seen: list[str] = []
    before: int | None = None
    for _ in range(100):
        shown = read(ledger, "messages", {"sessionId": "ses", "limit": 1000, "before": before})
        assert len(shown) <= TOKENS * CHARACTERS_A_TOKEN
        page = [line.split(":")[0] for line in shown.splitlines() if line.startswith("> number")]
        seen = page + seen
        advice = [line for line in shown.splitlines() if "before: " in line]
        if not advice:
            break
        before = int(advice[0].split("before: ")[1].split()[0])
    assert seen == [f"> number {n}" for n in range(120)]
    assert "read: NUMBER shows one whole" in shown or before == 1
    whole = read(ledger, "messages", {"read": 50})
    assert " ".join(texts[49].split()) in " ".join(whole.split())


def test_search_finds_stems_ranks_and_marks(told: Ledger) -> None:
    found = ask(told, "search", {"query": "which limiters count requests"})
    assert found["results"][0]["number"] == 6
    assert found["results"][0]["snippet"] == "assistant: The **limiter** **counted** **requests** twice; fixed."
    assert {each["number"] for each in found["results"]} <= {2, 6, 7, 9}
    assert [each["score"] for each in found["results"]] == sorted(
        (each["score"] for each in found["results"]), reverse=True
    )
    # Neither another group's, nor what isn't conversation.
    assert "ses_x" not in read(told, "search", {"query": "limiter secrets"})
    assert {each["session"] for each in ask(told, "search", {"query": "limiter", "sessionId": "ses_b"})["results"]} == {
        "ses_b"
    }
    assert ask(told, "search", {"query": "cart checkpoint"})["results"][0]["type"] == "checkpoint.created"
    assert ask(told, "search", {"query": "zanzibar"})["results"] == []
    assert "Nothing." in read(told, "search", {"query": "zanzibar"})


def test_snippets_show_where_most_words_are(ledger: Ledger) -> None:
    line = "xx " * 200 + "a needle and one more needle " + "yy " * 200 + "a needle and thread are here " + "zz " * 200
    put(ledger, [said(1, "ses", line)])
    wanted = {
        "needle": "a **needle** and one more **needle** yy",
        "needles threads": "a **needle** and **thread** are here",
    }
    for query, shown in wanted.items():
        (found,) = ask(ledger, "search", {"query": query})["results"]
        assert shown in found["snippet"]
        assert len(found["snippet"]) < 300
        assert found["snippet"].startswith("…")
        assert found["snippet"].endswith("…")


def test_compactions(told: Ledger) -> None:
    found = ask(told, "compactions")
    assert (found["total"], [each["number"] for each in found["compactions"]]) == (2, [14, 13])
    assert found["compactions"][1]["tokens_before"] == 180_000
    assert ask(told, "compactions", {"sessionId": "ses_a"})["compactions"] == []
    assert ask(told, "compactions", {"limit": 1})["total"] == 2
    assert "1 more compaction" in read(told, "compactions", {"limit": 1})
    for wanted, number in (("latest", 14), ("cp1", 14), (13, 13), ("e13", 13)):
        (one,) = ask(told, "compactions", {"read": wanted})["compactions"]
        assert one["number"] == number
    assert "> Carts are priced in UTC." in read(told, "compactions", {"read": 13, "sessionId": "ses_b"})
    for args in ({"read": 2}, {"read": "nowhere"}, {"read": 13, "sessionId": "ses_a"}):
        with pytest.raises(HistoryError, match="read: there is no compaction"):
            ask(told, "compactions", args)
    with pytest.raises(HistoryError, match="nothing was compacted in nobody yet"):
        ask(told, "compactions", {"read": "latest"}, group="nobody")


def test_compare(told: Ledger) -> None:
    found = ask(told, "compare", {"sessionId": "ses_a", "otherSessionId": "ses_b"})
    assert found["files"] == {"both": ["src/limiter.py"], "only_first": [], "only_second": ["src/cart.py"]}
    first, second = found["sessions"]
    assert (first["error_messages"], first["tasks"]) == (["AssertionError: 3 != 2"], ["fix the limiter"])
    assert (first["messages"], second["messages"], first["tokens"], second["tokens"]) == (2, 1, 9_000, 0)
    shown = read(told, "compare", {"otherSessionId": "ses_b"}, session="ses_a")
    assert "| messages | 2 | 1 |" in shown
    assert "## Files of both (1)\n- `src/limiter.py`" in shown
    with pytest.raises(HistoryError, match="otherSessionId: is missing"):
        ask(told, "compare", {"sessionId": "ses_a"})
    with pytest.raises(HistoryError, match="name another session"):
        ask(told, "compare", {"sessionId": "ses_a", "otherSessionId": "ses_a"})


def test_context(told: Ledger) -> None:
    found = ask(told, "context", {"sessionId": "ses_b"})
    assert (found["percentage"], found["level"], found["limit_known"]) == (90.0, "red", True)
    # What came after the warning is newer than it.
    put(told, [said(20, "ses_b", "so", "assistant", tokens=150_000)])
    assert ask(told, "context", {"sessionId": "ses_b"})["level"] == "yellow"
    mine = ask(told, "context", session="ses_a", thresholds=Thresholds(1, 2, 3))
    assert (mine["tokens"], mine["limit"], mine["limit_known"], mine["level"]) == (4_000, 200_000, False, "red")
    with pytest.raises(HistoryError, match="size of the context of ses_c is not known"):
        ask(told, "context", {"sessionId": "ses_c"})


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {}, "sessionId: name a session"),
    ("messages", {"sessionId": "ses_zz"}, "sessionId: there is no session 'ses_zz' in shop"),
    ("messages", {"sessionId": "ses_x"}, "sessionId: there is no session 'ses_x' in shop"),
    ("messages", {"sessionId": "ses_"}, "sessionId: several sessions begin with 'ses_': ses_a, ses_b, ses_c;"),
    ("messages", {"sessionId": "%"}, "sessionId: there is no session '%' in shop"),
    ("messages", {"sessionId": "ses_a", "limit": 0}, "limit: input should be greater than or equal to 1"),
    ("messages", {"sessionId": "ses_a", "limit": "many"}, "limit: input should be a valid integer"),
    ("messages", {"read": 17}, "read: there is no message '17'"),
    ("messages", {"read": 3}, "read: there is no message '3'"),
    ("sessions", {"limt": 5}, "'limt': sessions has no such argument, it takes limit, projectPath, before"),
    ("search", {"query": "  "}, "query: string should have at least 1 character"),
    ("summary", {"a": 1}, "'a': summary has no such argument, it takes no arguments"),
    ("help", {"tool": "nothing"}, "tool: there is no operation 'nothing'"),
]


def test_what_is_wrong_is_named(told: Ledger) -> None:
    for tool, args, error in WRONG:
        with pytest.raises(HistoryError) as found:
            ask(told, tool, args)
        assert str(found.value).startswith(error)


def test_an_unmistakable_beginning_is_enough(told: Ledger) -> None:
    put(told, [said(21, "ses_long_name", "x")])
    assert ask(told, "messages", {"sessionId": "ses_long"})["session"]["session"] == "ses_long_name"


def test_help_explains_every_argument(told: Ledger) -> None:
    listed = ask(told, "help")["operations"]
    assert [each["tool"] for each in listed] == list(OPERATIONS)
    for name, found in OPERATIONS.items():
        explained = read(told, "help", {"tool": name})
        for argument, about in found.names().items():
            assert f"`{argument}`" in explained
            assert about["description"] in explained
        # The example is right.
        checked(name, found.example)


def test_hidden_parts_stay_visible_and_are_marked(told: Ledger) -> None:
    put(told, [event(22, "part.hidden", "ses_a", {"part": "msg_2", "replacement": "fixed, see git"})])
    first, second = ask(told, "messages", {"sessionId": "ses_a"})["messages"]
    assert first["hidden"] is False
    assert (second["hidden"], second["replacement"]) == (True, "fixed, see git")
    assert "hidden from the model, which sees: fixed, see git" in read(told, "messages", {"sessionId": "ses_a"})
    marks = {each["number"]: each["hidden"] for each in ask(told, "search", {"query": "limiter"})["results"]}
    assert (marks[2], marks[6]) == (False, True)
    put(told, [event(23, "part.shown", "ses_a", {"part": "msg_2"})])
    assert ask(told, "messages", {"sessionId": "ses_a"})["messages"][1]["hidden"] is False


def test_what_was_forgotten_is_not_shown(told: Ledger) -> None:
    """Given an event of which only a tombstone is left, I expect no operation to show it, and after `recount` none to
    count it."""
    with told.write() as connection:
        connection.execute(update(log).where(log.c.seq == 6).values(**emptied(1)))
        sessions.recount(told, connection, "shop", ["ses_a"])
    assert [each["number"] for each in ask(told, "messages", {"sessionId": "ses_a"})["messages"]] == [2]
    assert 6 not in [each["number"] for each in ask(told, "search", {"query": "limiter requests"})["results"]]
    assert ask(told, "summary")["messages"] == 3
    with told.write() as connection:
        connection.execute(update(log).where(log.c.session == "ses_c").values(**emptied(1)))
        sessions.recount(told, connection, "shop", ["ses_c"])
    assert [each["session"] for each in ask(told, "sessions")["sessions"]] == ["ses_b", "ses_a"]


def test_counted_as_they_come_is_counted_anew(ledger: Ledger) -> None:
    """Given random events in batches of all sizes, I expect the table of sessions to be what counting them all at once
    makes of them."""
    chance = random.Random(6)
    makers: list[tuple[str, dict[str, Any]]] = [
        ("session.start", {"title": "T", "model": "m", "parent": "p"}),
        ("chat.message", {"role": "user", "text": "ask\nmore"}),
        ("chat.message", {"role": "assistant", "text": "answer", "tokens": 5}),
        ("chat.start", {"query": "begin"}),
        ("file.write", {"path": "a.py"}),
        ("error", {"message": "e"}),
        ("completion", {"task": "t", "tokens": 7}),
        ("completion", {"task": "t"}),
        ("todo.updated", {"todos": [{"content": "a", "status": "done"}, {"content": "b"}]}),
        ("context.warning", {"context_size": 3, "limit": 9}),
        ("session.compacted", {"tokens_after": 2}),
        ("unknown.type", {}),
    ]
    events = []
    for number in range(1, 600):
        type, data = chance.choice(makers)
        more = {"agent": chance.choice(["build", "plan"])} if chance.random() < 0.5 else {}
        events.append(event(number, type, chance.choice(["s1", "s2", "s3", None]), dict(data), **more))
    at = 0
    while at < len(events):
        size = chance.choice([1, 2, 17, 90])
        put(ledger, events[at : at + size])
        at += size

    def table() -> list[Session]:
        with ledger.read() as connection:
            return sessions.latest(connection, "shop", 10)

    before = table()
    assert {each.session for each in before} == {"s1", "s2", "s3"}
    with ledger.write() as connection:
        sessions.recount_all(ledger, connection, "shop")
    assert table() == before


def test_a_ledger_of_before_gets_its_sessions(told: Ledger) -> None:
    """Given a ledger whose schema is from before there were tables of sessions and of postings. If it is migrated, and
    stage `index` has begun again, I expect them."""
    before = ask(told, "sessions")["sessions"]
    with told.write() as connection:
        later = ("spending", "extractions", "embeddings", "embedding_codes", "embedding_models", "forgettings")
        for table in ("sessions", "search_postings", "search_blocks", "checkpoints", *later):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("DROP INDEX events_forgotten"))
        connection.execute(text("ALTER TABLE events DROP COLUMN forgotten"))
        connection.execute(text("CREATE TABLE event_search (n INTEGER)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    migrate(told)
    assert ask(told, "sessions")["sessions"] == []
    index_again(told)
    after = ask(told, "sessions")["sessions"]
    names = ("session", "project", "parent", "title", "model", "started", "active", "events", "messages", "writes")
    more = ("errors", "completions", "compactions", "tokens", "first_seq", "last_seq")
    assert [{name: each[name] for name in names + more} for each in after] == [
        {name: each[name] for name in names + more} for each in before
    ]


VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "context.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", VECTORS["overflow"], ids=str)
def test_opencodes_own_rule(vector: dict[str, Any]) -> None:
    limit = ModelLimit(**vector["limit"])
    assert overflows(vector["tokens"], limit, **vector["compaction"]) is vector["overflows"]


@pytest.mark.parametrize("vector", VECTORS["levels"], ids=str)
def test_levels(vector: dict[str, Any]) -> None:
    thresholds = Thresholds(**vector.get("thresholds", {}))
    used = percentage(vector["tokens"], vector["limit"])
    assert used == vector["percentage"]
    assert thresholds.level(used) == vector["level"]
