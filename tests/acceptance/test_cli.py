"""The command line as such: help, mistakes, and every command where there is nothing to talk to.

What the commands do is in test_cli_memory.py and test_cli_health.py.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator

from ops.cli.commands import app
from ops.demo_data import recorded_database
from tests.acceptance.command import MEMLANE, PATIENCE, CommandLine, Ended, environment, lines, schemas
from tests.servers import free_port

EVENT = {"type": "file.write", "data": {"path": "src/cart.py"}}
#: What needs the queue server, and what needs the ledger.
QUEUE = (
    ("publish", "file.write", "--data", '{"path": "src/cart.py"}'),
    ("publish", "--stdin"),
    ("store", "deploys go out on Tuesdays"),
    ("recall", "when do we deploy?"),
    ("status",),
    ("status", "--watch"),
    ("invalidate", "src/**"),
    ("import", "opencode", "opencode.db"),
    ("doctor",),
)
#: Commands of these that publish: what the queue server can't take waits in the spool.
PUBLISHING = ("publish", "store")
#: Schemas that only others refer to.
SHARED = {"import.schema.json"}
LEDGER = (("dead", "list"), ("dead", "show", "1"))


def all_commands() -> Iterator[tuple[str, ...]]:
    """Every command there is, in words."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if hasattr(command, "commands"):
            for name, found in command.commands.items():
                yield from below(found, (*words, name))
        else:
            yield words

    yield from below(typer.main.get_command(app), ())


def at_once(command: CommandLine, *calls: tuple[str, ...], **environ: Any) -> dict[tuple[str, ...], Ended]:
    """Run commands side by side, each with one event on stdin."""
    with ThreadPoolExecutor(4) as pool:
        ended = pool.map(lambda call: command(*call, stdin=lines(EVENT), **environ), calls)
        return dict(zip(calls, ended, strict=True))


@pytest.fixture
def nowhere(tmp_path: Path) -> CommandLine:
    """Commands whose home is not there."""
    recorded_database(tmp_path)
    return CommandLine(tmp_path / "no home", tmp_path, {"MEMLANE_GROUP": "shop"})


def test_every_command_has_help_with_examples_and_a_schema(nowhere: CommandLine) -> None:
    commands = list(all_commands())
    assert {f"{'-'.join(words)}.schema.json" for words in commands} == set(schemas()) - SHARED
    for words, ended in at_once(nowhere, *((*words, "--help") for words in commands)).items():
        assert (ended.code, ended.err) == (0, ""), ended
        assert f"memlane {' '.join(words[:-1])}" in ended.out.partition("Examples")[2], ended.out
        assert "--json" in ended.out


def test_schemas_are_schemas_and_describe_each_field() -> None:
    for name, schema in schemas().items():
        Draft202012Validator.check_schema(schema)
        # What others refer to is closed by them: with what they refer to, and nothing else.
        closed = "unevaluatedProperties" if "$ref" in schema else "additionalProperties"
        assert name in SHARED or schema[closed] is False, name
        for field, described in fields(schema):
            assert described.get("description"), f"{name}: {field}"


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All fields of a schema, at any depth."""
    for field, described in schema.get("properties", {}).items():
        yield field, described
        yield from fields(described)
        yield from fields(described.get("items", {}))


def test_help_and_version(nowhere: CommandLine) -> None:
    shown = nowhere("--help")
    assert shown.code == 0
    for words in all_commands():
        assert f" {words[0]} " in shown.out
    assert nowhere("--version").out.startswith("memlane 0.")


def test_wrong_command_line(nowhere: CommandLine) -> None:
    named = {
        ("rember", "x"): "rember",
        ("status", "--wath"): "--wath",
        ("store",): "text",
        ("dead", "show", "one"): "number",
        ("publish",): "--stdin",
        ("publish", "file.write", "--stdin"): "--stdin",
        ("recall", "x", "--tokens", "0"): "--tokens",
    }
    for call, ended in at_once(nowhere, *named).items():
        assert (ended.code, ended.out) == (2, "")
        assert named[call] in ended.err


def test_empty_values_are_refused_alike(nowhere: CommandLine) -> None:
    """Whatever the command, I expect an empty value to be named with what to do, and nothing to be sent or asked."""
    option, argument = ", or leave the option out", ", or leave the argument out"
    refused: dict[tuple[str, ...], tuple[str, str]] = {
        ("recall", "deploy", "--session", ""): ("--session", option),
        ("recall", "deploy", "--agent", " "): ("--agent", option),
        ("recall", "deploy", "--path", "a.py", "--path", ""): ("--path", option),
        ("recall", "deploy", "--kind", ""): ("--kind", option),
        ("recall", "deploy", "--until", ""): ("--until", option),
        ("recall", ""): ("question", ""),
        ("store", ""): ("text", ""),
        ("store", "  \n"): ("text", ""),
        ("store", "x", "--type", ""): ("--type", option),
        ("publish", "error", "--agent", ""): ("--agent", option),
        ("history", "--db", "", "summary"): ("--db", option),
        ("history", "search", ""): ("QUERY", ""),
        ("history", "messages", "s1", "--read", ""): ("--read", option),
        ("history", "compactions", ""): ("SESSION", argument),
        ("history", "compare", "s1", ""): ("OTHER", ""),
        ("dead", "list", "--error", ""): ("--error", option),
        ("forget", "--session", ""): ("--session", option),
        ("invalidate", ""): ("glob", ""),
    }
    for call, ended in at_once(nowhere, *refused).items():
        name, remedy = refused[call]
        assert (ended.code, ended.out) == (2, ""), ended
        said = " ".join(ended.err.replace("│", " ").split())
        assert f"'{name}': is empty: give what is meant{remedy} " in f"{said} ", ended
        assert "leave" in remedy or "leave" not in said, ended


def test_wrong_group_and_wrong_settings_are_named(nowhere: CommandLine) -> None:
    for ended in at_once(nowhere, ("store", "x", "--group", "my shop"), ("status", "--group", "my shop")).values():
        ended.failed("--group", "'my shop'", "A-Z")
    nowhere("status", MEMLANE_BATCH_SIZE="many").failed("MEMLANE_BATCH_SIZE", "integer")
    nowhere("store", "x", MEMLANE_VALKEY_URL="redis://:se#cret@h:1").failed("address can't be understood")


def test_queue_server_away(nowhere: CommandLine) -> None:
    port = free_port()
    asking = [call for call in QUEUE if call[0] not in PUBLISHING]
    for call, ended in at_once(nowhere, *asking, MEMLANE_VALKEY_URL=f"redis://:sesame@127.0.0.1:{port}").items():
        unreachable(call, ended, f"redis://127.0.0.1:{port}")


def test_queue_server_away_while_events_are_published(nowhere: CommandLine) -> None:
    """Given no queue server, I expect what is published to wait on this machine, that to be said with the address, and
    `spool` to list it; and `spool flush` to say why it can't be sent."""
    url = f"redis://:sesame@127.0.0.1:{free_port()}"
    calls = [call for call in QUEUE if call[0] in PUBLISHING]
    published = at_once(nowhere, *((*call, "--json") for call in calls), MEMLANE_VALKEY_URL=url).values()
    for ended in published:
        assert ended.code == 0, ended
        assert ended.json
        assert "memlane spool flush" in ended.err
        assert "sesame" not in ended.err
    assert any("127.0.0.1" in ended.err for ended in published), "those after the first need not have tried again"

    listed = nowhere("spool", "list", "--json", MEMLANE_VALKEY_URL=url).json
    assert [(spool["group"], spool["events"]) for spool in listed["spools"]] == [("shop", len(calls))]
    assert "shop" in nowhere("spool", "list", MEMLANE_VALKEY_URL=url).out
    flushed = nowhere("spool", "flush", "--json", "--timeout", "1", MEMLANE_VALKEY_URL=url)
    assert flushed.code == 1
    assert flushed.json == {"sent": 0, "waiting": len(calls), "torn": 0}
    assert url.replace(":sesame@", "") in flushed.err
    checks = {check["check"]: check for check in nowhere("doctor", "--json", MEMLANE_VALKEY_URL=url).json["findings"]}
    assert checks["spools"]["state"] == "warning"


def test_nothing_is_spooled(nowhere: CommandLine) -> None:
    for ended in at_once(nowhere, ("spool", "list"), ("spool", "flush")).values():
        assert ended.code == 0, ended
    assert nowhere("spool", "flush", "--json").json == {"sent": 0, "waiting": 0, "torn": 0}
    assert not nowhere.home.exists()


def test_database_server_away(nowhere: CommandLine) -> None:
    port = free_port()
    url = f"postgresql://memlane:sesame@127.0.0.1:{port}/memlane"
    up = ("up", "--port", "0", "--no-flower")
    for call, ended in at_once(nowhere, *LEDGER, up, MEMLANE_DATABASE_URL=url).items():
        unreachable(call, ended, f"127.0.0.1:{port}")
    assert not (nowhere.home / "run" / "stack.json").exists()


def test_database_server_away_from_a_running_stack(memlane: CommandLine) -> None:
    port = free_port()
    url = f"postgresql://memlane:sesame@127.0.0.1:{port}/memlane"
    unreachable(("status",), memlane("status", MEMLANE_DATABASE_URL=url), f"127.0.0.1:{port}")


def test_no_stack(nowhere: CommandLine) -> None:
    calls = [call for call in (*QUEUE, *LEDGER) if call[-1] not in ("--watch", "--stdin")]
    for call, ended in at_once(nowhere, *calls).items():
        unreachable(call, ended, str(nowhere.home))
        assert "memlane up" in ended.out + ended.err
    assert not nowhere.home.exists(), "to look changes nothing"


def unreachable(call: tuple[str, ...], ended: Ended, address: str) -> None:
    """It says in one line where it looked, and no password."""
    assert "sesame" not in ended.out + ended.err
    if call == ("doctor",):
        assert (ended.code, ended.err) == (1, "")
        assert address in ended.out
    else:
        ended.failed(address)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("", "holds no ledger yet"),
        ("CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('9999')", "newer version"),
    ],
)
def test_database_without_our_schema(nowhere: CommandLine, made: str, named: str) -> None:
    path = nowhere.folder / "other.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(made or "CREATE TABLE theirs (n)")
    connection.close()
    nowhere("dead", "list", MEMLANE_DATABASE_URL=f"sqlite:///{path}").failed(str(path), named)


@pytest.mark.parametrize("command", ["status --watch", "status --watch --json"])
def test_reader_that_has_seen_enough(memlane: CommandLine, command: str) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'"$0" {command} | head -c 1', MEMLANE],
        env=environment(memlane.home, **memlane.environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert len(ended.stdout) == 1
    assert ended.stderr == ""
