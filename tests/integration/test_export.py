"""A group out and in again: the same bytes, from either database into either, whatever stands in its events."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from memory import lua
from memory.events import MAX_EVENT_BYTES
from ops.export import ExportUnwritable, NotAnExport, export, import_lines
from ops.imports import Imported
from producers import Publisher
from tests import servers
from tests.conftest import System
from tests.project import project
from tests.workers_here import workers_here
from workers import resources
from workers.stage import drain
from workers.stages import STAGES

TRANSCRIPT = next((Path(__file__).parents[1] / "recordings" / "claude-code").rglob("5f0c9f3e*.jsonl"))
#: Seconds that something may take.
PATIENCE = 30.0


@pytest.fixture
def here(system: System) -> Iterator[System]:
    with workers_here(system.environ):
        yield system


def record(group: str) -> None:
    while STAGES["record"].has_work(group):
        resources.valkey().delete(lua.lease("record", group))
        drain(STAGES["record"], group)


def publish(group: str, found: list[dict[str, Any]]) -> None:
    with Publisher(source="test", group=group) as publisher:
        publisher.publish_many(found)
    record(group)


def imported(path: Path, group: str | None = None) -> Imported:
    return import_lines(path, resources.ledger(), group)


def strange(group: str) -> list[dict[str, Any]]:
    """Events with whatever an event may hold."""
    data: list[dict[str, Any]] = [
        {"text": '日本 𝄞 \u2028 \x7f \x01 " \\ </script>', "role": "user", "nested": {"a": [1, None, {"b": []}]}},
        {"text": "", "role": "user", "big": 2**53 + 1, "small": 1e-300, "float": 0.1, "whole": 3.0, "exp": 1e22},
        {"text": "x" * 30_000, "role": "assistant", "true": True, "null": None, "zero": -0.0},
    ]
    envelopes: list[dict[str, Any]] = [
        {"session": None, "agent": None},
        {"user": "ü@example.org", "extra": "kept", "number": 5},
        {"subject": "a subject of its own", "dataschema": "https://example.org/x"},
    ]
    return [
        {"id": f"{group}-s{n}-{m}", "type": "chat.message", "data": one, **envelope}
        for n, one in enumerate(data)
        for m, envelope in enumerate(envelopes)
    ] + [{"id": f"{group}-unknown", "type": "something.new", "time": "2026-11-21T10:00:00.1+02:00", "data": {}}]


@pytest.mark.parametrize("name", ["group.jsonl", "group.jsonl.gz"])
def test_there_and_back(here: System, group: str, tmp_path: Path, name: str, postgres_server: str) -> None:
    publish(group, [*project(group, 700), *strange(group)])
    # One that no publisher of ours has seen, with an attribute that is null, which is the same as absent.
    foreign: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{group}-f",
        "source": "x",
        "type": "error",
        "group": group,
        "x": None,
    }
    foreign |= {"time": "2026-11-21T10:00:00Z", "data": {"message": "y" * 40_000}}
    resources.valkey().xadd(lua.lane(group), {"e": json.dumps(foreign)})
    record(group)
    first = tmp_path / name
    seen: list[tuple[int, int]] = []
    done = export(resources.ledger(), group, first, lambda at, of: seen.append((at, of)))
    assert done.events == 711
    assert seen[-1] == (711, 711)
    assert first.stat().st_mode & 0o777 == 0o600
    lines = (gzip.decompress(first.read_bytes()) if name.endswith(".gz") else first.read_bytes()).splitlines()
    assert [json.loads(line)["id"] for line in lines][:2] == [f"{group}-00000", f"{group}-00001"]
    assert len(lines) == 711

    # An empty home, on the other kind of database.
    other = (
        servers.new_database(postgres_server)
        if here.database_url.startswith("sqlite")
        else f"sqlite:///{tmp_path / 'other.sqlite3'}"
    )
    resources.valkey().flushall()
    second = tmp_path / f"again-{name}"
    with workers_here({**here.environ, "MEMLANE_DATABASE_URL": other, "MEMLANE_HOME": str(tmp_path / "other")}):
        result = imported(first)
        assert (result.types.total(), result.groups, result.skipped, result.known) == (711, {group}, [], {})
        record(group)
        export(resources.ledger(), group, second)
        assert second.read_bytes() == first.read_bytes()

        again = imported(second)
        assert (again.types.total(), again.new, again.known, again.notes) == (0, 0, {group: 711}, [])


def test_into_another_group(here: System, group: str, tmp_path: Path) -> None:
    publish(group, project(group, 20))
    path = tmp_path / "x.jsonl"
    export(resources.ledger(), group, path)
    new = {"id": f"{group}-new", "source": "test", "type": "error", "time": "2026-11-21T10:00:00Z"}
    with path.open("a") as file:
        file.write(json.dumps({**new, "group": group, "data": {"message": "m"}}))  # without a line feed
    result = imported(path, "elsewhere")
    assert (result.types.total(), result.groups, result.known) == (1, {"elsewhere"}, {group: 20})
    (note,) = result.notes
    assert note.startswith(f"20 of these events are in group {group} already, and stay there")
    assert "not in elsewhere" in note


def test_lines_that_are_no_events_are_named(here: System, group: str, tmp_path: Path) -> None:
    publish(group, project(group, 3))
    path = tmp_path / "x.jsonl"
    export(resources.ledger(), group, path)
    good = [line.replace(group.encode(), b"other") for line in path.read_bytes().splitlines()]
    long = b'{"a": "' + b"x" * 3 * MAX_EVENT_BYTES + b'"}'
    path.write_bytes(b"\n".join([good[0], b"not json", b"", b'{"id": "x"}', good[1], long, good[2], good[2][:50]]))
    result = imported(path)
    assert result.types.total() == 3
    assert [line.partition(":")[0] for line in result.skipped] == ["line 2", "line 4", "line 6", "line 8"]
    assert "not valid JSON" in result.skipped[0]
    assert "longer than an event" in result.skipped[2]


def test_torn_and_foreign_files(here: System, group: str, tmp_path: Path) -> None:
    publish(group, project(group, 300))
    path = tmp_path / "x.jsonl.gz"
    export(resources.ledger(), group, path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    result = imported(path)
    assert result.known is not None
    assert 0 < result.known.total() < 300
    (torn,) = result.skipped
    assert torn.startswith(f"line {result.known.total() + 1}: the file is torn here")

    path.write_bytes(raw[:12])
    with pytest.raises(NotAnExport, match="torn at its beginning"):
        imported(path)
    with pytest.raises(NotAnExport, match="can't be read: No such file"):
        imported(tmp_path / "gone")
    with pytest.raises(NotAnExport, match="is a folder: name a file"):
        imported(tmp_path)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("foreign.csv", b"a,b,c\n" * 1_000, "line 1: event: not valid JSON.*memlane export"),
        ("README.md", b"# Shop\n\nIt sells.\n", "line 1: event: not valid JSON.*memlane export"),
        ("text.gz", b"not gzip", "line 1: event: not valid JSON"),
        ("wide.jsonl", '{"id": "1"}\n'.encode("utf-16"), "UTF-16.*UTF-8"),
        ("open code.db", b"SQLite format 3\0" + bytes(4_000), "`memlane import opencode '.*open code.db'`"),
        ("ses.jsonl", TRANSCRIPT.read_bytes(), "transcript of Claude Code's, which `memlane import claude-code "),
    ],
)
def test_files_that_hold_no_event_are_told_in_one_line(
    here: System, group: str, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotAnExport, match=f"no export of Memlane's: .*{said}"):
        imported(tmp_path / name)
    assert not resources.valkey().exists(lua.PENDING)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_how_a_file_is_packed_is_told_by_its_content(here: System, group: str, tmp_path: Path) -> None:
    """Given an export that is gzipped and not called so, one that is called so and is not, and one with a byte order
    mark, I expect every event of each to come in."""
    publish(group, project(group, 3))
    export(resources.ledger(), group, tmp_path / "x.jsonl")
    plain = (tmp_path / "x.jsonl").read_bytes()
    bom = b"\xef\xbb\xbf"
    files = {"a.jsonl": gzip.compress(plain), "b.jsonl.gz": plain, "c.jsonl": bom + plain}
    for name, content in {**files, "d.jsonl.gz": gzip.compress(bom + plain)}.items():
        (tmp_path / name).write_bytes(content)
        result = imported(tmp_path / name)
        assert (result.known, result.skipped) == ({group: 3}, [])


def test_secrets_in_a_file_do_not_come_in(here: System, group: str, tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    event = {"id": f"{group}-1", "source": "x", "type": "error", "time": "2026-11-21T10:00:00Z", "group": group}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({**event, "data": {"message": f"token {secret}"}}) + "\n")
    assert imported(path).types.total() == 1
    lane = resources.valkey().xrange(lua.lane(group))
    assert secret not in str(lane)
    record(group)
    export(resources.ledger(), group, path)
    assert secret not in path.read_text()


def test_file_is_whole_or_not_there(here: System, group: str, tmp_path: Path) -> None:
    publish(group, project(group, 3))
    with pytest.raises(
        ExportUnwritable, match=f"there is no folder {tmp_path}/gone; make it .`mkdir -p {tmp_path}/gone`"
    ):
        export(resources.ledger(), group, tmp_path / "gone" / "x.jsonl")
    with pytest.raises(ExportUnwritable, match=f"it is a folder, name a file in it, such as {tmp_path}/memory"):
        export(resources.ledger(), group, tmp_path)
    path = tmp_path / "x.jsonl"
    path.write_text("before")

    def stop(at: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(resources.ledger(), group, path, stop)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".x")] == []


def test_a_link_stays_and_its_target_is_replaced(here: System, group: str, tmp_path: Path) -> None:
    publish(group, project(group, 3))
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(target)
    for _ in range(2):  # the target is not there yet, then it is
        export(resources.ledger(), group, link)
        assert link.is_symlink()
        assert len(target.read_bytes().splitlines()) == 3
        target.write_text("before")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["pipe", "pipe.gz"])
def test_a_pipe_is_written_into(here: System, group: str, tmp_path: Path, name: str) -> None:
    publish(group, project(group, 300))
    pipe = tmp_path / name
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        assert export(resources.ledger(), group, pipe).events == 300
        found = read.result(PATIENCE)
    assert len((gzip.decompress(found) if name.endswith(".gz") else found).splitlines()) == 300
    assert pipe.is_fifo()

    # One whose reader leaves.
    with ThreadPoolExecutor(1) as reader:
        left = reader.submit(lambda: pipe.open("rb").close())
        with pytest.raises(ExportUnwritable, match="Broken pipe"):
            export(resources.ledger(), group, pipe, lambda at, of: left.result(PATIENCE))
    assert pipe.is_fifo()
