"""What becomes of ranked events in a context."""

from __future__ import annotations

from memory.injected import HEADING
from memory.ledger.search import Match
from memory.recall.packing import Fact, merged, newest_first, pack
from memory.recall.question import Question
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
    assert [item.match.id for item in newest_first(merged(found), "deploys")] == ["e3", "e2", "e1"]


def test_only_statements_are_put_in_order_of_time() -> None:
    """Given commits with like messages, I expect them by their score."""
    found = [ranked(n, f"net/cart: fix the {what}", n, "vcs.commit") for n, what in ((1, "price"), (2, "total"))]
    assert [item.match.id for item in newest_first(merged(found), "cart")] == ["e1", "e2"]


def test_a_number_that_is_asked_for_is_not_put_behind_newer_ones() -> None:
    """Given three statements that differ in a number, asked for the oldest. I expect it first, though the others are
    newer, and only it where there is room for one; asked for none of them, the newest first."""
    found = [ranked(n, f"user: incident {2040 + n}: the payment service was restarted", n) for n in (1, 3, 2)]
    assert [item.match.id for item in merged(found)] == ["e1", "e3", "e2"]
    packed = pack(found, [], Question("what happened in incident 2041?", 40))
    assert [item.match.id for item in packed.items] == ["e1"]
    assert [item.match.id for item in newest_first(merged(found), "incidents")] == ["e3", "e2", "e1"]


def test_a_merged_event_has_the_score_that_its_place_comes_from() -> None:
    """Given the same text twice, the newer one matching less well. I expect the newer one with the score and the
    features of the better one, so that scores fall from line to line."""
    first, second, other = ranked(1, "so it is", 1, score=9), ranked(2, "so it is", 2, score=3), ranked(3, "x", score=5)
    items = merged([first, other, second])
    assert [(item.match.id, item.match.score, item.features, item.times) for item in items] == [
        ("e2", 9, {"words": 9}, 2),
        ("e3", 5, {"words": 5}, 1),
    ]


def test_the_budget_holds() -> None:
    """Given more than fits, I expect as much as fits, best first, a long text shortened, a shorter one after it where a
    longer one has no room; and never more than the budget."""
    long = "user: " + "a very long story " * 100
    found = [ranked(1, long), ranked(2, "user: " + "another tale " * 200), ranked(3, "user: the short end")]
    for tokens in (5, 20, 60, 180, 400, 1000):
        packed = pack(found, [], Question("", tokens))
        assert len(packed.context) <= tokens * 4
        assert packed.tokens <= tokens
    packed = pack(found, [], Question("", 185))
    assert [item.match.id for item in packed.items] == ["e1", "e3"]
    assert packed.context.startswith(HEADING + "\n- user: a very long story")
    assert "…" in packed.context.splitlines()[1]
    assert pack([], [], Question("", 100)).context == pack(found, [], Question("", 1)).context == ""


def test_facts_follow_with_their_times() -> None:
    """Given facts, I expect them behind the events, since when and until when they are true; not more of them than their
    share."""
    facts = [
        Fact("build modified src/cart.py", 1_700_000_000_000, None, "src/cart.py"),
        Fact("x" * 300, None, 1_700_000_000_000, "x"),
    ]
    packed = pack([ranked(1, "user: the cart is cached")], facts, Question("", 100))
    assert packed.context.splitlines()[2:] == ["- build modified src/cart.py (since 2023-11-14 22:13)"]
    assert packed.facts == facts[:1]


def test_what_was_injected_is_not_shown() -> None:
    packed = pack([ranked(1, f"user: see {HEADING}\n- old news (s1)\n\nand this")], [], Question("", 100))
    assert packed.context.count(HEADING) == 1
    assert "old news" not in packed.context
