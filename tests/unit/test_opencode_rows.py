"""Rows as they also occur: unfinished, of subagents, of other tools and versions, and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memory.events import native_id
from producers.opencode_db import SkippedRow
from producers.opencode_events import native_of_todos
from tests.opencode_databases import LIMITER, change, data_of, of, read, recorded, replace_data

REQUEST, ANSWER, LAST_ANSWER = (
    "msg_1fc8749b6001CvaYtFZinygOZF",
    "msg_1fc8756d30010YaA4CgXtB9tkA",
    "msg_1fc8759b8001TUcF6ekPoiaX19",
)
REQUEST_TEXT, WRITE, WRITE_MESSAGE = (
    "prt_1fc8749bd001tE9ndH8AKItfjb",
    "prt_1fc87527600125etrL279onIsn",
    "msg_1fc875226001eo9EwhDuaBvqZw",
)
SUMMARY = "msg_1fc875946001n22wuLRcszmb0i"

IDS = json.loads((Path(__file__).parents[1] / "vectors" / "ids.json").read_text("utf-8"))

#: What `data` may hold when a disk, a crash or another version had a hand in it.
GARBAGE: list[Any] = ["", "{", "null", "[]", "7", '"x"', b"\xff\xfe\x00", None, "NaN", "[" * 100_000]
#: What is JSON, but says nothing.
EMPTY = ["{}", '{"type":1e999}', '{"type":["tool"],"role":{}}']


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return recorded("single-session", tmp_path)


def written(tool: str, metadata: dict[str, Any], **given: Any) -> dict[str, Any]:
    """A completed tool call."""
    time = {"start": 1795238089340, "end": 1795238089358}
    state = {"status": "completed", "input": given, "output": "ok", "metadata": metadata, "title": "t", "time": time}
    return {"type": "tool", "tool": tool, "callID": "call_1", "state": state}


def writes(path: Path) -> list[dict[str, Any]]:
    """What the call that was put in the place of `WRITE` wrote."""
    prefix = native_ids(WRITE)
    return [e.data for e in of(read(path), "file.write") if e.id in prefix]


def native_ids(part: str) -> list[str]:
    natives = [part, *(f"{part}.{n}" for n in range(1, 5))]
    return [native_id("opencode", LIMITER, "file.write", native, "completed") for native in natives]


class TestUnfinished:
    def test_an_answer_still_being_written_is_left_for_later(self, path: Path) -> None:
        everything = [event.encode() for event in read(path)]
        finished = data_of(path, "message", LAST_ANSWER)
        replace_data(path, "message", LAST_ANSWER, {**finished, "time": {"created": finished["time"]["created"]}})
        now = [event.encode() for event in read(path)]

        assert now == everything[:-2]
        replace_data(path, "message", LAST_ANSWER, finished)
        assert [event.encode() for event in read(path)] == everything

    def test_an_answer_that_was_cut_off_counts_once_the_next_has_begun(self, path: Path) -> None:
        before = {event.id for event in read(path)}
        cut_off = data_of(path, "message", WRITE_MESSAGE)
        del cut_off["time"]["completed"], cut_off["finish"]
        replace_data(path, "message", WRITE_MESSAGE, cut_off)

        assert {event.id for event in read(path)} == before

    @pytest.mark.parametrize("status", ["pending", "running", "unheard of"])
    def test_a_tool_that_has_not_ended_has_done_nothing(self, path: Path, status: str) -> None:
        part = data_of(path, "part", WRITE)
        part["state"]["status"] = status
        replace_data(path, "part", WRITE, part)

        assert writes(path) == []
        assert len(of(read(path), "tool.call")) == 10

    def test_a_summary_that_failed_is_no_compaction(self, path: Path) -> None:
        failed = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}
        replace_data(path, "message", SUMMARY, {**data_of(path, "message", SUMMARY), "error": failed})
        events = read(path)

        assert of(events, "session.compacted") == []
        assert of(events, "error")[1].data == {"message": "Aborted", "name": "MessageAbortedError", "severity": "low"}

    def test_the_size_after_a_compaction_is_left_out_until_it_is_known(self, path: Path) -> None:
        change(path, f"DELETE FROM message WHERE id = '{LAST_ANSWER}'")
        (compacted,) = of(read(path), "session.compacted")

        assert compacted.data["tokens_before"] == 16160
        assert "tokens_after" not in compacted.data


class TestWhoSaidWhat:
    @pytest.mark.parametrize("flag", ["synthetic", "ignored"])
    def test_text_that_no_one_said_is_left_out(self, path: Path, flag: str) -> None:
        replace_data(path, "part", REQUEST_TEXT, {"type": "text", "text": "Add a limiter", flag: True})
        events = read(path)

        assert len(of(events, "chat.message")) == 3
        # Without a request, the session's title says what was done.
        assert of(events, "completion")[0].data["task"] == "Rate limiter"

    def test_long_text_is_clipped(self, path: Path) -> None:
        replace_data(path, "part", REQUEST_TEXT, {"type": "text", "text": "x" * 100_000})
        events = read(path)
        request = of(events, "chat.message")[0]

        assert (len(request.data["text"]), request.data["clipped"]) == (32768, {"text": 100_000})
        assert of(events, "completion")[0].data["task"] == "x" * 499 + "…"

    def test_a_subagent_is_a_session_that_completes_nothing(self, path: Path) -> None:
        change(
            path,
            """INSERT INTO session
            (id, project_id, parent_id, slug, directory, title, version, time_created, time_updated)
            SELECT 'ses_child', project_id, id, 'x', directory, 'Look it up', '1', time_created + 1, time_updated
            FROM session""",
            f"UPDATE message SET session_id = 'ses_child' WHERE id IN ('{REQUEST}', '{ANSWER}')",
        )
        events = read(path)
        child = [event for event in events if event.session == "ses_child"]

        assert [event.type for event in child] == ["session.start", "chat.message", "chat.message"]
        assert child[0].data == {"parent": LIMITER, "title": "Look it up"}
        assert len(of(events, "completion")) == 1


class TestTools:
    def test_a_patch_of_several_files(self, path: Path) -> None:
        root = "/home/dev/limiter"
        patch = "Index: a.py\n===\n--- a.py\n+++ a.py\n@@ -1 +1,2 @@\n-x\n+y\n+z"
        files = [
            {"filePath": f"{root}/a.py", "type": "update", "patch": patch, "additions": 2, "deletions": 1},
            {"filePath": f"{root}/old.py", "movePath": f"{root}/new.py", "type": "move", "diff": patch},
        ]
        replace_data(path, "part", WRITE, written("apply_patch", {"files": files}, patchText="*** Begin Patch"))
        hunk = "@@ -1 +1,2 @@\n-x\n+y\n+z"

        assert writes(path) == [
            {"path": "a.py", "additions": 2, "deletions": 1, "summary": hunk, "tool": "apply_patch"},
            {"path": "new.py", "additions": 2, "deletions": 1, "summary": hunk, "tool": "apply_patch"},
            {"path": "old.py", "summary": "Moved away", "tool": "apply_patch"},
        ]

    def test_a_patch_of_an_older_version(self, path: Path) -> None:
        text = "*** Begin Patch\n*** Update File: src/a.py\n*** Move to: src/b.py\n@@\n*** Add File: c.py\n+x\n"
        replace_data(path, "part", WRITE, written("patch", {"diff": "…"}, patchText=text + "*** End Patch"))

        assert [write["path"] for write in writes(path)] == ["src/a.py", "src/b.py", "c.py"]

    def test_a_file_that_was_overwritten(self, path: Path) -> None:
        replace_data(path, "part", WRITE, written("write", {"exists": True}, filePath="a.py", content="x" * 5000))

        assert writes(path) == [{"path": "a.py", "tool": "write", "summary": "x" * 1999 + "…"}]

    def test_the_end_of_a_long_output_is_kept(self, path: Path) -> None:
        output = "start\n" + "noise\n" * 5000 + "E   AssertionError: 3 != 4\n"
        call = written("bash", {"exit": 2}, command="pytest", description="Run tests")
        call["state"]["output"] = output
        replace_data(path, "part", WRITE, call)
        (run,) = [e for e in of(read(path), "tool.call") if e.data.get("exit") == 2]

        assert run.data["summary"].startswith("Run tests: failed with exit code 2\n$ pytest\n…")
        assert run.data["summary"].endswith("noise\nE   AssertionError: 3 != 4")
        assert len(run.data["summary"]) < 1600

    def test_tools_of_others(self, path: Path) -> None:
        call = written("jira_search", {}, query="login")
        call["state"]["title"] = ""
        replace_data(path, "part", WRITE, call)
        (found,) = [e for e in of(read(path), "tool.call") if e.data["tool"] == "jira_search"]

        assert found.data["summary"] == '{"query":"login"}'

    def test_a_todo_list_without_a_call(self, path: Path) -> None:
        change(path, "UPDATE todo SET status = 'completed', time_updated = time_updated + 100 WHERE position = 1")
        by_call, by_table = of(read(path), "todo.updated")

        assert [todo["status"] for todo in by_call.data["todos"]] == ["completed", "pending"]
        assert [todo["status"] for todo in by_table.data["todos"]] == ["completed", "completed"]
        assert by_table.id == native_id("opencode", LIMITER, "todo.updated", native_of_todos(by_table.data["todos"]))

    @pytest.mark.parametrize("case", IDS["todos"])
    def test_native_ids_of_todo_lists(self, case: dict[str, Any]) -> None:
        assert native_of_todos(case["todos"]) == case["native"]


class TestProjects:
    @pytest.mark.parametrize(
        ("directory", "worktree", "sandboxes", "project", "stored"),
        [
            ("/srv/shop", "/srv/shop", "[]", "/srv/shop", "src/limiter.py"),
            ("/srv/shop/api", "/srv/shop", "[]", "/srv/shop", "api/src/limiter.py"),
            ("/trees/one/api", "/srv/shop", '["/trees/one", "/trees"]', "/trees/one", "api/src/limiter.py"),
            ("/srv/shop2", "/srv/shop", "[]", "/srv/shop2", "src/limiter.py"),
            ("/var/notes", "/", "[]", "/var/notes", "src/limiter.py"),
            ("/var/notes", "/", "{broken", "/var/notes", "src/limiter.py"),
            ("C:\\dev\\shop", "C:\\dev\\shop", "[]", "C:\\dev\\shop", "src/limiter.py"),
            ("C:\\dev\\shop\\api", "C:\\dev\\shop", "[]", "C:\\dev\\shop", "api/src/limiter.py"),
        ],
    )
    def test_paths_start_at_the_root_of_the_working_tree(
        self, path: Path, directory: str, worktree: str, sandboxes: str, project: str, stored: str
    ) -> None:
        change(
            path,
            f"UPDATE project SET worktree = '{worktree}', sandboxes = '{sandboxes}'",
            f"UPDATE session SET directory = '{directory}'",
        )
        part = data_of(path, "part", WRITE)
        del part["state"]["metadata"]["filepath"]
        replace_data(path, "part", WRITE, part)
        events = read(path)

        assert {event.project for event in events} == {project}
        assert of(events, "file.write")[0].data["path"] == stored


class TestOtherVersions:
    def test_columns_and_tables_that_are_missing(self, path: Path) -> None:
        full = [(event.id, event.type) for event in read(path)]
        change(
            path,
            "DROP INDEX session_parent_idx",
            *(f"ALTER TABLE session DROP COLUMN {column}" for column in ("parent_id", "title", "model", "agent")),
            "DROP TABLE todo",
            "ALTER TABLE project DROP COLUMN sandboxes",
        )
        events = read(path)

        assert [(event.id, event.type) for event in events] == full
        assert (events[0].agent, events[0].data) == (None, {})
        change(path, "DROP TABLE project")
        assert [event.id for event in read(path)] == [id for id, _ in full]


class TestBrokenRows:
    @pytest.mark.parametrize("data", [*GARBAGE, *EMPTY], ids=lambda data: repr(data)[:20])
    @pytest.mark.parametrize(("table", "id"), [("part", WRITE), ("message", WRITE_MESSAGE)])
    def test_a_row_costs_no_more_than_itself(self, path: Path, table: str, id: str, data: Any) -> None:
        # A copy of the table, which takes NULL and other types.
        change(path, f"CREATE TABLE c AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE c RENAME TO {table}")
        expected = [event.id for event in read(path) if event.id not in _of_the_write()]
        replace_data(path, table, id, data)
        skipped: list[SkippedRow] = []

        assert [event.id for event in read(path, skipped)] == expected
        named = [] if data in EMPTY else [f"{table} {id}: data is no JSON object"]
        assert [str(row) for row in skipped] == named

    def test_any_field_may_be_of_any_type(self, path: Path) -> None:
        everything = len(read(path))
        odd: list[Any] = [None, True, -1, 1e300, 10**30, "", "x", [], [1], {}, {"a": {}}]
        for table, id in (("part", WRITE), ("part", REQUEST_TEXT), ("message", ANSWER), ("message", SUMMARY)):
            whole = data_of(path, table, id)
            for keys in _places(whole):
                for value in odd:
                    replace_data(path, table, id, _with(whole, keys, value))
                    skipped: list[SkippedRow] = []
                    events = read(path, skipped)
                    assert len(events) >= everything - 5, (keys, value)
                    assert all(row.id in (WRITE, REQUEST_TEXT, ANSWER, SUMMARY) for row in skipped)
            replace_data(path, table, id, whole)

    def test_messages_and_sessions_that_belong_nowhere(self, path: Path) -> None:
        everything = len(read(path))
        change(
            path,
            "INSERT INTO message VALUES ('msg_lost', 'ses_gone', 1, 1, '{}')",
            """INSERT INTO session (id, project_id, slug, directory, title, version, time_created, time_updated)
            SELECT 'ses_nowhere', project_id, 'x', '', 'x', version, 1, 1 FROM session""",
        )
        skipped: list[SkippedRow] = []

        assert len(read(path, skipped)) == everything
        assert {str(row) for row in skipped} == {
            "message msg_lost: has no id, or no session that was read",
            "session ses_nowhere: has no id or no folder",
        }

    def test_a_row_that_no_event_can_hold_is_named_but_not_shown(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        part = data_of(path, "part", WRITE)
        part["tool"] = ""
        part["state"]["title"] = "hunter2"
        replace_data(path, "part", WRITE, part)
        skipped: list[SkippedRow] = []
        read(path, skipped)

        assert [(row.table, row.id) for row in skipped] == [("part", WRITE)]
        assert skipped[0].reason.startswith("data.tool: ")
        assert WRITE in caplog.text
        assert "hunter2" not in caplog.text + str(skipped)


def _of_the_write() -> set[str]:
    call = native_id("opencode", LIMITER, "tool.call", WRITE, "completed")
    return {call, *native_ids(WRITE)}


def _places(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Keys that lead to each field."""
    if not isinstance(value, dict):
        return []
    return [place for key, item in value.items() for place in [(*at, key), *_places(item, (*at, key))]]


def _with(value: Any, keys: tuple[str, ...], item: Any) -> Any:
    """A copy with another item at the place."""
    return {**value, keys[0]: _with(value[keys[0]], keys[1:], item)} if keys else item
