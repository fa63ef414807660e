"""Reading OpenCode databases: two recorded ones, and those that are odd, busy or broken."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from memory.events import Event, native_id, parse
from ops.demo_data import recorded_database
from producers.opencode_db import (
    DatabaseNotFound,
    DatabaseUnreadable,
    NotOpenCodeDatabase,
    SkippedRow,
    count,
    database_path,
    read_events,
)

TESTS = Path(__file__).parents[1]
IDS = json.loads((TESTS / "vectors" / "ids.json").read_text("utf-8"))
LIMITER = "ses_e0378b67bffe7jKL94WGHJQZLU"
AUTH, LOGIN = "ses_e03789c6dffedpAx9HHck26tgO", "ses_e03789c63ffehMlQ2N3UOznPi9"


@pytest.fixture
def limiter(tmp_path: Path) -> Path:
    """The database of recording `single-session`."""
    return recorded_database(tmp_path)


@pytest.fixture
def two_sessions(tmp_path: Path) -> Path:
    """The database of recording `two-sessions`."""
    path = tmp_path / "opencode.db"
    change(path, (TESTS / "recordings" / "two-sessions.opencode-db.sql").read_text("utf-8"), "PRAGMA journal_mode=WAL")
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.executescript(statement)


def read(path: Path, skipped: list[SkippedRow] | None = None) -> list[Event]:
    """All events, none of whose rows may be skipped unless a list is given for those."""
    left_out: list[SkippedRow] = []
    events = list(read_events(path, group_for=lambda _: "shop", on_skipped=left_out.append))
    if skipped is None:
        assert left_out == []
    else:
        skipped += left_out
    return events


def of(events: list[Event], type: str) -> list[Event]:
    return [event for event in events if event.type == type]


def said(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.data["role"], event.data["text"]) for event in of(events, "chat.message")]


class TestTheLimiterSession:
    def test_counts(self, limiter: Path) -> None:
        assert Counter(event.type for event in read(limiter)) == {
            "session.start": 1,
            "chat.message": 4,
            "file.write": 4,
            "tool.call": 11,
            "error": 1,
            "todo.updated": 1,
            "session.compacted": 1,
            "completion": 2,
        }

    def test_the_envelope(self, limiter: Path) -> None:
        events = read(limiter)

        assert {(e.source, e.group, e.session, e.project) for e in events} == {
            ("opencode", "shop", LIMITER, "/home/dev/limiter")
        }
        assert Counter(e.agent for e in events) == {"build": 24, "compaction": 1}
        assert [e.time for e in events] == sorted(e.time for e in events)
        assert events[0].type == "session.start"
        assert events[0].data == {"title": "Rate limiter", "model": "fake/m1"}
        assert events[0].time.isoformat() == "2026-11-21T05:14:47.044000+00:00"
        assert all(parse(event.encode()) == event for event in events)

    def test_what_was_said(self, limiter: Path) -> None:
        assert said(read(limiter)) == [
            ("user", "Add a token bucket rate limiter with a test"),
            (
                "assistant",
                "Implemented a token-bucket rate limiter in src/limiter.py with a test. The first run failed because "
                "refill was not capped at capacity; I fixed it with min().",
            ),
            ("user", "Document it and commit"),
            ("assistant", "Committed the limiter and its README. Next: a sliding-window limiter."),
        ]
        first, answer, *_ = of(read(limiter), "chat.message")
        assert "tokens" not in first.data
        assert (answer.data["message"], answer.data["tokens"]) == ("msg_1fc8756d30010YaA4CgXtB9tkA", 8390)

    def test_what_was_written(self, limiter: Path) -> None:
        writes = of(read(limiter), "file.write")

        assert [(w.data["path"], w.data["tool"], w.data["additions"], w.data["deletions"]) for w in writes] == [
            ("src/limiter.py", "write", 17, 0),
            ("tests/test_limiter.py", "write", 8, 0),
            ("src/limiter.py", "edit", 1, 1),
            ("README.md", "write", 3, 0),
        ]
        assert "class TokenBucket:" in writes[0].data["summary"]

    def test_why_the_limiters_test_failed_and_what_fixed_it(self, limiter: Path) -> None:
        events = read(limiter)
        runs = [e for e in of(events, "tool.call") if "Run the test" in e.data.get("summary", "")]
        failed, passed = runs
        fix = of(events, "file.write")[2]

        assert (failed.data["status"], failed.data["exit"], failed.data["duration_ms"]) == ("completed", 1, 97)
        assert failed.data["summary"].startswith("Run the test: failed with exit code 1\n$ cd src && python3")
        assert failed.data["summary"].endswith("^\nAssertionError")
        assert "assert [bucket.allow() for _ in range(3)] == [True, True, False]" in failed.data["summary"]
        assert fix.data["summary"].startswith("@@ -8,9 +8,9 @@")
        assert "-    self.tokens = self.tokens + (now" in fix.data["summary"]
        assert "+    self.tokens = min(self.capacity" in fix.data["summary"]
        assert (passed.data["exit"], passed.data["summary"].splitlines()[-1]) == (0, "ok")
        assert failed.time < fix.time < passed.time

    def test_the_failed_edit(self, limiter: Path) -> None:
        events = read(limiter)
        (call,) = [e for e in of(events, "tool.call") if e.data["status"] == "error"]
        (error,) = of(events, "error")

        assert (call.data["tool"], call.data["path"]) == ("edit", "src/missing.py")
        assert error.data == {
            "message": "File /home/dev/limiter/src/missing.py not found",
            "name": "ToolError",
            "severity": "high",
            "tool": "edit",
            "path": "src/missing.py",
        }
        assert "src/missing.py" not in {e.data["path"] for e in of(events, "file.write")}

    def test_the_commit(self, limiter: Path) -> None:
        (commit,) = [e for e in of(read(limiter), "tool.call") if "git" in e.data.get("summary", "").split()]

        assert "commit -qm 'Add token bucket limiter'" in commit.data["summary"]
        assert commit.data["summary"].endswith("8e18bfe Add token bucket limiter\ncf03a19 init")

    def test_what_was_read_is_not_remembered(self, limiter: Path) -> None:
        (call,) = [e for e in of(read(limiter), "tool.call") if e.data["tool"] == "read"]

        assert call.data == {"tool": "read", "status": "completed", "duration_ms": 30, "path": "src/limiter.py"}

    def test_the_todo_list(self, limiter: Path) -> None:
        (todos,) = of(read(limiter), "todo.updated")

        assert todos.data["todos"] == [
            {"content": "Document the limiter", "status": "completed", "priority": "medium"},
            {"content": "Add a sliding-window limiter", "status": "pending", "priority": "high"},
        ]

    def test_the_compaction(self, limiter: Path) -> None:
        (compacted,) = of(read(limiter), "session.compacted")
        summary = compacted.data.pop("summary")

        assert compacted.data == {"auto": True, "overflow": False, "tokens_before": 16160, "tokens_after": 6060}
        assert summary.startswith("## Objective\nRate limiter library")
        assert "Token bucket refill must be capped with min(capacity, ...)" in summary

    def test_completions(self, limiter: Path) -> None:
        assert [e.data for e in of(read(limiter), "completion")] == [
            {"task": "Add a token bucket rate limiter with a test", "duration": 3.481, "tokens": 54870},
            {"task": "Document it and commit", "duration": 0.703, "tokens": 41060},
        ]

    def test_ids_are_the_ones_of_the_vectors(self, limiter: Path) -> None:
        ids = {event.id for event in read(limiter)}
        # Those with a dot are of calls that write several files, and of lists without a call: not in this session.
        expected = {v["id"] for v in IDS["ids"] if v["session"] == LIMITER and "." not in v["native"]}

        assert len(ids) == 25
        assert expected <= ids


class TestTwoSessions:
    def test_counts(self, two_sessions: Path) -> None:
        assert Counter((event.session, event.type) for event in read(two_sessions)) == {
            (AUTH, "session.start"): 1,
            (AUTH, "chat.message"): 2,
            (AUTH, "file.write"): 2,
            (AUTH, "tool.call"): 2,
            (AUTH, "completion"): 1,
            (LOGIN, "session.start"): 1,
            (LOGIN, "chat.message"): 1,
            (LOGIN, "file.write"): 1,
            (LOGIN, "tool.call"): 2,
            (LOGIN, "error"): 1,
        }

    def test_they_dont_mix(self, two_sessions: Path) -> None:
        # OpenCode's `patch` parts do: each holds the files of both sessions.
        writes = of(read(two_sessions), "file.write")

        assert [(w.session, w.data["path"]) for w in writes] == [
            (LOGIN, "web/login.ts"),
            (AUTH, "api/users.py"),
            (AUTH, "api/auth.py"),
        ]

    def test_time_runs_through_both(self, two_sessions: Path) -> None:
        events = read(two_sessions)

        assert [e.time for e in events] == sorted(e.time for e in events)
        assert [e.session for e in events][:4] == [AUTH, LOGIN, LOGIN, AUTH]

    def test_the_providers_error(self, two_sessions: Path) -> None:
        (error,) = of(read(two_sessions), "error")

        assert error.session == LOGIN
        assert error.data == {
            "message": "invalid request: tool schema rejected",
            "name": "APIError",
            "severity": "high",
        }
        assert error.id == native_id("opencode", LOGIN, "error", "msg_1fc876adb001cx0ShcG77yZFsu")

    def test_only_the_one_that_ended_well_completes(self, two_sessions: Path) -> None:
        (completion,) = of(read(two_sessions), "completion")

        assert (completion.session, completion.data["task"]) == (AUTH, "Build the users and auth API")

    def test_a_command_that_failed(self, two_sessions: Path) -> None:
        (call,) = [e for e in of(read(two_sessions), "tool.call") if e.data.get("exit") == 3]

        assert call.data["status"] == "completed"
        assert call.data["summary"] == (
            "Look at the API: failed with exit code 3\n$ cat api/auth.py; exit 3\n"
            "cat: api/auth.py: No such file or directory"
        )


class TestWhatALivePluginKnows:
    """Each id can also be made from what OpenCode's hooks tell."""

    @pytest.mark.parametrize("name", ["single-session", "two-sessions"])
    def test_hooks_name_all_native_ids(self, name: str, request: pytest.FixtureRequest) -> None:
        path = request.getfixturevalue("limiter" if name == "single-session" else "two_sessions")
        known: set[str] = set()
        for line in (TESTS / "recordings" / f"{name}.hooks.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            if row["kind"] != "event":
                continue
            properties = row["data"]["properties"]
            if row["name"] == "session.created":
                session = properties["info"]["id"]
                known.add(native_id("opencode", session, "session.start", session))
            elif row["name"] == "message.updated":
                info = properties["info"]
                for type in ("chat.message", "completion", "error", "session.compacted"):
                    known.add(native_id("opencode", info["sessionID"], type, info["id"]))
            elif row["name"] == "message.part.updated":
                part = properties["part"]
                status = part.get("state", {}).get("status")
                for type in ("file.write", "tool.call"):
                    known.add(native_id("opencode", part["sessionID"], type, part["id"], status))
                for type in ("error", "todo.updated"):
                    known.add(native_id("opencode", part["sessionID"], type, part["id"]))

        assert {event.id for event in read(path)} <= known


class TestReadingLeavesNoTrace:
    @pytest.fixture(params=["limiter", "two_sessions"])
    def path(self, request: pytest.FixtureRequest) -> Path:
        found: Path = request.getfixturevalue(request.param)
        return found

    def test_twice_gives_the_same_bytes(self, path: Path) -> None:
        assert [event.encode() for event in read(path)] == [event.encode() for event in read(path)]

    def test_ids_are_all_different(self, path: Path) -> None:
        ids = [event.id for event in read(path)]
        assert len(ids) == len(set(ids))

    def test_no_file_is_made_or_changed(self, path: Path) -> None:
        before = _files(path.parent)
        read(path)
        count(path)

        assert before == _files(path.parent)
        assert set(before) == {"opencode.db"}

    def test_half_an_import_leaves_none_either(self, path: Path) -> None:
        before = _files(path.parent)
        events = read_events(path, group_for=lambda _: "shop")
        next(events)
        events.close()  # type: ignore[attr-defined]

        assert before == _files(path.parent)

    def test_a_folder_without_write_access(self, path: Path) -> None:
        everything = [event.encode() for event in read(path)]
        path.chmod(0o444)
        path.parent.chmod(0o555)
        try:
            assert [event.encode() for event in read(path)] == everything
        finally:
            path.parent.chmod(0o755)

    def test_a_database_that_opencode_has_open(self, path: Path) -> None:
        everything = [event.encode() for event in read(path)]
        with closing(sqlite3.connect(path)) as opencode:
            opencode.execute("UPDATE session SET title = 'Renamed'")
            opencode.commit()
            # What is only in the -wal is read, and a transaction that goes on holds nothing up.
            opencode.execute("BEGIN IMMEDIATE")
            opencode.execute("DELETE FROM message")
            before = _files(path.parent)
            events = read(path)

            assert set(before) == set(_files(path.parent)) == {"opencode.db", "opencode.db-wal", "opencode.db-shm"}
            assert len(events) == len(everything)
            assert of(events, "session.start")[0].data["title"] == "Renamed"
            opencode.rollback()
        assert set(_files(path.parent)) == {"opencode.db"}

    def test_a_database_that_changes_while_it_is_read(self, path: Path) -> None:
        expected = len(read(path))
        events = read_events(path, group_for=lambda _: "shop")
        first = next(events)
        # OpenCode starts, writes, and stops: all of it is in the main file, which is open as one that never changes.
        change(path, """UPDATE message SET data = replace(data, '"agent":"build"', '"agent":"plan"')""", "VACUUM")
        rest = list(events)

        assert first.type == "session.start"
        assert len(rest) == expected - 1
        assert {event.agent for event in rest if event.type == "chat.message"} == {"plan"}
        assert set(_files(path.parent)) == {"opencode.db"}

    def test_a_database_in_the_older_journal_mode(self, path: Path) -> None:
        expected = len(read(path))
        change(path, "PRAGMA journal_mode=DELETE")

        assert len(read(path)) == expected
        assert set(_files(path.parent)) == {"opencode.db"}


def _files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


class TestWhereTheDatabaseIs:
    @pytest.mark.parametrize(
        ("environ", "path"),
        [
            ({"XDG_DATA_HOME": "/data"}, "/data/opencode/opencode.db"),
            ({"XDG_DATA_HOME": "/data", "OPENCODE_DB": "/srv/oc.db"}, "/srv/oc.db"),
            ({"XDG_DATA_HOME": "/data", "OPENCODE_DB": "dev.db"}, "/data/opencode/dev.db"),
            ({"XDG_DATA_HOME": "", "OPENCODE_DB": ""}, str(Path.home() / ".local/share/opencode/opencode.db")),
        ],
    )
    def test_path(self, environ: dict[str, str], path: str) -> None:
        assert str(database_path(environ)) == path

    def test_odd_names(self, limiter: Path) -> None:
        odd = limiter.rename(limiter.with_name("my #1 ?mode=rwc %20 größe.db"))

        assert len(read(odd)) == 25
        assert set(_files(odd.parent)) == {odd.name}

    def test_none_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "opencode.db"

        with pytest.raises(DatabaseNotFound, match=f"no OpenCode database at {path}: name it, or set OPENCODE_DB"):
            count(path)
        assert not path.exists()

    @pytest.mark.parametrize("content", [b"", b"SQLite", b"hello world, this is text", bytes(4096)])
    def test_it_is_no_database(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "opencode.db"
        path.write_bytes(content)

        with pytest.raises(NotOpenCodeDatabase, match=f"{path} is no SQLite database: name OpenCode's opencode.db"):
            read(path)

    def test_it_is_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseUnreadable, match="Is a directory"):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("statement", "missing"),
        [
            ("DROP TABLE part", "table part"),
            ("ALTER TABLE message RENAME COLUMN data TO content", "column message.data"),
            ("ALTER TABLE session RENAME TO chat", "table session"),
        ],
    )
    def test_it_is_another_programs(self, limiter: Path, statement: str, missing: str) -> None:
        change(limiter, statement)

        with pytest.raises(NotOpenCodeDatabase, match=f"{limiter} has no {missing}: it isn't OpenCode's"):
            read(limiter)

    def test_it_is_damaged(self, limiter: Path) -> None:
        content = bytearray(limiter.read_bytes())
        content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
        limiter.write_bytes(content)

        with pytest.raises(DatabaseUnreadable, match=f"{limiter} can't be read: .*integrity_check"):
            read(limiter)


def test_progress_adds_up_to_the_count(limiter: Path) -> None:
    reported: list[int] = []
    list(read_events(limiter, group_for=lambda _: "shop", on_progress=reported.append))

    assert reported == list(range(1, count(limiter) + 1))
    assert count(limiter) == 18


def test_the_group_is_asked_once_for_each_folder(two_sessions: Path) -> None:
    asked: list[str] = []

    def group_for(folder: str) -> str:
        asked.append(folder)
        return f"shop-{len(asked)}"

    assert {event.group for event in read_events(two_sessions, group_for=group_for)} == {"shop-1"}
    assert asked == ["/home/dev/limiter"]
