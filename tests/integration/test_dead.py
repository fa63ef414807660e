"""Dead letters: which a selection means, and that dropping them leaves the books even."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import insert, select

from memory.ledger import Ledger, books, dead
from memory.ledger.dead import NoSuchLetter, Selected, Selection
from memory.ledger.schema import dead_letters, stage_cursors
from ops.retry import RetryFailed, retry
from workers.index import Index
from workers.stages import STAGES


def given(ledger: Ledger, *letters: dict[str, Any]) -> None:
    """Letters as they would be buried, numbered from 1."""
    usual = {
        "group_id": "shop",
        "stage": "index",
        "event_id": None,
        "error": "?",
        "attempts": 3,
        "event": "",
        "time": 0,
    }
    with ledger.write() as connection:
        connection.execute(insert(dead_letters), [{**usual, **letter} for letter in letters])


def meant(ledger: Ledger, **selection: Any) -> list[int]:
    """Numbers of the letters that a selection means, newest first."""
    with ledger.read() as connection:
        selected = Selected(connection, Selection(**selection))
        found = [letter.n for letter in selected.newest(connection, 1_000)]
        assert selected.total == len(found)
        assert selected.numbers(connection, 0, 1_000) == found[::-1]
        assert [letter.n for letter in selected.following(connection, 0, 1_000)] == found[::-1]
    return found


def dropped(ledger: Ledger) -> dict[tuple[str, str], int]:
    """How many were dropped, by group and stage."""
    with ledger.read() as connection:
        query = select(stage_cursors.c.group_id, stage_cursors.c.stage, stage_cursors.c.dropped)
        return {(group, stage): count for group, stage, count in connection.execute(query)}


def drop(ledger: Ledger, *numbers: int) -> list[int]:
    with ledger.write() as connection:
        return dead.drop(ledger, connection, numbers)


def test_letters_are_selected_by_all_that_is_given(ledger: Ledger) -> None:
    """Given letters that differ in each respect, I expect a selection to mean those for which all of it holds."""
    given(
        ledger,
        {"stage": "record", "event": '{"id": "A1", "type": 7}', "error": "type: not a string", "time": 1_000},
        {"event_id": "A1", "error": "ValueError: 100% of B_1", "time": 2_000},
        {"event_id": "B2", "group_id": "bakery", "error": "TimeoutError: too late", "time": 3_000},
        {"stage": "episodes", "event_id": "B2", "error": "timeouterror", "time": 4_000},
        {"stage": "record", "event": '{"id": "other", "about": "A1"}', "time": 5_000},
        {"stage": "record", "event": '{"id": "A1", torn', "time": 6_000},
    )

    assert meant(ledger) == [6, 5, 4, 3, 2, 1]
    assert meant(ledger, numbers=[3, 1]) == [3, 1]
    assert meant(ledger, ids=["A1"]) == [2, 1], "one that was no event, and yet JSON with this id, too"
    assert meant(ledger, ids=["A1", "B2"]) == [4, 3, 2, 1]
    assert meant(ledger, ids=["a_", "%"]) == []
    assert meant(ledger, stage="record") == [6, 5, 1]
    assert meant(ledger, group="bakery") == [3]
    assert meant(ledger, error="TIMEOUT") == [4, 3]
    assert meant(ledger, error="100% of b_") == [2]
    assert meant(ledger, error="1%B") == []
    assert meant(ledger, before=3_000) == [2, 1]
    assert meant(ledger, numbers=[1, 2, 4], ids=["A1", "B2"], stage="index", error="error", before=9_000) == [2]
    with pytest.raises(NoSuchLetter, match="no dead letter 7"):
        meant(ledger, numbers=[1, 7])


def test_a_selection_means_none_that_is_buried_later(ledger: Ledger) -> None:
    given(ledger, {}, {})
    with ledger.read() as connection:
        selected = Selected(connection, Selection())
    given(ledger, {})

    with ledger.read() as connection:
        assert selected.numbers(connection, 1, 10) == [2]


def test_dropped_letters_stay_in_the_books(ledger: Ledger) -> None:
    """Given letters of several stages and groups, one of which has dropped some before, If they are dropped, I expect
    them gone for good, and the books to count them as before."""
    given(ledger, *({"stage": "record"} for _ in range(3)), {"group_id": "bakery", "stage": "record"}, {}, {})
    with ledger.write() as connection:
        connection.execute(insert(stage_cursors).values(group_id="shop", stage="record", seq=9, done=9, dropped=4))
        before = [books.of_group(connection, group).dead for group in ("shop", "bakery")]
        index = books.of_stage(connection, "index", "shop", None).dead

    assert drop(ledger, 1, 2, 4, 5, 4711) == [1, 2, 4, 5]
    assert drop(ledger, 1, 2) == []

    assert dropped(ledger) == {("shop", "record"): 6, ("bakery", "record"): 1, ("shop", "index"): 1}
    assert meant(ledger) == [6, 3]
    with ledger.read() as connection:
        assert [books.of_group(connection, group).dead for group in ("shop", "bakery")] == before == [7, 1]
        assert books.of_stage(connection, "index", "shop", None).dead == index == 2


def test_a_drop_that_is_undone_drops_nothing(ledger: Ledger) -> None:
    given(ledger, {}, {})
    with pytest.raises(KeyError), ledger.write() as connection:
        dead.drop(ledger, connection, [1, 2])
        raise KeyError

    assert meant(ledger) == [2, 1]
    assert dropped(ledger) == {}


def test_two_who_drop_the_same_drop_each_letter_once(ledger: Ledger) -> None:
    given(ledger, *({"group_id": f"g{n % 3}"} for n in range(300)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: drop(ledger, *range(1, 301)), range(4)))

    assert sorted(n for numbers in found for n in numbers) == list(range(1, 301))
    assert dropped(ledger) == {(f"g{n}", "index"): 100 for n in range(3)}


def test_a_retry_that_fails_tells_no_secret(ledger: Ledger, worker: None) -> None:
    """Given a letter whose event makes its stage quote it, I expect the quoted token in no message."""
    token = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    event = {"id": "1", "source": "t", "type": "note", "time": "2026-11-21T10:00:00Z", "group": "shop", "data": {}}
    given(ledger, {"event": json.dumps(event), "seq": 1})
    with ledger.read() as connection:
        letter = dead.letter(connection, 1)

    class Quoting(Index):
        def within(self, *_: object) -> None:
            raise ValueError(f"can't stand {token}")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RetryFailed) as failed:
        patch.setitem(STAGES, "index", Quoting())
        retry(letter)
    assert "can't stand [redacted:github-token]" in str(failed.value)
    assert token not in str(failed.value)
