"""Which texts say the same."""

from __future__ import annotations

import pytest

from memory.recall.likeness import common_words, numbers, said, says_the_same

LONG = "the release was built from main, signed with the release key, uploaded to the registry and announced by the bot"


@pytest.mark.parametrize(
    ("some", "others"),
    [
        ("The limiter counts in UTC, never in local time.", "the limiter counts in UTC; never in local time"),
        (LONG, f"{LONG} in the channel"),
        ("Café", "cafe"),
        ("2026-11-22 is a holiday", "2026-11-22 is a holiday!"),
        ("", "…"),
    ],
)
def test_what_says_the_same(some: str, others: str) -> None:
    assert says_the_same(said(some), said(others))
    assert says_the_same(said(others), said(some))


@pytest.mark.parametrize(
    ("some", "others"),
    [
        ("alice may deploy to production", "alice may not deploy to production"),
        ("retries are enabled for the payment client", "retries aren't enabled for the payment client"),
        ("migrations run before the deploy", "migrations run after the deploy"),
        ("the flag for checkout is on", "the flag for checkout is off"),
        (LONG, f"{LONG} once"),
        (LONG, f"{LONG} 2"),
        (LONG, LONG.replace("main", "a branch")),
        (LONG, LONG.replace("signed", "not signed")),
        (LONG, LONG.replace("signed", "encrypted")),
        (LONG, f"{LONG} and sent to all customers by post"),
        ("build reviews plan", "plan reviews build"),
        ("release 1.2.3", "release 1.2.4"),
        ("if a == b", "if a != b"),
        ("if a < b", "if a > b"),
        ("it is 5 degrees", "it is -5 degrees"),
        ("", "x"),
    ],
)
def test_what_does_not(some: str, others: str) -> None:
    """Given texts that differ in a word, a number, a comparison, their order, or a word that turns their sense."""
    assert not says_the_same(said(some), said(others))
    assert not says_the_same(said(others), said(some))


def test_numbers_are_words_with_a_digit() -> None:
    assert numbers("release v2 of 1.2.3, on Tuesday") == {"v2", "1", "2", "3"}


def test_common_words_are_counted_once() -> None:
    texts = [["apple", "bread", "bread", "date"], ["apple", "bread", "egg", "fig"], ["fig"], []]
    assert common_words(texts).tolist() == [[3, 2, 0, 0], [2, 4, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert common_words([]).shape == (0, 0)
