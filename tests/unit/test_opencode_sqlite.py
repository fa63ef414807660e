"""Opening OpenCode databases: without a trace, while they are in use, and what is said of those that can't be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from producers.opencode_db import (
    DatabaseNotFound,
    DatabaseUnreadable,
    NotOpenCodeDatabase,
    count,
    database_path,
    read_events,
)
from tests.opencode_databases import change, contents, of, read, recorded


@pytest.fixture
def limiter(tmp_path: Path) -> Path:
    return recorded("single-session", tmp_path)


class TestReadingLeavesNoTrace:
    @pytest.fixture(params=["single-session", "two-sessions"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        return recorded(request.param, tmp_path)

    def test_twice_gives_the_same_bytes(self, path: Path) -> None:
        assert [event.encode() for event in read(path)] == [event.encode() for event in read(path)]

    def test_ids_are_all_different(self, path: Path) -> None:
        ids = [event.id for event in read(path)]
        assert len(ids) == len(set(ids))

    def test_no_file_is_made_or_changed(self, path: Path) -> None:
        before = contents(path.parent)
        read(path)
        count(path)

        assert before == contents(path.parent)
        assert set(before) == {"opencode.db"}

    def test_half_an_import_leaves_none_either(self, path: Path) -> None:
        before = contents(path.parent)
        events = read_events(path, group_for=lambda _: "shop")
        next(events)
        events.close()  # type: ignore[attr-defined]

        assert before == contents(path.parent)

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
            before = contents(path.parent)
            events = read(path)

            assert set(before) == set(contents(path.parent)) == {"opencode.db", "opencode.db-wal", "opencode.db-shm"}
            assert len(events) == len(everything)
            assert of(events, "session.start")[0].data["title"] == "Renamed"
            opencode.rollback()
        assert set(contents(path.parent)) == {"opencode.db"}

    def test_a_database_that_changes_while_it_is_read(self, path: Path) -> None:
        expected = len(read(path))
        events = read_events(path, group_for=lambda _: "shop")
        first = next(events)
        # OpenCode starts, writes, and stops: all of it is in the main file, which is open as one that never changes.
        change(path, """UPDATE message SET data = replace(data, '"agent":"build"', '"agent":"plan"')""", "VACUUM")
        rest = list(events)

        assert first.type == "session.start"
        assert len(rest) == expected - 1
        # The first request was read before; every answer came after it.
        assert {event.agent for event in of(rest, "chat.message") if event.data["role"] == "assistant"} == {"plan"}
        assert set(contents(path.parent)) == {"opencode.db"}

    def test_a_database_in_the_older_journal_mode(self, path: Path) -> None:
        expected = len(read(path))
        change(path, "PRAGMA journal_mode=DELETE")

        assert len(read(path)) == expected
        assert set(contents(path.parent)) == {"opencode.db"}


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
        assert set(contents(odd.parent)) == {odd.name}

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
