"""How the system is, by the command line: status, dead letters, doctor."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memory import lua
from tests.acceptance.command import PATIENCE, CommandLine, Ended, terminal, validated
from tests.acceptance.test_up import Up
from tests.servers import free_port, wait_until

WRITE = ("publish", "file.write", "--data", '{"path": "src/cart.py"}')


def test_status_of_a_group_that_balances(memlane: CommandLine, group: str) -> None:
    memlane(*WRITE)
    memlane.books(group)
    answer = memlane("status", "--json").json
    assert answer["balanced"] is True
    (books,) = [one for one in answer["groups"] if one["group"] == group]
    assert (books["captured"], books["recorded"], books["off_by"]) == (1, 1, 0)
    assert all(stage["done"] == stage["interest"] for stage in books["stages"])
    said = memlane("status", "--group", group)
    assert said.code == 0
    assert "all lanes are drained" in said.out
    assert "balance" in said.out
    assert "off by" not in said.out


def test_status_of_books_that_do_not_balance(memlane: CommandLine, group: str) -> None:
    memlane(*WRITE)
    memlane.books(group)
    with memlane.queue() as queue:
        generation = lua.generation(queue)
        queue.hincrby(lua.captured(group), generation, 3)
        try:
            said = memlane("status", "--group", group)
            diagnosis = memlane("doctor", "--json")
        finally:
            queue.hincrby(lua.captured(group), generation, -3)
    assert said.code == 1
    assert "off by +3" in said.out
    assert diagnosis.code == 1
    (found,) = failures(diagnosis)
    assert found["check"] == "books"
    assert group in found["message"]


def test_status_is_watched_until_ctrl_c(memlane: CommandLine, group: str) -> None:
    memlane(*WRITE)
    memlane.books(group)
    with (
        terminal() as screen,
        memlane.begun("status", "--watch", "--group", group, stdout=screen.theirs, stderr=screen.theirs) as watching,
    ):
        wait_until(lambda: screen.seen.count("captured") >= 2, "it to be drawn again", PATIENCE)
        memlane(*WRITE)
        wait_until(lambda: "        2         2 " in screen.seen, "the new event to be shown", PATIENCE)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0
    assert "Traceback" not in screen.seen
    assert "Aborted" not in screen.seen
    assert "\x1b[1A" in screen.seen, "drawn in place"
    assert screen.seen.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def test_status_is_watched_by_a_program(memlane: CommandLine) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with memlane.begun("status", "--watch", "--json", **pipes) as watching:
        assert watching.stdout is not None
        for _ in range(2):
            assert validated("status", watching.stdout.readline().decode())["balanced"] is True
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, err) == (0, b"")


def test_dead_letters(memlane: CommandLine, group: str) -> None:
    garbage = b'{"type": "file.write", \x1b[2J'
    with memlane.queue() as queue:
        generation = lua.generation(queue)
        queue.xadd(lua.lane(group), {"e": garbage, "g": generation})
        queue.hincrby(lua.captured(group), generation, 1)
    memlane(*WRITE)
    assert memlane.books(group).dead == 1

    (letter,) = memlane("dead", "list", "--group", group, "--json").json["dead"]
    assert (letter["group"], letter["stage"], letter["id"], letter["seq"]) == (group, "record", None, None)
    assert "event:" in letter["error"]
    number = str(letter["number"])
    whole = memlane("dead", "show", number, "--json").json
    assert whole == {**letter, "event": garbage.decode()}

    listed = memlane("dead", "list", "--group", group)
    assert listed.code == 0
    (line,) = [line for line in listed.out.splitlines() if group in line]
    assert line.split()[0] == number
    assert letter["error"] in line
    shown = memlane("dead", "show", number)
    assert shown.out.endswith('event\n{"type": "file.write", \\x1b[2J\n')
    assert letter["error"] in shown.out

    again = memlane("dead", "retry", number, "--json")
    assert again.code == 1
    assert again.json["retried"] == []
    assert [failed["number"] for failed in again.json["failed"]] == [letter["number"]]
    assert memlane.books(group).dead == 1

    diagnosis = memlane("doctor")
    assert diagnosis.code == 0, diagnosis
    assert "look   dead letters" in diagnosis.out
    assert "`memlane dead list` shows them" in diagnosis.out


def test_dead_letters_that_are_not_there(memlane: CommandLine, group: str) -> None:
    assert memlane("dead", "list", "--group", group).out == "no dead letters\n"
    assert memlane("dead", "list", "--group", group, "--stage", "record", "--json").json == {"dead": [], "total": 0}
    memlane("dead", "list", "--stage", "recrod").failed("'recrod'", "record, index")
    memlane("dead", "show", "4711").failed("4711", "memlane dead list")
    memlane("dead", "retry", "4711").failed("4711", "memlane dead list")
    assert memlane("dead", "retry", "--stage", "index", "--group", group).out == "retried 0\n"
    assert memlane("dead", "retry").code == 2


def test_doctor_finds_nothing(memlane: CommandLine) -> None:
    examined = memlane("doctor", "--json")
    assert (examined.code, failures(examined)) == (0, [])
    checks = [finding["check"] for finding in examined.json["findings"] if finding["state"] == "ok"]
    of_servers = ["graph server", "ledger", "queue server", "workers"]
    assert checks == ["home", "stack", "spools", *of_servers, "lanes", "stages", "books"]
    said = memlane("doctor")
    assert said.code == 0
    assert said.out.endswith("everything works\n")


def test_doctor_without_the_queue_server_checks_the_rest(memlane: CommandLine) -> None:
    port = free_port()
    examined = memlane("doctor", "--json", MEMLANE_VALKEY_URL=f"redis://:sesame@127.0.0.1:{port}")
    assert examined.code == 1
    (found,) = failures(examined)
    assert found["check"] == "queue server"
    assert f"redis://127.0.0.1:{port}" in found["message"]
    assert "memlane up" in found["remedy"]
    checks = {finding["check"]: finding["state"] for finding in examined.json["findings"]}
    assert checks["graph server"] == checks["ledger"] == "ok"
    assert checks["stack"] == "warning", "one runs here, but commands go elsewhere"


def test_doctor_without_the_graph_or_the_ledger_checks_the_rest(memlane: CommandLine) -> None:
    port = free_port()
    examined = memlane(
        *("doctor", "--json"),
        MEMLANE_GRAPH_URL=f"redis://:sesame@127.0.0.1:{port}",
        MEMLANE_DATABASE_URL=f"postgresql://memlane:sesame@127.0.0.1:{port}/memlane",
    )
    assert examined.code == 1
    assert [found["check"] for found in failures(examined)] == ["graph server", "ledger"]
    assert all(str(port) in found["message"] and found["remedy"] for found in failures(examined))
    assert "sesame" not in examined.out
    assert "queue server" in [found["check"] for found in examined.json["findings"] if found["state"] == "ok"]


def test_doctor_with_a_queue_server_where_the_graph_should_be(memlane: CommandLine, shared_stack: Up) -> None:
    examined = memlane("doctor", "--json", MEMLANE_GRAPH_URL=shared_stack.state["valkey_url"])
    (found,) = failures(examined)
    assert (found["check"], "not FalkorDB" in found["message"]) == ("graph server", True)


def test_doctor_with_workers_that_hang(memlane: CommandLine, shared_stack: Up, group: str) -> None:
    """First the worker that writes the graph is stopped in its tracks, then the one that empties the lanes."""
    with stopped(shared_stack, "graph"):
        memlane(*WRITE)
        memlane.books(group, waiting=("episodes", "cache.episodes"))
        with stopped(shared_stack, "lanes"):
            memlane(*WRITE)
            with memlane.queue() as queue:
                queue.zadd(lua.PENDING, {group: 1})  # as if it had waited since 1970
            examined = memlane("doctor", "--json")
    assert examined.code == 1
    found = {finding["check"]: finding for finding in failures(examined)}
    assert list(found) == ["workers", "lanes", "stage episodes"]
    assert "record, index, episodes, cache, telemetry" in found["workers"]["message"]
    assert "celery -A workers.app worker -Q record," in found["workers"]["remedy"]
    assert group in found["lanes"]["message"]
    assert "no worker serves the queue record" in found["lanes"]["message"]
    assert "1 event of 1 group wait" in found["stage episodes"]["message"]
    (silent,) = [finding for finding in examined.json["findings"] if "no answer" in finding["message"]]
    assert "graph@" in silent["message"]
    assert "lanes@" in silent["message"]
    assert memlane.books(group).recorded == 2


def test_doctor_after_up_was_killed(tmp_path: Path, shared_stack: Up) -> None:
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "run" / "stack.json").write_text('{"valkey_url": "redis://127.0.0.1:1"}')
    examined = CommandLine(home, tmp_path)("doctor", "--json")
    (found,) = [found for found in failures(examined) if found["check"] == "stack"]
    assert "was killed" in found["message"]


def failures(examined: Ended) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [one for one in examined.json["findings"] if one["state"] == "failure"]
    assert examined.json["works"] is (not found)
    return found


@contextmanager
def stopped(stack: Up, name: str) -> Iterator[None]:
    """A process of the stack that does not get on, and does not end either."""
    pid = stack.process(name)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
