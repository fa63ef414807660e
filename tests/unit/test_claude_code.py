"""What Claude Code's transcripts become. The recording has a row of each kind that is known, and some that aren't."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memory.events import Event, create, native_id
from memory.graph.facts import remember
from memory.graph.kinds import text_of
from producers.claude_code import TranscriptsNotFound, read_events, transcripts, transcripts_folder

RECORDING = Path(__file__).parents[1] / "recordings" / "claude-code"
SESSION = "5f0c9f3e-1d0b-4a43-9f0e-6f2f7f6a1c11"
SUBAGENT = "agent-a1b2c3d4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDING, tmp_path / "projects"))


def main(folder: Path) -> Path:
    return folder / "-home-dev-shop" / f"{SESSION}.jsonl"


def read(path: Path, skipped: list[str] | None = None) -> list[Event]:
    found = read_events(
        transcripts(path), group_for=lambda where: "g", on_skipped=skipped.append if skipped is not None else _never
    )
    return [create(fields, source="", group="") for fields, _ in found]


def _never(line: str) -> None:
    raise AssertionError(line)


def of(events: list[Event], type: str, session: str = SESSION) -> list[dict[str, Any]]:
    return [event.data for event in events if (event.type, event.session) == (type, session)]


def test_counts(folder: Path) -> None:
    assert Counter((event.type, event.session) for event in read(folder)) == {
        ("session.start", SESSION): 1,
        ("chat.message", SESSION): 4,
        ("file.write", SESSION): 4,
        ("tool.call", SESSION): 9,
        ("todo.updated", SESSION): 1,
        ("error", SESSION): 3,
        ("session.compacted", SESSION): 1,
        ("completion", SESSION): 1,
        ("session.start", SUBAGENT): 1,
        ("chat.message", SUBAGENT): 2,
        ("tool.call", SUBAGENT): 1,
    }


def test_what_was_said(folder: Path) -> None:
    events = read(folder)
    fixed = "The cart merges the items of all tabs now, and its test passes."
    assert [(said["role"], said["text"]) for said in of(events, "chat.message")] == [
        ("user", "/model opus"),
        ("user", "The cart loses items when two tabs are open. Please fix it.\nThere is a failing test."),
        ("assistant", "I'll look at the cart and run its test."),
        ("assistant", fixed),
    ]
    assert [said.get("tokens") for said in of(events, "chat.message")] == [None, None, 19240, 19240]
    (done,) = of(events, "completion")
    # Ten answers; the first one has three blocks, and so three rows that tell the same tokens.
    assert done == {
        "task": "The cart loses items when two tabs are open. Please fix it.\nThere is a failing test.",
        "duration": 39.0,
        "tokens": 10 * 19240,
        "turn": True,
    }


def test_what_was_asked_is_no_completed_task(folder: Path) -> None:
    """Whatever a turn was about, I expect no text and no fact of its end that says the user's words were completed."""
    ends = [event for event in read(folder) if event.type == "completion"]
    assert ends
    assert [(text_of(event), remember(event)) for event in ends] == [("", None)] * len(ends)


def test_sessions_and_who_did_it(folder: Path) -> None:
    events = read(folder)
    assert of(events, "session.start") == [{}]
    assert of(events, "session.start", SUBAGENT) == [{"parent": SESSION, "title": "Find all carts"}]
    assert {(event.session, event.agent) for event in events} == {(SESSION, "claude"), (SUBAGENT, "subagent")}
    assert {(event.source, event.group, event.project) for event in events} == {("claude-code", "g", "/home/dev/shop")}
    times = [event.time for event in events if event.session == SESSION]
    assert times == sorted(times)


def test_files_that_were_written(folder: Path) -> None:
    writes = of(read(folder), "file.write")
    assert [(w["path"], w["tool"], w.get("additions"), w.get("deletions")) for w in writes] == [
        ("src/cart.py", "Edit", 2, 1),
        ("docs/carts.md", "Write", 3, 0),
        ("src/tabs.py", "MultiEdit", 3, 3),
        ("sales.ipynb", "NotebookEdit", 1, 0),
    ]
    assert writes[0]["summary"].startswith(" class Cart:\n-    pass\n+    def merge")


def test_calls_and_what_failed(folder: Path) -> None:
    events = read(folder)
    calls = {call["tool"]: call for call in of(events, "tool.call")}
    assert calls["Bash"] == {
        "tool": "Bash",
        "status": "error",
        "duration_ms": 3500,
        "exit": 1,
        "summary": "Run the cart's test\n$ pytest -q tests/test_cart.py\nExit code 1\n"
        "FAILED tests/test_cart.py::test_two_tabs - AssertionError: 1 != 2",
    }
    assert calls["Read"] == {"tool": "Read", "status": "completed", "duration_ms": 50, "path": "src/cart.py"}
    assert calls["Task"]["summary"] == "Look for other carts\nThere is one more in src/guest.py."
    assert [(e["name"], e["severity"]) for e in of(events, "error")] == [
        ("ToolError", "high"),
        ("ToolRefused", "low"),
        ("APIError", "high"),
    ]
    assert of(events, "todo.updated") == [
        {
            "todos": [
                {"content": "Run the test", "status": "in_progress"},
                {"content": "Fix the cart", "status": "pending"},
            ]
        }
    ]


def test_compaction(folder: Path) -> None:
    (compacted,) = of(read(folder), "session.compacted")
    assert compacted == {
        "auto": True,
        "summary": "This session is being continued from a previous conversation. The cart merges tabs now.",
        "tokens_before": 155025,
        "tokens_after": 8100,
    }


def test_ids_are_those_of_the_rows_and_stay(folder: Path) -> None:
    events = read(folder)
    assert len({event.id for event in events}) == len(events)
    assert [event.id for event in read(folder)] == [event.id for event in events]
    call = next(event for event in events if event.type == "tool.call" and event.data["tool"] == "Bash")
    assert call.id == native_id("claude-code", SESSION, "tool.call", "toolu_02", "error")
    said = next(event for event in events if event.type == "chat.message")
    assert said.id == native_id("claude-code", SESSION, "chat.message", said.data["message"])


def test_later_import_adds_what_came_since(folder: Path) -> None:
    rows = main(folder).read_bytes().splitlines(keepends=True)
    main(folder).write_bytes(b"".join(rows[:20]))
    before = {event.id for event in read(folder)}
    # A row that is being written now is left for later, and is nothing to tell of.
    main(folder).write_bytes(b"".join(rows[:25]) + rows[25][:40])
    between = {event.id for event in read(folder)}
    main(folder).write_bytes(b"".join(rows))
    after = {event.id for event in read(folder)}
    assert before < between < after


def test_resumed_session_repeats_nothing(folder: Path) -> None:
    count = len(read(folder))
    copied = main(folder).read_text().replace(SESSION, "resumed")
    new = {
        "type": "user",
        "uuid": "new",
        "sessionId": "resumed",
        "cwd": "/home/dev/shop",
        "timestamp": "2026-11-22T10:00:00Z",
        "message": {"role": "user", "content": "And now?"},
    }
    (folder / "-home-dev-shop" / "resumed.jsonl").write_text(copied + json.dumps(new) + "\n")
    events = read(folder)
    assert len(events) == count + 2
    assert [said["text"] for said in of(events, "chat.message", "resumed")] == ["And now?"]


def test_rows_that_make_no_sense(tmp_path: Path) -> None:
    """Whatever stands in a row, the others are read."""
    good = {
        "type": "user",
        "uuid": "u",
        "sessionId": "s",
        "cwd": "/w",
        "timestamp": "2026-11-21T10:00:00Z",
        "message": {"content": "hello"},
    }
    strange: list[Any] = [None, 7, "text", [], {}, {"a": {"b": []}}, "\ud800", -1, 1e300, True]
    rows = [{**good, name: value, "uuid": f"{name}{n}"} for name in good for n, value in enumerate(strange)]
    rows += [{**good, "message": {"content": [value]}, "uuid": f"c{n}"} for n, value in enumerate(strange)]
    blocks = ("text", "tool_use", "tool_result", "image")
    rows += [
        {**good, "type": kind, "uuid": f"{kind}{block}{n}", "message": {"content": [{"type": block, "text": value}]}}
        for kind in ("user", "assistant", "system")
        for block in blocks
        for n, value in enumerate(strange)
    ]
    rows += [{**good, "timestamp": "yesterday", "uuid": "t"}, {**good, "uuid": "last", "message": {"content": "end"}}]
    path = tmp_path / "s.jsonl"
    lines = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join([b"not json", b"[1]", b"\xff\xfe", b"", *lines]) + b"\n")
    skipped: list[str] = []
    events = read(path, skipped)
    assert skipped == [f"s.jsonl line {n}: no JSON object" for n in (1, 2, 3)]
    assert [event.data["text"] for event in events if event.type == "chat.message"][-1] == "end"


def test_what_cannot_be_read_is_named_and_left_out(folder: Path) -> None:
    """Given a link that leads nowhere, and a folder that is called like a transcript, I expect the others whole."""
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    (folder / "folder.jsonl").mkdir()
    skipped: list[str] = []
    assert read(folder, skipped)
    assert sorted(skipped) == [
        "folder.jsonl: can't be read: Is a directory",
        "gone.jsonl: can't be read: No such file or directory",
    ]


def test_where_transcripts_are(folder: Path, tmp_path: Path) -> None:
    assert transcripts_folder({}) == Path("~/.claude/projects").expanduser()
    assert transcripts_folder({"CLAUDE_CONFIG_DIR": str(tmp_path)}) == folder
    assert len(transcripts(tmp_path)) == len(transcripts(folder)) == 2
    assert [one.path for one in transcripts(main(folder))] == [main(folder)]
    with pytest.raises(TranscriptsNotFound, match="no Claude Code transcripts at"):
        transcripts(tmp_path / "gone")
