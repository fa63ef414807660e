"""The ledger on both databases: its schema, what goes in comes out, full text, and what is said when it is away."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url, text

from memory.events import Event, parse
from memory.ledger import Ledger, LedgerUnavailable, books, cursors, migrate, migrations
from memory.ledger.log import Entry, KnownIds, read, record
from memory.ledger.schema import metadata
from memory.ledger.search import index, search
from tests import servers

PASSWORD = "s3cret-pass"


def event(id: str, said: str = "", group: str = "shop", **fields: Any) -> Event:
    """An event that says `said`."""
    known = {"source": "test", "time": "2026-11-21T10:00:00.123Z", "type": "note", "data": {"said": said}}
    return parse({"id": id, "group": group, **known, **fields})


def put(ledger: Ledger, events: Sequence[Event], group: str = "shop") -> None:
    """Record events as stage `record` does, and index them as stage `index` does."""
    entries = [Entry(f"{n}-0", found, found.encode().decode()) for n, found in enumerate(events, 1)]
    token = cursors.take_token(ledger, "record", group)
    for look_up in (False, True):
        with suppress(KnownIds), ledger.write() as connection:
            said = record(ledger, connection, group, token, entries, lambda e: e.data.get("said", ""), look_up)
            index(ledger, connection, group, list(range(1, said.recorded + 1)))
            break


def found(ledger: Ledger, question: str, group: str = "shop", limit: int = 10) -> list[str]:
    """Ids of what a question finds, best first."""
    with ledger.read() as connection:
        return [match.id for match in search(ledger, connection, group, question, limit)]


def everything(ledger: Ledger, group: str = "shop") -> list[Event]:
    with ledger.read() as connection:
        return read(connection, group, 0, 10_000, None, 10_000).events


def test_migrations_make_what_the_schema_says(ledger: Ledger) -> None:
    """Given a new database, If it is migrated, I expect no difference to memory.ledger.schema."""
    with ledger.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True},
        )
        differences = compare_metadata(context, metadata)
    # Comments explain the columns to readers of the schema; the databases need not have them.
    assert [d for d in differences if "comment" not in str(d)] == []
    assert ledger.is_sqlite or {str(d[0][0]) for d in differences} <= {"modify_comment"}


def test_revisions_are_known_without_alembic(ledger: Ledger) -> None:
    """Given a new database, I expect it to have the newest revision, which is told without loading Alembic, as Alembic
    itself tells it."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert migrations.revisions() == sorted(one.revision for one in script.walk_revisions())
    with ledger.read() as connection:
        assert migrations.revision_of(connection) == migrations.revisions()[-1] == script.get_current_head()


def test_migrating_again_changes_nothing(ledger: Ledger) -> None:
    put(ledger, [event("a", "cart")])
    migrate(ledger)

    assert [e.id for e in everything(ledger)] == ["a"]


def test_two_processes_may_migrate_at_once(database_url: str) -> None:
    """Given an empty database, If four processes migrate it at the same moment, I expect all to succeed."""
    script = (
        "import sys; from memory.ledger import Ledger, migrate; print('ready', flush=True); sys.stdin.readline(); "
        "ledger = Ledger(sys.argv[1]); migrate(ledger); ledger.close()"
    )
    command = [sys.executable, "-c", script, database_url]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in running]

    assert [process.returncode for process in running] == [0] * 4, said
    ledger = Ledger(database_url)
    put(ledger, [event("a", "cart")])
    assert found(ledger, "cart") == ["a"]
    ledger.close()


def test_a_new_database_that_another_process_writes_is_waited_for(tmp_path: Path) -> None:
    """Given a new database in which somebody else has begun to write, I expect the ledger to be opened once that is
    over: SQLite itself does not wait then."""
    path = tmp_path / "ledger.sqlite3"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    over = threading.Timer(0.3, other.execute, ["COMMIT"])
    over.start()
    ledger = Ledger(f"sqlite:///{path}")
    migrate(ledger)
    assert everything(ledger) == []
    ledger.close()
    over.join()
    other.close()


def test_threads_may_migrate_at_once(tmp_path: Path) -> None:
    """Given threads that each open a ledger of their own, I expect each to be migrated."""
    ledgers = [Ledger(f"sqlite:///{tmp_path / str(n)}") for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(migrate, ledgers))
    for ledger in ledgers:
        assert cursors.take_token(ledger, "record", "shop") == 1
        ledger.close()


def test_what_is_recorded_is_read_whole(ledger: Ledger) -> None:
    """Given an event with everything that may be in one, I expect the same bytes after the ledger."""
    given = parse(
        {
            "specversion": "1.0",
            "id": "x",
            "source": "opencode",
            "type": "file.write",
            "time": "2026-11-21T12:00:00.123+02:00",
            "group": "shop",
            "session": "Sitzung 🛒",
            "agent": "build",
            "user": "O'Brien",
            "project": "/home/dev/shop",
            "traceparent": "00-4bf9",
            "größe": {"deep": [1, 2.5, None, True]},
            "data": {
                "path": "src/\u202ecart 'x' \"y\" %s :z \\.py",
                "additions": 0,
                "unknown": {"n": -(2**63), "f": 1e-300, "list": [[], {}, "", None]},
                "nul\u0000key": "nul\u0000value \ud800 lone",
                "emoji": "👩‍👩‍👧 e\u0301 ﷽",
            },
        }
    )
    put(ledger, [given])

    (kept,) = everything(ledger)
    assert kept.encode() == given.encode()
    assert kept.model_extra == given.model_extra
    assert kept.paths == given.paths


@pytest.mark.parametrize(
    "time",
    [f"2026-11-21T10:00:00.{ms:03d}Z" for ms in (1, 999)]
    + ["2039-02-13T17:18:58.423Z", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00.001Z", "9999-12-31T23:59:59.999Z"],
)
def test_times_are_kept_to_the_millisecond(ledger: Ledger, time: str) -> None:
    put(ledger, [event("x", time=time)])

    (kept,) = everything(ledger)
    assert json.loads(kept.encode())["time"] == time


def test_words_are_found_in_any_form(ledger: Ledger) -> None:
    """Given notes, I expect a question to find them by the stems of its words, whatever their case, and the best
    first."""
    put(
        ledger,
        [
            event("plural", "The carts were calculated"),
            event("both", "Calculating the total of a cart"),
            event("none", "Deployed the website"),
        ],
    )

    assert set(found(ledger, "cart")) == {"plural", "both"}
    assert set(found(ledger, "CALCULATION of the Carts?")) == {"plural", "both"}
    assert found(ledger, "total cart")[0] == "both"
    assert found(ledger, "deploying") == ["none"]
    assert found(ledger, "elephant") == []


def test_the_parts_of_paths_and_names_are_words(ledger: Ledger) -> None:
    """Given a file's path in a text, I expect it to be found by a part of it, and by the whole, on both databases."""
    put(ledger, [event("path", "Modified: src/shop/cart.py"), event("url", "see https://example.org/docs?page=basket")])

    for question in ("cart", "src/shop/cart.py", "shop", "cart.py", "which file is the cart in"):
        assert found(ledger, question) == ["path"], question
    for question in ("basket", "example.org", "docs"):
        assert found(ledger, question) == ["url"], question


def test_common_words_find_nothing_where_there_are_others(ledger: Ledger) -> None:
    put(ledger, [event("a", "what is the matter"), event("b", "cart")])

    assert found(ledger, "what is the cart") == ["b"]


HOSTILE = [
    '"',
    "*",
    "NEAR(",
    "'",
    "' OR 1=1 --",
    'cart" OR "x',
    "text : cart",
    "{group_id text} : cart",
    "cart AND NOT",
    "^cart",
    "a:* & b",
    "cart\\",
    "%s %(x)s :w0 ?",
    "🛒🛒",
    "\x00\x01\ud800",
    "²",
    "ﷺ ٠١٢",
    "!?.,;:-_",
    "",
    "   \n\t ",
]


@pytest.mark.parametrize("question", HOSTILE)
def test_a_question_is_only_words(ledger: Ledger, question: str) -> None:
    """Given a question that means something to a full-text engine, I expect its words to be looked for, and no more."""
    put(ledger, [event("a", "the cart"), event("b", "basket")])

    expected = ["a"] if "cart" in question else []
    assert found(ledger, question) == expected


def test_long_questions_and_long_words(ledger: Ledger) -> None:
    put(ledger, [event("a", "the cart " + "y" * 20_000), event("b", " ".join(f"word{n}" for n in range(20_000)))])

    assert found(ledger, "cart " + "lorem ipsum " * 900) == ["a"]
    assert found(ledger, "x" * 10_000) == []
    assert found(ledger, "word19999") == ["b"]


def test_groups_see_only_their_own(ledger: Ledger) -> None:
    """Given groups whose names are made of the same words, I expect each to find its own event only."""
    groups = ["a-b", "b-a-b", "a_b", "a-b-c", "A-B", "-", "_-", "text"]
    for group in groups:
        put(ledger, [event(f"id {group}", "cart", group)], group)

    for group in groups:
        assert found(ledger, "cart", group) == [f"id {group}"]
    assert found(ledger, "cart", "b") == []


def test_the_best_are_given_and_among_equals_the_newest(ledger: Ledger) -> None:
    put(ledger, [event(f"e{n}", "cart") for n in range(20)])

    assert found(ledger, "cart", limit=3) == ["e19", "e18", "e17"]


def test_one_batch_may_hold_the_same_id_twice(ledger: Ledger) -> None:
    """Given ids that come again, in a batch, in the next one, and in another group, I expect the first one only."""
    put(ledger, [event("a"), event("b"), event("a"), event("c")])
    put(ledger, [event("c", group="other"), event("d", group="other")], "other")

    assert [e.id for e in everything(ledger)] == ["a", "b", "c"]
    assert [e.id for e in everything(ledger, "other")] == ["d"]


def unavailable(url: str) -> str:
    """What a database that can't be used is said to be."""
    with pytest.raises(LedgerUnavailable) as error:
        ledger = Ledger(url)
        try:
            with ledger.read() as connection:
                connection.execute(text("SELECT 1"))
        finally:
            ledger.close()
    return str(error.value)


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    port = servers.free_port()

    said = unavailable(f"postgresql://memlane:{PASSWORD}@127.0.0.1:{port}/memlane?options=-cx%3D{PASSWORD}")

    assert f"127.0.0.1:{port}/memlane" in said
    assert PASSWORD not in said


def test_a_refused_login_is_told_without_the_password(postgres_server: str) -> None:
    url = make_url(postgres_server).set(username="nobody", password=PASSWORD, database="postgres")

    said = unavailable(url.render_as_string(hide_password=False))

    assert "nobody" in said
    assert PASSWORD not in said


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://memlane:a@{PASSWORD}@127.0.0.1/memlane",
        f"postgresql://memlane:x@127.0.0.1:{PASSWORD}/memlane",
        f"mysql://memlane:{PASSWORD}@127.0.0.1/memlane",
        f"{PASSWORD}",
    ],
)
def test_an_address_that_is_none_keeps_its_password(url: str) -> None:
    said = unavailable(url)

    assert "sqlite:///path" in said
    assert PASSWORD not in said


def test_files_that_are_no_database(tmp_path: Path) -> None:
    """Given a path that can't be made, or a file that holds something else, I expect its path to be named."""
    (tmp_path / "file").write_text("not a database, but long enough to be taken for one" * 100)

    assert str(tmp_path / "file") in unavailable(f"sqlite:///{tmp_path}/file/ledger.sqlite3")
    assert str(tmp_path) in unavailable(f"sqlite:///{tmp_path}")


def test_a_locked_ledger_is_unavailable_and_then_is_not(tmp_path: Path, postgres_server: str) -> None:
    """Given a writer that stands still inside its transaction, I expect others to be told so after the time limit."""
    urls = f"sqlite:///{tmp_path / 'ledger.sqlite3'}", servers.new_database(postgres_server)
    with ThreadPoolExecutor() as both:
        assert list(both.map(_locked_then_free, urls)) == [2, 2]


def _locked_then_free(database_url: str) -> int:
    ledger = Ledger(database_url)
    migrate(ledger)
    token = cursors.take_token(ledger, "record", "shop")
    with ledger.write() as writer:
        cursors.claim(writer, "record", "shop", token)
        other = Ledger(database_url)
        with pytest.raises(LedgerUnavailable, match="lock"):
            cursors.take_token(other, "record", "shop")
    later = cursors.take_token(other, "record", "shop")
    other.close()
    ledger.close()
    return later


def test_a_connection_that_was_cut_is_replaced(postgres_server: str) -> None:
    """Given a database server that was restarted, I expect the transaction in it to fail as unavailable, the next
    not."""
    ledger = Ledger(servers.new_database(postgres_server))
    migrate(ledger)
    with pytest.raises(LedgerUnavailable), ledger.write() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        killer = Ledger(postgres_server)
        with killer.read() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        killer.close()
        connection.execute(text("SELECT 1"))

    assert cursors.take_token(ledger, "record", "shop") == 1
    ledger.close()


def test_the_books_of_an_unknown_group_are_empty(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert books.of_group(connection, "nobody") == books.GroupBooks({}, 0, 0, 0, 0, 0)
        assert books.groups(connection) == []
