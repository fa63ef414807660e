"""How texts, identifiers, paths and names become words."""

from __future__ import annotations

import pytest

from memory.ledger.words import MAX_WORD, named_in, question_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The limiters were failing", ["limit", "fail"]),
        ("rate_limiter", ["rate", "limit"]),
        ("parseHTTPDate", ["parsehttpd", "pars", "http", "date"]),
        ("src/cart.py", ["src", "cart", "py"]),
        ("ixgbe x550 v2", ["ixgb", "x550", "550", "v2"]),
        ("ÜBER café", ["uber", "cafe"]),
        ("東京都に行く", ["東京", "京都", "都に", "に行", "行く"]),
        ("", []),
        ("the of and", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_word_is_found_in_every_form_and_spelling() -> None:
    """Given identifiers of several spellings, I expect them to have words in common."""
    spelled = ["rateLimiter", "rate_limiter", "rate-limiter", "RateLimiter", "rate limiters"]
    assert set.intersection(*(set(words_of(text)) for text in spelled)) == {"rate", "limit"}


def test_endless_words_are_cut() -> None:
    assert [len(word) for word in words_of("x" * 10_000)] == [MAX_WORD]


def test_a_question_of_stop_words_has_words() -> None:
    assert question_words("the the who") == ["the", "who"]
    assert question_words("who is the limiter") == ["limit"]


def test_names_have_a_capital_or_are_compounds() -> None:
    """Given questions, I expect those words that may name somebody: `build` in "the build failed" does not."""
    assert named_in("why did the build fail?") == set()
    assert named_in("What did Caroline say to agent-7?") == {"caroline", "agent", "7"}
