"""A server that speaks OpenAI's embeddings over HTTP: its vectors have meaning, by a table of synonyms."""

from __future__ import annotations

import math
import random
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.scripted_model import served

#: Words that mean the same.
SYNONYMS = ({"basket", "cart"}, {"forgets", "loses"}, {"goods", "items"}, {"lunch", "noodles"}, {"vehicle", "car"})
_WORD = re.compile(r"[a-z]+")


def vector(text: str, dimensions: int, model: str = "scripted") -> list[float]:
    """The sum of a direction for each meaning that the text has; another model has other directions."""
    found = [0.0] * dimensions
    for word in _WORD.findall(text.lower()):
        meaning = next((min(same) for same in SYNONYMS if word in same), word)
        chance = random.Random(f"{model} {meaning}")
        found = [value + chance.gauss(0, 1) for value in found]
    return found


@dataclass
class ScriptedEmbedder:
    """What it was asked, and how it answers."""

    url: str = ""
    dimensions: int = 128
    #: Each request's texts, and the keys that came with them.
    asked: list[list[str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    #: How the next requests are dealt with, one each; then by `otherwise`.
    script: deque[str] = field(default_factory=deque)
    otherwise: str = "answer"
    #: Texts that it does not take.
    refuses: Callable[[str], bool] = lambda text: False
    #: Set when slow answers may come.
    hurry: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[str]:
        """All texts that it was asked for."""
        return [text for texts in self.asked for text in texts]

    def reply(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body."""
        texts: list[str] = body["input"]
        self.asked.append(texts)
        self.keys.add(key)
        self.bodies.append(body)
        if any(map(self.refuses, texts)):
            return 400, {}, {"error": {"message": f"refused: {texts}"}}
        dimensions = body.get("dimensions", self.dimensions)
        vectors = [vector(text, dimensions, body["model"]) for text in texts]
        what = self.script.popleft() if self.script else self.otherwise
        match what.split():
            case ["answer"]:
                return 200, {}, _answer(vectors)
            case ["slow"]:
                self.hurry.wait(30)
                return 200, {}, _answer(vectors)
            case ["html"]:
                return 200, {"Content-Type": "text/html"}, "<html>Welcome</html>"
            case ["empty"]:
                return 200, {}, {"object": "list", "data": [], "model": "scripted"}
            case ["nothing"]:
                return 200, {}, {}
            case ["short"]:
                return 200, {}, _answer([*vectors, vectors[0]])
            case ["nan"]:
                return 200, {}, _answer([[math.nan] * dimensions for _ in texts])
            case ["zeros"]:
                return 200, {}, _answer([[0.0] * dimensions for _ in texts])
            case ["other-dimensions"]:
                return 200, {}, _answer([vector(text, dimensions // 2) for text in texts])
            case [status, *after]:
                return int(status), ({"Retry-After": after[0]} if after else {}), {"error": {"message": str(texts)}}
        raise AssertionError(what)


@contextmanager
def scripted_embedder() -> Iterator[ScriptedEmbedder]:
    """Start it on a port of its own."""
    embedder = ScriptedEmbedder()
    with served("/v1/embeddings", embedder.reply) as embedder.url:
        try:
            yield embedder
        finally:
            embedder.hurry.set()


def _answer(vectors: list[list[float]]) -> dict[str, Any]:
    # Not in order, which the protocol allows.
    data = [{"object": "embedding", "index": n, "embedding": values} for n, values in enumerate(vectors)]
    usage = {"prompt_tokens": 10 * len(vectors), "total_tokens": 10 * len(vectors)}
    return {"object": "list", "data": data[::-1], "model": "scripted", "usage": usage}
