"""Importing the history of a repository, and Claude Code's transcripts, as a user does it."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from memory import lua
from producers.git_log import id_of
from tests.acceptance.command import PATIENCE, CommandLine, lines
from tests.git_repositories import commit, git, repository
from tests.opencode_databases import LIMITER, recorded, renamed
from tests.servers import wait_until

TRANSCRIPTS = Path(__file__).parents[1] / "recordings" / "claude-code"


def transcript_row(group: str, folder: Path, number: int) -> dict[str, Any]:
    """What a user said, as a row of a transcript of Claude Code's."""
    return {
        "type": "user",
        "uuid": f"{group}-{number}",
        "sessionId": f"ses_{group}",
        "cwd": str(folder),
        "timestamp": "2026-11-21T10:00:00Z",
        "message": {"role": "user", "content": "count in UTC"},
    }


def test_history_of_a_repository(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    shop = repository(tmp_path / "shop")
    commit(shop, "Count in UTC, never in local time", {"src/limiter.py": "1"})
    sha = commit(shop, "Add a cart", {"src/cart.py": "1"})
    said = memlane("import", "git", str(shop))
    assert (said.code, said.err) == (0, "")
    assert said.out == f"published 2 events into {group}\n       2  vcs.commit\n"
    books = memlane.books(group)
    assert (books.recorded, books.duplicates) == (2, 0)
    (item,) = memlane("recall", "does the limiter use local time?", "--json").json["items"]
    assert (item["type"], item["agent"]) == ("vcs.commit", "Ann")

    # An agent that saw the commit being made tells of the same event.
    event = {"type": "vcs.commit", "id": id_of(sha, group), "data": {"sha": sha, "message": "Add a cart"}}
    assert memlane("publish", "--stdin", stdin=lines(event)).code == 0
    commit(shop, "Fix the cart", {"src/cart.py": "2"})
    answer = memlane("import", "git", str(shop), "--limit", "2", "--json").json
    assert (answer["published"], answer["source"], answer["sessions"]) == (2, str(shop), 0)
    assert (answer["new"], answer["known"]) == (1, {group: 1})
    books = memlane.books(group)
    assert (books.recorded, books.duplicates) == (3, 2)
    said = memlane("import", "git", str(shop))
    assert said.out.startswith(f"published 3 events into {group}: 0 new, 3 known before\n")


def test_group_is_the_repositorys(memlane: CommandLine, tmp_path: Path) -> None:
    shop = repository(tmp_path / "shop")
    commit(shop, "one", {"a": "1"})
    git(shop, "clone", "-q", "--depth", "1", f"file://{shop}", str(tmp_path / "clone"))
    ended = memlane("import", "git", "--json", folder=tmp_path / "clone", MEMLANE_GROUP="")
    (name,) = ended.json["groups"]
    assert name.startswith("clone-")
    assert "shallow" in ended.err
    assert ended.json["notes"] == [ended.err.removeprefix("memlane: ").strip()]


def test_what_is_no_repository(memlane: CommandLine, tmp_path: Path) -> None:
    memlane("import", "git", "gone").failed("there is no folder")
    memlane("import", "git").failed("not a git repository")
    shop = repository(tmp_path / "shop")
    memlane("import", "git", str(shop)).failed("no commit yet")
    memlane("import", "git", str(shop), "--since", "yesterday").failed("--since", "2026-11-21", "30d")


def test_transcripts_twice(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    arguments = ("import", "claude-code", str(TRANSCRIPTS), "--group", group)
    said = memlane(*arguments)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"published 28 events of 2 sessions into {group}\n")
    assert "       4  file.write\n" in said.out
    # One of the sessions was compacted, so a checkpoint of it is made.
    wait_until(lambda: memlane.books(group).recorded == 29, "the events and a checkpoint", PATIENCE)
    answer = memlane(*arguments, "--json").json
    assert (answer["published"], answer["sessions"], answer["skipped"]) == (28, 2, [])
    assert (answer["new"], answer["known"], answer["notes"]) == (0, {group: 28}, [])
    books = memlane.books(group)
    assert (books.recorded, books.duplicates) == (29, 28)
    (item, *_) = memlane("recall", "which test of the cart failed with two tabs?", "--json").json["items"]
    assert "test_two_tabs" in item["text"]
    # An event is in one group.
    other = memlane("import", "claude-code", str(TRANSCRIPTS), "--group", f"{group}-other")
    assert other.out.startswith(f"published 28 events of 2 sessions into {group}-other: 0 new, 28 known before\n")
    assert f"28 of these events are in group {group} already, and stay there" in other.err
    memlane("import", "claude-code", str(tmp_path / "gone")).failed("no Claude Code transcripts", "CLAUDE_CONFIG_DIR")


def test_what_was_forgotten_is_told_apart(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    """Given a transcript that was imported and forgotten. If it is imported again, I expect to be told that it stays
    forgotten, and not that it is known; and if it is forgotten again, that no log holds it any more."""
    word = f"unmistakable{group.replace('-', '')}"
    row = transcript_row(group, tmp_path, 1)
    row["message"]["content"] = f"the {word} is under the mat"
    (tmp_path / "s.jsonl").write_bytes(lines(row, transcript_row(group, tmp_path, 2)))
    arguments = ("import", "claude-code", "s.jsonl", "--group", group)
    count = memlane(*arguments, "--json").json["published"]
    memlane.books(group)
    forget = ("forget", "--session", f"ses_{group}", "--yes", "--json")
    assert memlane(*forget).json["events"] == count

    def logged() -> bool:
        found = False
        for file in memlane.home.glob("valkey/**/*.aof"):
            # They are written anew meanwhile.
            with suppress(FileNotFoundError):
                found |= word.encode() in file.read_bytes()
        return found

    wait_until(lambda: not logged(), "the log to be written anew", PATIENCE)
    said = memlane(*arguments)
    assert said.out.splitlines()[0].endswith(f": 0 new, 0 known before, {count} forgotten before, which stay forgotten")
    memlane.books(group)
    assert logged()
    answer = memlane(*arguments, "--json").json
    assert (answer["new"], answer["known"], answer["forgotten"]) == (0, {group: count}, count)
    other = memlane("import", "claude-code", "s.jsonl", "--group", f"{group}-other")
    assert "forgotten before, which stay forgotten" in other.out
    assert "stay there" not in other.err
    memlane.books(group)
    assert memlane(*forget).json["events"] == 0
    wait_until(lambda: not logged(), "the log to be written anew once more", PATIENCE)


def test_texts_that_were_clipped_are_counted(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    row = transcript_row(group, tmp_path, 1)
    row["message"]["content"] = "x" * 3_000_008
    (tmp_path / "s.jsonl").write_bytes(lines(row))
    arguments = ("import", "claude-code", "s.jsonl", "--group", group)
    said = memlane(*arguments)
    assert said.out.splitlines()[0].endswith("clipped to its first 32,768 bytes"), said.out
    memlane.books(group)
    assert memlane(*arguments, "--json").json["clipped"] == 1
    (message,) = memlane("history", "messages", f"ses_{group}", "--json").json["messages"]
    assert message["clipped"] == {"bytes": 32_768, "of": 3_000_008}
    read = memlane("history", "messages", "--read", message["id"], f"ses_{group}")
    assert read.out.rstrip().endswith("… clipped: 32,768 of 3,000,008 bytes; the rest was not captured")


def test_lines_that_are_no_rows_are_named(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b"broken\n" * 30 + lines(transcript_row(group, tmp_path, 1)))
    said = memlane("import", "claude-code", str(tmp_path / "s.jsonl"), "--group", group)
    assert said.code == 0
    assert said.err.startswith("memlane: skipped s.jsonl line 1: no JSON object\n")
    assert said.err.endswith("memlane: skipped 30 in all; --json names each\n")

    (tmp_path / "some.py").write_text("import os\n" * 30)
    said = memlane("import", "claude-code", str(tmp_path / "some.py"), "--group", group)
    said.failed("some.py", "one JSON object a line", "line 1: no JSON object")


def test_an_opencode_database_into_two_groups(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    database = str(renamed(recorded("single-session", tmp_path), LIMITER, f"ses_{group}"))
    first = memlane("import", "opencode", database, "--group", group, "--json").json
    assert (first["new"], first["known"]) == (first["published"], {})
    count = first["published"]
    wait_until(lambda: memlane.books(group).recorded == count + 1, "the events and a checkpoint", PATIENCE)
    second = memlane("import", "opencode", database, "--group", f"{group}-b", "--json").json
    assert (second["published"], second["new"], second["known"]) == (count, 0, {group: count})
    assert f"so they are not in {group}-b" in second["notes"][0]

    # Where there is no ledger to be asked, nothing is claimed.
    url = f"sqlite:///{tmp_path / 'none.sqlite3'}"
    third = memlane("import", "opencode", database, "--group", group, "--json", MEMLANE_DATABASE_URL=url).json
    assert (third["published"], third["new"], third["known"]) == (count, None, None)


def test_an_import_that_is_stopped_says_how_much_went_in(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    """If an import is interrupted, I expect it to say how many events went in, and that it can be run again."""
    history = tmp_path / "x.jsonl"
    history.write_bytes(lines(*(transcript_row(group, tmp_path, n) for n in range(15_000))))
    with memlane.begun("import", "claude-code", str(history), "--group", group, stderr=subprocess.PIPE) as importing:
        with memlane.queue() as queue:
            wait_until(lambda: bool(queue.exists(lua.lane(group))), "the first events", PATIENCE)
        importing.send_signal(signal.SIGINT)
        _, err = importing.communicate(timeout=PATIENCE)
    assert importing.returncode == 130, err
    assert b"memlane: the import was interrupted; " in err
    assert b"run the same command again" in err
    assert b" 0 events went in" not in err
