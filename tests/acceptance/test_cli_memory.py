"""What goes in and comes out by the command line: publish, store, recall, invalidate, import."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

from memory import lua
from ops.demo_data import recorded_database
from producers import Publisher
from tests.acceptance.command import PATIENCE, CommandLine, lines, terminal, validated
from tests.opencode_databases import LIMITER, change, renamed
from tests.servers import free_port, wait_until

MANY = 5_000


def test_publish_one(memlane: CommandLine, group: str) -> None:
    event = ("publish", "file.write", "--data", '{"path": "src/cart.py", "additions": 4}', "--session", "s1")
    answer = memlane(*event, "--json").json
    assert answer | {"ids": 1} == {"published": 1, "spooled": 0, "groups": {group: 1}, "refused": [], "ids": 1}
    said = memlane(*event)
    assert (said.code, said.out, said.err) == (0, f"published 1 into the lane of {group}\n", "")
    assert memlane.books(group).recorded == 2


def test_what_waits_in_the_home_of_a_running_stack_is_sent(memlane: CommandLine, group: str) -> None:
    """Given an event that a hook had to spool, and no other event after it, I expect it in the ledger all the same."""
    event = {"id": group, "group": group, "type": "completion", "data": {"task": "t"}}
    with Publisher(f"redis://:x@127.0.0.1:{free_port()}", source="test", group=group, home=memlane.home) as publisher:
        publisher.publish(event)
        assert publisher.spooled == 1
    wait_until(lambda: memlane.books(group).recorded == 1, "the event in the ledger")
    assert memlane.books(group).spooled == 0


def test_publish_one_that_is_wrong(memlane: CommandLine, group: str) -> None:
    memlane("publish", "file.write").failed("data.path")
    memlane("publish", "file.write", "--data", "[1]").failed("--data", "JSON object")
    # The first one was an event, and is in the books.
    assert memlane.books(group).refused == 1


def test_lines_that_are_wrong_are_named_and_the_rest_goes_through(memlane: CommandLine, group: str) -> None:
    good = b'{"type": "error", "data": {"message": "first"}}'
    wrong = {
        2: (b"not json", "event:"),
        4: (b"[1]", "event:"),
        5: (b'{"type": 5, "data": {}}', "type:"),
        6: (b'{"type": "file.write", "group": "my shop", "data": {"path": "a"}}', "group:"),
        7: (b'{"type": "file.write", "data": {}}', "data.path:"),
        8: (b'{"type": "error", "data": {"message": "%s"}}' % (b"x" * 300 * 1024), "event: 307"),
        9: (b'{"type": "error", "data": {"message": "\xff"}}', "event:"),
    }
    given = [good, *(wrong.get(number, (b"",))[0] for number in range(2, 10)), good + b"\r", good]

    ended = memlane("publish", "--stdin", "--json", stdin=b"\n".join(given))
    assert ended.code == 1
    assert ended.json["published"] == len(ended.json["ids"]) == 3
    assert [one["line"] for one in ended.json["refused"]] == list(wrong)
    for told, (number, (_, field)) in zip(ended.err.splitlines(), wrong.items(), strict=True):
        assert told.startswith(f"memlane: line {number}: {field}"), told

    books = memlane.books(group)
    assert (books.captured, books.recorded, books.refused) == (10, 3, 7)
    said = memlane("publish", "--stdin", stdin=b"\n".join(given))
    assert said.out == f"published 3 into the lane of {group}\n"
    assert said.err.endswith("memlane: refused 7 lines, named above\n")


def test_many_lines_and_their_groups(memlane: CommandLine, group: str) -> None:
    event = {"type": "file.write", "session": "s1"}
    given = [{**event, "data": {"path": f"src/m{n % 50}.py", "additions": n}} for n in range(MANY)]
    given += [{**event, "group": f"{group}-other", "data": {"path": "a.py"}}]
    said = memlane("publish", "--stdin", stdin=lines(*given))
    assert said.code == 0
    assert said.out == f"published {MANY:,} into the lane of {group}, 1 into the lane of {group}-other\n"
    books = memlane.books(group)
    assert books.recorded == MANY
    assert {stage.stage: stage.done for stage in books.stages} == {
        "index": MANY,
        "episodes": MANY,
        "cache": MANY,
        "cache.index": MANY,
        "cache.episodes": MANY,
        "telemetry": 0,
        "plugins": MANY,
        "compaction": MANY,
    }


def test_line_goes_out_as_it_comes_in(memlane: CommandLine, group: str) -> None:
    """As behind `tail -f`: stdin stays open, and no second line follows for now."""
    line = lines({"type": "error", "data": {"message": "at once"}})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with memlane.begun("publish", "--stdin", "--json", **pipes) as publishing, memlane.queue() as queue:
        assert publishing.stdin is not None
        publishing.stdin.write(line[:20])
        publishing.stdin.flush()
        publishing.stdin.write(line[20:])
        publishing.stdin.flush()
        wait_until(lambda: queue.hvals(lua.captured(group)) == [b"1"], "the first line", PATIENCE)
        assert publishing.poll() is None
        out, _ = publishing.communicate(line[:-1], PATIENCE)
    assert publishing.returncode == 0
    assert validated("publish", out.decode())["published"] == 2


def test_stored_recalled_cached_invalidated(memlane: CommandLine, group: str) -> None:
    answer = memlane(
        *("store", "the limiter counts in UTC, never in local time", "--type", "decision"),
        *("--path", "src/limiter.py", "--metadata", '{"by": "ops"}', "--json"),
    ).json
    assert answer["group"] == group
    memlane.books(group)

    question = ("recall", "does the limiter use local time?", "--path", "src/limiter.py")
    first = memlane(*question, "--json").json
    assert first["cache"] == "miss"
    (item,) = first["items"]
    assert (item["id"], item["path"]) == (answer["id"], "src/limiter.py")
    assert "counts in UTC" in first["context"]

    assert memlane("invalidate", "docs/**", "--json").json == {"group": group, "glob": "docs/**", "dropped": 0}
    said = memlane(*question)
    assert said.out == first["context"] + "\n"
    assert said.err.startswith("memlane: cache hit, ")
    assert " ms, 1 event, " in said.err
    assert said.err.endswith(f", {first['tokens']} tokens\n")
    assert memlane("invalidate", "src/**/*.py").out == f"dropped 1 path in {group}\n"
    assert memlane(*question, "--json").json["cache"] == "miss"
    memlane("invalidate", "!src").failed("'!src' is not a glob")


def test_paths_are_seen_from_the_working_folder(memlane: CommandLine, group: str) -> None:
    (memlane.folder / ".git").mkdir()
    inside = memlane.folder / "src"
    inside.mkdir()
    for path in ("cart.py", str(inside / "cart.py")):
        assert memlane("store", f"carts are priced by {path}", "--path", path, folder=inside).code == 0
    memlane.books(group)
    answer = memlane("recall", "how are carts priced?", "--path", "cart.py", "--json", folder=inside).json
    assert [item["path"] for item in answer["items"]] == ["src/cart.py"] * 2


def test_recall_says_which_limit_leaves_nothing_over(memlane: CommandLine, group: str) -> None:
    """Given something that is known, asked for with limits that rule it out. I expect to be told which; and nothing of
    limits where nothing is known without them either."""
    memlane("store", "the limiter counts in UTC")
    memlane.books(group)
    one = memlane("recall", "limiter", "--agent", "nobody", "--since", "2020-01-01")
    assert one.out == f"nothing is known about that in {group}\n"
    assert one.err.startswith("memlane: without --agent something would be found\n")
    both = memlane("recall", "limiter", "--agent", "nobody", "--kind", "vcs.commit").err
    assert both.startswith("memlane: without --agent and without --kind something would be found\n")
    assert "without" not in memlane("recall", "zanzibar", "--agent", "nobody").err


def test_store_and_recall_say_what_is_missing(memlane: CommandLine, group: str) -> None:
    memlane("store", "x", "--metadata", "by=ops").failed("--metadata", "JSON object")
    assert "'text': is empty" in memlane("store", "   ").err
    assert memlane.books(group).captured == 0
    said = memlane("recall", "zanzibar")
    assert (said.code, said.out) == (0, f"nothing is known about that in {group}\n")
    answer = memlane("recall", "zanzibar", "--json").json
    assert (answer["context"], answer["items"], answer["tokens"]) == ("", [], 0)


def test_what_agents_said_does_not_steer_the_terminal(memlane: CommandLine, group: str) -> None:
    memlane("store", "a red \x1b[31m herring")
    memlane.books(group)
    assert r"a red \x1b[31m herring" in memlane("recall", "herring").out


def test_import_twice(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    database = str(recorded_database(tmp_path))
    said = memlane("import", "opencode", database, "--group", group)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"published 25 events of 1 session into {group}\n")
    assert "       4  file.write\n" in said.out
    # The session was compacted, so a checkpoint of it is made.
    wait_until(lambda: memlane.books(group).recorded == 26, "the events and a checkpoint", PATIENCE)

    # Somebody looks: what is shown of the progress is not on stdout.
    again = ("import", "opencode", database, "--group", group, "--json")
    with terminal() as screen, memlane.begun(*again, stdout=subprocess.PIPE, stderr=screen.theirs) as importing:
        out, _ = importing.communicate(timeout=PATIENCE)
    assert importing.returncode == 0
    assert "importing" in screen.seen
    answer = validated("import-opencode", out.decode())
    assert (answer["published"], answer["sessions"], answer["groups"]) == (25, 1, [group])
    assert answer["types"]["file.write"] == 4
    books = memlane.books(group)
    assert (books.recorded, books.duplicates) == (26, 25)


def test_row_that_is_no_event_is_named_once(memlane: CommandLine, group: str, tmp_path: Path) -> None:
    database = renamed(recorded_database(tmp_path), LIMITER, f"ses_{group}")
    change(database, "UPDATE message SET data = 'broken' WHERE id = (SELECT min(id) FROM message)")
    said = memlane("import", "opencode", str(database), "--group", group)
    assert said.code == 0
    assert said.err.startswith("memlane: skipped message msg_")
    assert said.err.count("\n") == 1


def test_import_of_what_is_no_database(memlane: CommandLine, tmp_path: Path) -> None:
    memlane("import", "opencode", "gone.db").failed("no OpenCode database at gone.db")
    memlane("import", "opencode", XDG_DATA_HOME=str(tmp_path)).failed(str(tmp_path / "opencode" / "opencode.db"))
    (tmp_path / "notes.txt").write_text("not a database")
    memlane("import", "opencode", "notes.txt").failed("notes.txt is no SQLite database")


def test_ctrl_c_ends_a_stream_without_a_traceback(memlane: CommandLine, group: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with memlane.begun("publish", "--stdin", **pipes) as publishing, memlane.queue() as queue:
        assert publishing.stdin is not None
        publishing.stdin.write(lines({"type": "error", "data": {"message": "before"}}))
        publishing.stdin.flush()
        wait_until(lambda: queue.hvals(lua.captured(group)) == [b"1"], "the first line", PATIENCE)
        publishing.send_signal(signal.SIGINT)
        _, err = publishing.communicate(timeout=PATIENCE)
    assert publishing.returncode == 130
    assert b"Traceback" not in err


def test_questions_that_ask_for_nothing(memlane: CommandLine, group: str) -> None:
    memlane("store", "deploys go out on zebra days")
    memlane.books(group)
    for question in ("", "   "):
        ended = memlane("recall", question)
        assert (ended.code, ended.out) == (2, "")
        assert "is empty" in ended.err
    memlane("recall", "zebra", "--since", "1d", "--until", "2d").failed("--since is after --until")
    few = memlane("recall", "zebra", "--tokens", "1")
    assert (few.code, few.out) == (0, "nothing that fits into 1 token\n")
    told = re.search(r"--tokens 1 is too few: what is known about that needs at least (\d+)\n", few.err)
    assert told, few
    needed = told[1]
    assert "zebra days" in memlane("recall", "zebra", "--tokens", needed).out
    assert memlane("recall", "quagga", "--tokens", "1").out == f"nothing is known about that in {group}\n"


def test_a_date_is_the_whole_day(memlane: CommandLine, group: str) -> None:
    """Given something of noon, I expect it within its date, which begins and ends in UTC."""
    noon = {"type": "user.request", "time": "2026-11-22T12:00:00Z", "data": {"request": "zebras sleep standing"}}
    memlane("publish", "--stdin", stdin=lines(noon))
    memlane.books(group)
    found: dict[tuple[str, ...], bool] = {
        ("--until", "2026-11-22"): True,
        ("--since", "2026-11-22", "--until", "2026-11-22"): True,
        ("--until", "2026-11-21"): False,
        ("--since", "2026-11-23"): False,
        ("--until", "2026-11-22T11:59"): False,
    }
    for limits, within in found.items():
        items = memlane("recall", "zebras", *limits, "--json").json["items"]
        assert bool(items) is within, limits
    shown = memlane("recall", "--help").out
    assert "whole day, in UTC" in " ".join(shown.replace("│", " ").split())


def test_a_group_that_nobody_knows(memlane: CommandLine, group: str) -> None:
    """If something is asked of a group of which no event was ever recorded, I expect a line that says so, and which
    groups there are; and none of a group that has nothing to say."""
    memlane("store", "deploys go out on zebra days", "--session", "s1")
    memlane.books(group)
    hint = f"memlane: no event was ever recorded in group {group}-typo; known groups: "
    calls: tuple[tuple[str, ...], ...] = (
        ("recall", "quagga"),
        ("history", "sessions"),
        ("history", "search", "quagga"),
        ("history", "messages", "quagga"),
        ("status",),
        ("dead", "list"),
        ("invalidate", "quagga/*"),
    )
    for call in calls:
        ended = memlane(*call, "--group", f"{group}-typo")
        assert hint in ended.err, call
        assert ended.code == ("messages" in call)
        assert "no event was ever recorded" not in memlane(*call, "--group", group).err
