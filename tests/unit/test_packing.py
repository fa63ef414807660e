"""What becomes of ranked events in a context."""

from __future__ import annotations

from memory.injected import HEADING
from memory.ledger.search import Match
from memory.recall.packing import Fact, likeness, merged, newest_first, pack, word_sets
from memory.recall.rank import Ranked


def ranked(seq: int, text: str, time: int = 0, type: str = "chat.message", score: float = 1.0) -> Ranked:
    return Ranked(Match(seq, f"e{seq}", type, "s1", "build", None, time, text, score), {"words": score})


def test_what_is_said_twice_is_shown_once() -> None:
    """Given two texts that differ in punctuation only, and another one. I expect the newer of the two, at the place of
    the better one, with how often it was said."""
    items = merged(
        [
            ranked(1, "The limiter counts in UTC, never in local time."),
            ranked(2, "carts are priced by the server"),
            ranked(3, "the limiter counts in UTC; never in local time", 5),
        ]
    )
    assert [(item.match.id, item.times) for item in items] == [("e3", 2), ("e2", 1)]


def test_where_statements_differ_the_newest_comes_first() -> None:
    """Given an old and a new statement on the same matter, the old one matching better. I expect the new one first, and
    what lies between them where it was."""
    found = [
        ranked(1, "user: deploys go out on Tuesdays", 1),
        ranked(2, "user: the cart is cached", 2),
        ranked(3, "user: deploys go out on Thursdays", 3),
    ]
    assert [item.match.id for item in newest_first(merged(found))] == ["e3", "e2", "e1"]


def test_only_statements_are_put_in_order_of_time() -> None:
    """Given commits with like messages, I expect them by their score."""
    found = [ranked(n, f"net/cart: fix the {what}", n, "vcs.commit") for n, what in ((1, "price"), (2, "total"))]
    assert [item.match.id for item in newest_first(merged(found))] == ["e1", "e2"]


def test_likeness_is_the_share_of_common_words() -> None:
    cart, cake, other, nothing = word_sets(["apple bread cart date", "apple bread cart egg", "fig", ""])
    assert likeness(cart, cake) == 3 / 5
    assert likeness(cart, cart) == likeness(nothing, nothing) == 1
    assert likeness(cart, other) == likeness(cart, nothing) == 0


def test_the_budget_holds() -> None:
    """Given more than fits, I expect as much as fits, best first, a long text shortened, a shorter one after it where a
    longer one has no room; and never more than the budget."""
    long = "user: " + "a very long story " * 100
    found = [ranked(1, long), ranked(2, "user: " + "another tale " * 200), ranked(3, "user: the short end")]
    for tokens in (5, 20, 60, 180, 400, 1000):
        packed = pack(found, [], tokens)
        assert len(packed.context) <= tokens * 4
        assert packed.tokens <= tokens
    packed = pack(found, [], 185)
    assert [item.match.id for item in packed.items] == ["e1", "e3"]
    assert packed.context.startswith(HEADING + "\n- user: a very long story")
    assert "…" in packed.context.splitlines()[1]
    assert pack([], [], 100).context == pack(found, [], 1).context == ""


def test_facts_follow_with_their_times() -> None:
    """Given facts, I expect them behind the events, since when and until when they are true; not more of them than their
    share."""
    facts = [
        Fact("build modified src/cart.py", 1_700_000_000_000, None, "src/cart.py"),
        Fact("x" * 300, None, 1_700_000_000_000, "x"),
    ]
    packed = pack([ranked(1, "user: the cart is cached")], facts, 100)
    assert packed.context.splitlines()[2:] == ["- build modified src/cart.py (since 2023-11-14 22:13)"]
    assert packed.facts == facts[:1]


def test_what_was_injected_is_not_shown() -> None:
    packed = pack([ranked(1, f"user: see {HEADING}\n- old news (s1)\n\nand this")], [], 100)
    assert packed.context.count(HEADING) == 1
    assert "old news" not in packed.context
