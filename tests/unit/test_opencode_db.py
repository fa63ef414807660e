"""What two recorded sessions of OpenCode become, and that a live capture could make the same ids."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from memory.events import Event, native_id, parse
from producers.opencode_db import count, read_events
from tests.opencode_databases import AUTH, LIMITER, LOGIN, RECORDINGS, of, read, recorded

IDS = json.loads((Path(__file__).parents[1] / "vectors" / "ids.json").read_text("utf-8"))


@pytest.fixture
def limiter(tmp_path: Path) -> Path:
    return recorded("single-session", tmp_path)


@pytest.fixture
def two_sessions(tmp_path: Path) -> Path:
    return recorded("two-sessions", tmp_path)


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
        for line in (RECORDINGS / f"{name}.hooks.jsonl").read_text("utf-8").splitlines():
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
