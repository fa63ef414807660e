"""Full text, the same on both databases: what is found, in which order, and what is not any more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from memory.ledger import Ledger, migrate
from memory.ledger.postings import BLOCK
from memory.ledger.schema import search_blocks, search_postings
from memory.ledger.search import clear, forget, search
from tests import servers
from tests.remembered import GROUP, committed, remember, said, wrote


def ids(ledger: Ledger, question: str, limit: int = 10, group: str = GROUP, **only: object) -> list[str]:
    with ledger.read() as connection:
        matches = search(ledger, connection, group, question, limit, **only)  # type: ignore[arg-type]
    return [match.id.removeprefix(f"{group}-") for match in matches]


def postings(ledger: Ledger, group: str = GROUP) -> dict[tuple[int, str], bytes]:
    """All postings of a group, as they are stored."""
    with ledger.read() as connection:
        rows = connection.execute(select(search_postings).where(search_postings.c.group_id == group))
        return {(row.block, row.term): row.data for row in rows}


def test_found_by_words_in_any_form(ledger: Ledger) -> None:
    remember(ledger, [said("the limiters were failing"), said("carts are priced"), wrote("src/rateLimiter.py")])
    assert ids(ledger, "limiter fails") == ["e1", "e3"]
    assert ids(ledger, "rate limiter") == ["e3", "e1"]
    assert ids(ledger, "pricing") == ["e2"]
    assert ids(ledger, "zanzibar") == ids(ledger, "the of") == ids(ledger, "") == []


def test_rare_words_tell_more_and_long_texts_less(ledger: Ledger) -> None:
    remember(
        ledger,
        [
            said("the cart"),
            said("the cart of the limiter"),
            *[said(f"cart number {n}") for n in range(20)],
            said("limiter " + "and many other things besides it " * 20),
        ],
    )
    assert ids(ledger, "cart limiter", 3)[:2] == ["e2", "e23"]
    assert ids(ledger, "limiter") == ["e2", "e23"]


def test_among_equals_the_newest(ledger: Ledger) -> None:
    remember(ledger, [said("the cart"), said("the cart"), said("the cart")])
    assert ids(ledger, "cart", 2) == ["e3", "e2"]


def test_only_of_types_and_sessions(ledger: Ledger) -> None:
    remember(ledger, [said("cart", "s1"), said("cart", "s2"), wrote("cart", session="s2"), wrote("x", session="s2")])
    assert ids(ledger, "cart", types={"file.write"}) == ["e3"]
    assert ids(ledger, "cart", session="s2") == ["e3", "e2"]
    assert ids(ledger, "cart", session="s2", types={"chat.message"}) == ["e2"]
    assert ids(ledger, "cart", session="s3") == ids(ledger, "cart", types=set()) == []


def test_groups_do_not_influence_one_another(ledger: Ledger) -> None:
    """Given a group, and another with the same words a hundred times. I expect the first one's scores as they were."""
    remember(ledger, [said("cart"), said("limiter and cart")])

    def scores() -> list[float]:
        with ledger.read() as connection:
            return [match.score for match in search(ledger, connection, GROUP, "limiter cart", 5)]

    before = scores()
    remember(ledger, [said("limiter limiter")] * 100, "shop_2")
    assert scores() == before
    assert ids(ledger, "limiter", 200, "shop_2") != []
    assert ids(ledger, "limiter") == ["e2"]


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_however_it_is_cut_into_batches(ledger: Ledger, batch: int) -> None:
    """Given the same events in batches of other sizes, I expect the very same postings."""
    drafts = [said(f"word{n % 3} of {n}", f"s{n % 2}") for n in range(40)]
    remember(ledger, drafts, "shop-1", 13)
    remember(ledger, drafts, "shop-2", batch)
    assert postings(ledger, "shop-1") == postings(ledger, "shop-2")
    with ledger.read() as connection:
        rows = connection.execute(select(search_blocks).order_by(search_blocks.c.group_id)).all()
    assert rows[0][1:] == rows[1][1:]


def test_across_blocks(ledger: Ledger) -> None:
    """Given more events than a block holds, I expect those of all blocks."""
    remember(
        ledger, [said("limiter" if n in (0, BLOCK - 2, BLOCK - 1, BLOCK + 5) else "cart") for n in range(BLOCK + 9)]
    )
    assert ids(ledger, "limiter") == [f"e{n + 1}" for n in (BLOCK + 5, BLOCK - 1, BLOCK - 2, 0)]


def test_what_is_forgotten_leaves_no_word(ledger: Ledger) -> None:
    """Given events of which some are forgotten. I expect the postings as if they had never been said."""
    drafts = [
        said("the quick cart"),
        said("a secret limiter", agent="caroline"),
        committed("hush", ["src/secret.py", "x"]),
        said("cart"),
    ]
    remember(ledger, drafts)
    remember(
        ledger, [drafts[0], {"type": "unknown.type", "data": {}}, {"type": "unknown.type", "data": {}}, drafts[3]], "b"
    )
    with ledger.write() as connection:
        forget(connection, GROUP, [2, 3])
        forget(connection, GROUP, [2, 3])
    assert ids(ledger, "secret limiter hush") == []
    assert ids(ledger, "cart") == ["e4", "e1"]
    expected = {key: data for key, data in postings(ledger, "b").items() if key[1] != "#unknown.type"}
    assert postings(ledger) == expected
    with ledger.read() as connection:
        totals = select(search_blocks.c.events, search_blocks.c.words, search_blocks.c.path_words)
        assert len(set(connection.execute(totals))) == 1


def test_a_group_is_cleared(ledger: Ledger) -> None:
    remember(ledger, [said("cart")])
    remember(ledger, [said("cart")], "other")
    with ledger.write() as connection:
        clear(connection, GROUP)
    assert ids(ledger, "cart") == []
    assert ids(ledger, "cart", group="other") == ["e1"]


def test_a_tombstone_is_not_found(ledger: Ledger) -> None:
    """Given an event that was emptied though the index still knows it, I expect it not to be found."""
    remember(ledger, [said("the cart"), said("a cart")])
    with ledger.write() as connection:
        connection.execute(text("UPDATE events SET text = '', data = '{}' WHERE seq = 1"))
    assert ids(ledger, "cart") == ["e2"]


def test_endless_paths_and_names_can_be_kept(ledger: Ledger) -> None:
    """Given a path longer than a key may be, I expect it to be indexed, and found by its words."""
    remember(ledger, [wrote("src/" + "deep/" * 800 + "cart.py", agent="a" * 256)])
    assert ids(ledger, "cart") == ["e1"]


def test_both_databases_keep_and_rank_the_same(tmp_path: Path, postgres_server: str) -> None:
    """Given the same events, I expect the same postings, byte by byte, and the same order and scores."""
    words = [f"word{n}" for n in range(60)]
    chance = random.Random(6)
    drafts = [said(" ".join(chance.choices(words, k=chance.randint(1, 30))), f"s{n % 7}") for n in range(300)]
    drafts += [committed(f"fix {word}", [f"src/{word}.py", "README"]) for word in words]
    kept, ranked = [], []
    for url in (f"sqlite:///{tmp_path / 'ledger'}", servers.new_database(postgres_server)):
        ledger = Ledger(url)
        migrate(ledger)
        remember(ledger, drafts)
        kept.append(postings(ledger))
        with ledger.read() as connection:
            ranked.append(search(ledger, connection, GROUP, "word1 word2 word3 fix", 50))
        ledger.close()
    assert kept[0] == kept[1]
    assert ranked[0] == ranked[1]
    assert len(ranked[0]) == 50


def test_events_of_unknown_types_are_counted_not_found(ledger: Ledger) -> None:
    remember(ledger, [{"type": "some.thing", "data": {"text": "cart"}}, said("cart")])
    with ledger.read() as connection:
        assert connection.execute(select(func.sum(search_blocks.c.events))).scalar() == 1
    assert ids(ledger, "cart") == ["e2"]
