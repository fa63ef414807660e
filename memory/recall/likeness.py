"""Which texts say the same, and which may say different things of the same matter."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from memory.ledger.words import folded

#: Of two texts that say the same, the longer one has at most this share of words that the other has not.
ADDED = 0.15
#: Words that turn what a text says, beside numbers: no text has one of them more than another one that says the same.
TURNS = frozenset(
    """
    after already but before cannot down either else ever except false few first if last least less many may might more
    most must neither never no nobody none nor not nothing off on once only or other out over rarely should still than
    true under unless until up when while without yet t
    """.split()  # noqa: SIM905 - a list would be fifty lines
)
#: Words, numbers, and what stands for a comparison or a sign.
_SAID = re.compile(r"[^\W_]+|[<>=+]|!(?==)|-(?=\d)")


def said(text: str) -> list[str]:
    """All words of a text in its order, as they are but for case and accents; with comparisons and signs."""
    return _SAID.findall(folded(text))


def says_the_same(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two texts, given by `said`, differ in nothing but a few words that one of them has more: a text that has
    another word or another number in one's place may say the opposite."""
    shorter, longer = sorted((some, others), key=len)
    most = int(ADDED * len(longer))
    if len(longer) - len(shorter) > most:
        return False
    place = added = 0
    for word in longer:
        if place < len(shorter) and shorter[place] == word:
            place += 1
            continue
        added += 1
        if added > most or not word.isalpha() or word in TURNS:
            return False
    return place == len(shorter)


def numbers(text: str) -> set[str]:
    """Words of a text that have a digit: what tells an incident, a release or a day from all others."""
    return {word for word in said(text) if any(character.isdigit() for character in word)}


def common_words(texts: Sequence[Collection[str]]) -> NDArray[np.int64]:
    """How many different words each two texts have in common, n x n; on the diagonal, how many each has."""
    columns: dict[str, int] = {}
    rows = [[columns.setdefault(word, len(columns)) for word in text] for text in texts]
    has = np.zeros((len(texts), -(-len(columns) // 64) * 64), bool)
    for row, words in enumerate(rows):
        has[row, words] = True
    # As bits: a product of matrices would wake the threads of numpy's library, which a busy machine waits for.
    bits = np.packbits(has, axis=1).view(np.uint64)
    return np.bitwise_count(bits[:, None] & bits[None, :]).sum(axis=2, dtype=np.int64)
