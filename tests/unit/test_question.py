"""Questions as they are put to the workers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from memory.recall import Question, QuestionInvalid, read
from producers.recall import encode


def test_what_is_not_asked_for_leaves_no_trace() -> None:
    """Given a question without limits, I expect the bytes that other languages make of it; with them, other bytes."""
    plain = encode("shop", "why?  now", ["b", "a", "a"])
    assert json.loads(plain) == {"group": "shop", "paths": ["a", "b"], "text": "why? now", "tokens": None}
    limited = [
        encode("shop", "why? now", ["a", "b"], **limits)
        for limits in ({"agent": "build"}, {"since": 5}, {"until": 5}, {"as_of": 5}, {"session": "s1"})
    ]
    limited += [encode("shop", "why? now", ["a", "b"], kinds=["error"]), encode("shop", "why? now", explain=True)]
    digests = {hashlib.sha256(question).hexdigest() for question in [plain, *limited]}
    assert len(digests) == 8


def test_a_question_comes_out_as_it_went_in() -> None:
    raw = encode("shop", "why?", ["./src/../src/cart.py"], 300, agent="build", kinds=["error"], as_of=7, until=9)
    question = read(json.loads(raw), 1500)
    assert question == Question("why?", 300, ("src/cart.py",), agent="build", kinds=("error",), as_of=7, until=9)
    assert question.end == 7
    assert read({"text": "x"}, 1500) == Question("x", 1500)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "text"),
        ({"text": "x", "tokens": -1}, "tokens"),
        ({"text": "x", "tokens": "many"}, "tokens"),
        ({"text": "x", "paths": [5]}, "paths"),
        ({"text": "x", "kinds": "error"}, "kinds"),
        ({"text": "x", "agent": 5}, "agent"),
        ({"text": "x", "since": 1.5}, "since"),
        ({"text": "x", "as_of": True}, "as_of"),
    ],
)
def test_what_is_wrong_is_named(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(QuestionInvalid, match=f"^{field}: "):
        read(asked, 1500)
