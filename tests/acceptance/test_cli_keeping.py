"""Keeping a memory as a user does it: export, import, forget, rebuild, on a running system."""

from __future__ import annotations

import gzip
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import text

from memory import lua
from memory.compaction import decide
from memory.ledger import Ledger, books, forgettings
from tests.acceptance.command import PATIENCE, CommandLine, lines, terminal
from tests.project import project
from tests.servers import wait_until

COUNT = 120


def events_of(group: str) -> list[dict[str, Any]]:
    """Events of a project, but for those at which workers publish checkpoints of their own."""
    found = [event for event in project(group, 2 * COUNT) if event["type"] not in decide.TYPES]
    return found[:COUNT]


def filled(memlane: CommandLine, group: str) -> None:
    given = [{name: value for name, value in event.items() if value is not None} for event in events_of(group)]
    assert memlane("publish", "--stdin", stdin=lines(*given)).code == 0
    assert memlane.books(group).recorded == COUNT


def test_export_and_import(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    filled(memlane, group)
    written = memlane("export")
    assert (written.code, written.err) == (0, "")
    assert len(written.out.splitlines()) == COUNT
    answer = memlane("export", "-o", "x.jsonl.gz", "--json").json
    assert (answer["group"], answer["events"], answer["forgotten"]) == (group, COUNT, 0)
    assert gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()).decode() == written.out
    (tmp_path / "x.jsonl").write_text(written.out)

    # An id is in one group: what is told must not be taken for a copy.
    said = memlane("import", "jsonl", "x.jsonl", "--group", f"{group}-copy")
    assert said.code == 0
    assert said.out == f"published 0 events: 0 new, {COUNT} known before\n"
    assert f"{COUNT} of these events are in group {group} already, and stay there" in said.err
    other = written.out.replace(f'"id":"{group}', f'"id":"{group}x')
    (tmp_path / "y.jsonl").write_text(other + "torn")
    ended = memlane("import", "jsonl", "y.jsonl", "--group", f"{group}-copy", "--json")
    assert ended.code == 1
    assert (ended.json["published"], ended.json["groups"], ended.json["known"]) == (COUNT, [f"{group}-copy"], {})
    assert ended.json["skipped"] == [f"line {COUNT + 1}: event: not valid JSON (line 1 column 1)"]
    assert memlane.books(f"{group}-copy").recorded == COUNT

    assert memlane("export", "--json").code == 2
    assert memlane("export", "--json", "-o", "/dev/stdout").code == 2
    assert memlane("export", "-o", "/dev/stdout").out == written.out
    memlane("import", "jsonl", "gone.jsonl").failed("gone.jsonl can't be read")


def test_forget(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    filled(memlane, group)
    of_session = [event for event in events_of(group) if event["session"] == "ses_1"]
    dry = memlane("forget", "--session", "ses_1", "--dry-run", "--json").json
    assert (dry["dry_run"], dry["events"], dry["episodes"]) == (True, len(of_session), 0)
    memlane("forget", "--session", "ses_1").failed("for good", "--yes")
    assert memlane.books(group).forgotten == 0

    answer = memlane("forget", "--session", "ses_1", "--yes", "--json").json
    assert answer["events"] == len(of_session)
    assert answer["notes"] == []
    assert sum(answer["types"].values()) == len(of_session)
    assert answer["sessions"] == 1
    assert answer["episodes"] > 0
    books = memlane.books(group)
    assert (books.recorded, books.forgotten) == (COUNT, len(of_session))
    status = memlane("status", "--group", group)
    assert "forgotten" in status.out

    # Named one by one, as an answer shows them; it is gone from answers at once, also from those in the cache.
    question = ("recall", "what about src/m1.py?", "--json")
    (item, *_) = memlane(*question).json["items"]
    assert memlane(*question).json["cache"] == "hit"
    assert memlane("forget", "--id", item["id"], "--yes").out.startswith(f"forgot 1 event of {group}\n")
    assert item["id"] not in [one["id"] for one in memlane(*question).json["items"]]

    exported = memlane("export", "-o", "x.jsonl", "--json").json
    assert exported["events"] + exported["forgotten"] == COUNT
    assert "ses_1" not in (tmp_path / "x.jsonl").read_text()
    # What is published again stays forgotten.
    filled_again = [{k: v for k, v in event.items() if v is not None} for event in of_session]
    assert memlane("publish", "--stdin", stdin=lines(*filled_again)).code == 0
    books = memlane.books(group)
    assert (books.recorded, books.duplicates) == (COUNT, len(of_session))
    memlane("forget", "--path", "!x", "--yes").failed("is not a glob")


def test_a_group_that_is_not_there(memlane: CommandLine, group: str) -> None:
    for call in (("export",), ("rebuild",), ("forget", "--session", "ses_1", "--yes")):
        memlane(*call, "--group", f"{group}-typo").failed(f"the ledger has no group {group}-typo", "memlane status")


def test_what_is_named_and_is_not_there(memlane: CommandLine, group: str) -> None:
    """Given a group of which nothing was forgotten. If an id, a session, a user or a path is named that it does not
    have, I expect an error that says what may have been meant, and nothing forgotten; once something was forgotten,
    only an id can be wrong, and forgetting again is not."""
    written = [
        {"type": "file.write", "session": session, "user": user, "data": {"path": path}}
        for session, user, path in (
            ("ses_10", "ann@example.org", "src/cart.py"),
            ("ses_11", "Ann@example.org", "src/deep/cart.py"),
            ("ses_2", "bob@example.org", "login.py"),
        )
    ]
    assert memlane("publish", "--stdin", stdin=lines(*written)).code == 0
    memlane.books(group)
    memlane("forget", "--id", "nosuch", "--yes").failed(f"nothing in group {group} has the id 'nosuch'")
    memlane("forget", "--session", "ses_1", "--yes").failed("has the session 'ses_1'", "whole id of ses_10 or ses_11")
    memlane("forget", "--session", "x", "--dry-run").failed("has the session 'x'", "memlane history sessions")
    memlane("forget", "--user", "ANN@example.org", "--yes").failed("Ann@example.org or ann@example.org", "case differ")
    memlane("forget", "--path", "gone/*", "--yes").failed("is about a path that 'gone/*' matches")
    memlane("forget", "--since", "2026-02-01", "--before", "2026-01-01", "--yes").failed("--since is after --before")
    for option in ("--id", "--path"):
        empty = memlane("forget", "--user", "x", option, " ", "--yes")
        assert (empty.code, empty.out) == (2, "")
        assert "is empty" in empty.err
    assert memlane.books(group).forgotten == 0

    one = memlane("forget", "--user", "ann@example.org", "--dry-run")
    assert one.out.startswith(f"would forget 1 event of {group}\n")
    assert "events of Ann@example.org are not meant" in one.err
    assert memlane("forget", "--session", "ses_10", "--yes").out.startswith("forgot 1 event")
    again = memlane("forget", "--session", "ses_10", "--yes")
    assert (again.code, again.out) == (0, f"forgot 0 events of {group}\n")
    assert "may have been forgotten before" in again.err
    memlane("forget", "--id", "nosuch", "--yes").failed("has the id 'nosuch'")
    (id,) = [item["id"] for item in memlane("recall", "login.py", "--json").json["items"] if item["path"] == "login.py"]
    assert memlane("forget", "--id", id, "--yes").out.startswith("forgot 1 event")
    assert memlane("forget", "--id", id, "--yes").out.startswith("forgot 0 events")
    other = {"type": "error", "id": f"{group}-x", "data": {"message": "m"}}
    assert memlane("publish", "--stdin", "--group", f"{group}-b", stdin=lines(other)).code == 0
    memlane.books(f"{group}-b")
    memlane("forget", "--id", f"{group}-x", "--yes").failed(f"it is in group {group}-b: add --group {group}-b")


def test_paths_are_seen_from_the_working_folder(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    paths = ["cart.py", "src/cart.py", "src/deep/cart.py", "src/login.py"]
    written = [{"type": "file.write", "session": "s", "data": {"path": path}} for path in paths]
    assert memlane("publish", "--stdin", stdin=lines(*written)).code == 0
    memlane.books(group)
    ended = memlane("forget", "--path", "./cart.py", "--dry-run", "--json", folder=tmp_path / "src")
    assert ended.json["matched_paths"] == {"count": 1, "examples": ["src/cart.py"]}
    shown = memlane("forget", "--path", "src/*", "--dry-run")
    assert "about 3 paths: src/cart.py, src/deep/cart.py, src/login.py\n" in shown.out
    memlane("forget", "--path", "./src/login.py").failed("about 1 path (src/login.py), would be forgotten", "--yes")
    assert memlane("forget", "--path", "./src/login.py", "--yes").out.startswith("forgot 1 event")


def test_forget_asks_who_can_be_asked(memlane: CommandLine, group: str) -> None:
    filled(memlane, group)
    with terminal() as screen:
        streams = {"stdin": screen.theirs, "stdout": subprocess.PIPE, "stderr": screen.theirs}
        with memlane.begun("forget", "--path", "src/m1.py", **streams) as forgetting:
            wait_until(lambda: f"of {group} for good?" in screen.seen, "the question", PATIENCE)
            assert "about 1 path (src/m1.py)" in screen.seen
            screen.type("y\n")
            out, _ = forgetting.communicate(timeout=PATIENCE)
    assert forgetting.returncode == 0
    assert "forgot " in out.decode()
    assert memlane.books(group).forgotten > 0


def test_nothing_of_it_is_left_in_any_file(memlane: CommandLine, group: str) -> None:
    """While workers, and so other connections, are at work: ledger, the logs of both servers, all files of the home. Just
    before, somebody has asked for it, so its answers wait in the cache and for who asked."""
    secret = f"unmistakable{group.replace('-', '')}"
    memlane("store", f"the {secret} is under the mat", "--session", "gone")
    memlane.books(group)

    def held() -> bool:
        return any(secret.encode() in file.read_bytes() for file in memlane.home.glob("ledger.sqlite3*"))

    def holding() -> list[Path]:
        found = []
        for file in memlane.home.rglob("*"):
            # Logs are written anew meanwhile.
            with suppress(FileNotFoundError):
                if file.is_file() and secret.encode() in file.read_bytes():
                    found.append(file)
        return found

    def cached() -> bool:
        with memlane.queue() as queue:
            replies = [queue.lindex(key, 0) or b"" for key in queue.scan_iter(lua.reply("*"))]
            return any(secret.encode() in reply for reply in replies) or bool(queue.exists(lua.answers(group)))

    # So that what is in the graph server's file can be seen there.
    with redis.Redis(unix_socket_path=str(memlane.home / "run" / "graph.sock")) as graph:
        graph.config_set("rdbcompression", "no")
        graph.bgrewriteaof()
    bases = "graph/appendonlydir/*.base.rdb"
    wait_until(lambda: any(secret.encode() in file.read_bytes() for file in memlane.home.glob(bases)), "it", PATIENCE)
    assert secret in memlane("recall", secret).out
    assert held()
    assert cached()
    answer = memlane("forget", "--session", "gone", "--yes", "--json").json
    assert (answer["events"], answer["notes"]) == (1, [])
    assert not held()
    assert not cached()
    wait_until(lambda: not holding(), "no file to hold it", PATIENCE)


def test_what_was_not_finished_is_named_and_finished(memlane: CommandLine, group: str) -> None:
    """Given forgetting that did not come to its end, I expect doctor to name it, and rebuilding the graph to end it."""
    filled(memlane, group)
    again = ("forget", "--id", events_of(group)[0]["id"], "--yes", "--json")
    assert memlane(*again).json["events"] == 1
    ledger = Ledger(f"sqlite:///{memlane.home / 'ledger.sqlite3'}")
    with ledger.write() as connection:
        forgettings.begin(ledger, connection, group, 1, prose=True)

    def named() -> bool:
        return f"forgetting in group {group} has not come to its end" in memlane("doctor").out.replace("\n", " ")

    assert named()
    # A model's findings are only out of the graph when it is made anew.
    assert f"`memlane rebuild graph --group {group}`" in " ".join(memlane(*again).json["notes"])
    assert named()
    assert memlane("rebuild", "graph", "--group", group, "--json").json["groups"][0]["notes"] == []
    assert not named()
    ledger.close()


def test_rebuild(memlane: CommandLine, group: str) -> None:
    filled(memlane, group)
    question = ("recall", "What about src/m1.py?", "--json")
    items = memlane(*question).json["items"]
    first = memlane("rebuild", "graph", "--group", group, "--json").json
    (one,) = first["groups"]
    assert (one["group"], one["events"], one["parts"]) == (group, COUNT, ["graph"])
    assert one["graph"]["nodes"]["Episodic"] > 0
    # Twice, and while events come.
    again = memlane("rebuild", "--group", group, "--json").json
    assert again["groups"][0]["graph"] == one["graph"]
    assert again["groups"][0]["parts"] == ["index", "graph", "cache"]
    books = memlane.books(group)
    assert {stage.stage: stage.done for stage in books.stages if stage.stage in ("index", "episodes")} == {
        stage.stage: stage.interest for stage in books.stages if stage.stage in ("index", "episodes")
    }
    assert [item["id"] for item in memlane(*question).json["items"]] == [item["id"] for item in items]
    said = memlane("rebuild", "cache", "--group", group)
    assert said.out == f"rebuilt cache of {group}: {COUNT} events\n"
    assert memlane(*question).json["cache"] == "miss"


def test_rebuild_that_is_interrupted_says_what_it_has_not_done(memlane: CommandLine, group: str) -> None:
    """Given a group that a worker holds. If Ctrl-C comes while the command waits to begin it, I expect to be told that
    workers go on with the other, which they do, and how to rebuild the one that was not begun."""
    other = f"{group}-b"
    for name in (group, other):
        told = [{"type": "completion", "session": "s", "data": {"task": f"task {n}"}} for n in range(5)]
        assert memlane("publish", "--stdin", "--group", name, stdin=lines(*told)).code == 0
        memlane.books(name)
    ledger = Ledger(f"sqlite:///{memlane.home / 'ledger.sqlite3'}")

    def begun(name: str) -> int:
        with ledger.read() as connection:
            query = "SELECT token FROM stage_cursors WHERE group_id = :group AND stage = 'index'"
            return int(connection.execute(text(query), {"group": name}).scalar_one())

    with memlane.queue() as queue, ledger.read() as connection:
        every = books.groups(connection)
        held = every[every.index(group) + 1 :]
        assert other in held
        for name in held:
            queue.set(lua.lease("index", name), "held", ex=60)
        before = begun(group)
        with memlane.begun("rebuild", "index", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as rebuilding:
            # Once by the command, and once by the worker that it has woken then.
            wait_until(lambda: begun(group) >= before + 2, "the first group to be begun", PATIENCE)
            rebuilding.send_signal(signal.SIGINT)
            out, err = rebuilding.communicate(timeout=PATIENCE)
        queue.delete(*(lua.lease("index", name) for name in held))
    ledger.close()
    assert (rebuilding.returncode, out) == (130, b"")
    said = err.decode()
    assert "nobody waits for it any more\n" in said
    assert "memlane: workers go on by themselves with " in said
    assert "memlane: not begun: " in said
    assert "`memlane rebuild index --group " in said
    memlane.books(group)
    memlane.books(other)


def test_rebuild_while_events_come(memlane: CommandLine, group: str) -> None:
    filled(memlane, group)
    more = [{"type": "completion", "session": "s", "data": {"task": f"more {n}"}} for n in range(2_000)]
    with memlane.begun("publish", "--stdin", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as publishing:
        assert publishing.stdin is not None
        publishing.stdin.write(lines(*more[:1_000]))
        publishing.stdin.flush()
        assert memlane("rebuild", "--group", group).code == 0
        publishing.communicate(lines(*more[1_000:]), PATIENCE)
    assert publishing.returncode == 0
    books = memlane.books(group)
    assert books.recorded == COUNT + 2_000
    with_all = memlane("rebuild", "graph", "--group", group, "--json").json["groups"][0]
    assert with_all["events"] == COUNT + 2_000
    memlane.books(group)
    ledger = Ledger(f"sqlite:///{memlane.home / 'ledger.sqlite3'}")
    with ledger.read() as connection:
        indexed = "SELECT sum(events) FROM search_blocks WHERE group_id = :group"
        texts = "SELECT count(*) FROM events WHERE group_id = :group AND text <> ''"
        found = [connection.execute(text(query), {"group": group}).scalar() for query in (indexed, texts)]
    ledger.close()
    assert found[0] == found[1]
    assert with_all["graph"]["nodes"]["Episodic"] >= 2_000
