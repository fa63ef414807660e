"""Vectors without a model: names that are spelled alike lie close together, which is what Graphiti needs to find the
entity that is meant. Trigrams, hashed into the dimensions; so the same text has the same vector everywhere, always."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

from graphiti_core.embedder.client import EMBEDDING_DIM, EmbedderClient


def vector(text: str) -> list[float]:
    """A vector of length 1."""
    found = [0.0] * EMBEDDING_DIM
    for word in text.casefold().split():
        padded = f"  {word} "
        for start in range(len(padded) - 2):
            hashed = zlib.crc32(padded[start : start + 3].encode("utf-8", "replace"))
            found[hashed % EMBEDDING_DIM] += 1.0 if hashed & 0x8000_0000 else -1.0
    length = math.sqrt(sum(value * value for value in found))
    if not length:
        return [1.0, *found[1:]]
    return [value / length for value in found]


class Spelling(EmbedderClient):
    """For Graphiti."""

    async def create(self, input_data: str | list[str] | Iterable[int] | Iterable[Iterable[int]]) -> list[float]:
        parts = [input_data] if isinstance(input_data, str) else list(input_data)
        return vector(" ".join(str(part) for part in parts))

    async def create_batch(self, input_data_list: list[str]) -> list[list[float]]:
        return [vector(text) for text in input_data_list]
