"""What a question that is not cached costs, by how many events the group has; beside an OR over SQLite's FTS5.

    python -m bench.recall_size [--most 1000000] [--dimensions 1024]

Events are made up: words drawn by the law of Zipf from a vocabulary of 50,000, as those of a language are, in sessions
of 200. Questions of 12 and of 40 words are drawn the same way, without the fifty commonest, which stand for stop words.
With `--dimensions` events and questions have vectors of so many, by chance; what a model takes to make them is not
measured. FTS5 is asked as one would ask it for recall: all words joined by OR, ranked by its own bm25(), the best 60
rows.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from memory.ledger import Ledger, embeddings, migrate
from memory.ledger.schema import events
from memory.ledger.search import index
from memory.recall import Question, answer

SIZES = (1_000, 10_000, 100_000)
LENGTHS = (12, 40)
QUESTIONS = 60
VOCABULARY, STOP = 50_000, 50
GROUP, MODEL = "bench", "by chance"
_BATCH = 1_000


def run(most: int = SIZES[-1], dimensions: int = 0) -> dict[str, Any]:
    """Latencies in ms, p50 and p95, by length of question and size; `growth` is the exponent from the smallest size to
    the largest, `times_fts5` FTS5's p95 in ours at the largest, for as long as FTS5 is measured."""
    sizes = [size for size in (*SIZES, 1_000_000) if size <= most]
    found: dict[str, Any] = {str(length): {} for length in LENGTHS}
    with TemporaryDirectory(prefix="bench-") as name:
        ledger = Ledger(f"sqlite:///{Path(name) / 'ledger.sqlite3'}")
        migrate(ledger)
        fts = sqlite3.connect(Path(name) / "fts.sqlite3")
        fts.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='porter unicode61')")
        chance = np.random.default_rng(6)
        grown = 0
        for size in sizes:
            _grow(ledger, fts, chance, grown, size)
            _embed(ledger, chance, grown, size, dimensions)
            grown = size
            for length in LENGTHS:
                asked = [_words(chance, length, STOP) for _ in range(QUESTIONS)]
                found[str(length)][str(size)] = {
                    "memlane": _measured(asked, lambda words: answer(ledger, GROUP, Question(words, 1_500))),
                    **_with_vectors(ledger, chance, asked, dimensions),
                    "fts5": _measured(asked, lambda words: _ask_fts(fts, words)),
                }
        ledger.close()
        fts.close()
    for length in LENGTHS:
        of_length = found[str(length)]
        first, last = of_length[str(sizes[0])]["memlane"]["p50"], of_length[str(sizes[-1])]["memlane"]["p50"]
        of_length["growth"] = round(math.log(last / first) / math.log(sizes[-1] / sizes[0]), 2)
        largest = of_length[str(sizes[-1])]
        of_length["times_fts5"] = round(largest["fts5"]["p95"] / largest["memlane"]["p95"], 1)
    return found


def _words(chance: np.random.Generator, count: int, skipped: int = 0) -> str:
    """Words by Zipf's law; `skipped` of the commonest left out."""
    drawn = np.exp(chance.uniform(math.log(skipped + 1), math.log(VOCABULARY), count)).astype(int)
    return " ".join(_spelled(int(number)) for number in drawn)


def _spelled(number: int) -> str:
    """A number as a word of consonants, which no stemming changes."""
    letters = ""
    while number:
        number, letter = divmod(number, 15)
        letters += "bcdfghjkmnpqrtv"[letter]
    return f"z{letters}z"


def _grow(ledger: Ledger, fts: sqlite3.Connection, chance: np.random.Generator, grown: int, size: int) -> None:
    for start in range(grown, size, _BATCH):
        texts = [_words(chance, random.Random(n).randint(5, 30)) for n in range(start, min(start + _BATCH, size))]
        rows = [
            {
                "id": f"e{seq}",
                "group_id": GROUP,
                "seq": seq,
                "stream_id": f"{seq}-0",
                "type": "chat.message",
                "source": "bench",
                "session": f"s{seq // 200}",
                "agent": f"agent-{seq % 20}",
                "time": 1_700_000_000_000 + seq,
                "recorded": 0,
                "text": said,
                "data": "{}",
            }
            for seq, said in enumerate(texts, start=start + 1)
        ]
        with ledger.write() as connection:
            connection.execute(events.insert(), rows)
            index(ledger, connection, GROUP, [int(str(row["seq"])) for row in rows])
        fts.executemany("INSERT INTO texts (text) VALUES (?)", [(said,) for said in texts])
    fts.commit()


def _embed(ledger: Ledger, chance: np.random.Generator, grown: int, size: int, dimensions: int) -> None:
    for start in range(grown, size if dimensions else grown, _BATCH):
        seqs = range(start + 1, min(start + _BATCH, size) + 1)
        with ledger.write() as connection:
            vectors = {seq: _vector(chance, dimensions) for seq in seqs}
            embeddings.store(ledger, connection, GROUP, MODEL, vectors)


def _with_vectors(
    ledger: Ledger, chance: np.random.Generator, asked: list[str], dimensions: int
) -> dict[str, dict[str, float]]:
    if not dimensions:
        return {}
    vector = embeddings.Vector(MODEL, _vector(chance, dimensions))
    ask = lambda words: answer(ledger, GROUP, Question(words, 1_500), vector=lambda: vector)  # noqa: E731
    return {"with_vectors": _measured(asked, ask)}


def _vector(chance: np.random.Generator, dimensions: int) -> embeddings.Values:
    values = chance.normal(size=dimensions).astype(np.float32)
    return values / np.linalg.norm(values)


def _ask_fts(fts: sqlite3.Connection, words: str) -> object:
    query = " OR ".join(words.split())
    return fts.execute(
        "SELECT rowid, text FROM texts WHERE texts MATCH ? ORDER BY bm25(texts) LIMIT 60", (query,)
    ).fetchall()


def _measured(asked: list[str], ask: Callable[[str], object]) -> dict[str, float]:
    ask(asked[0])
    times = []
    for words in asked:
        began = time.perf_counter()
        ask(words)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return {"p50": round(times[len(times) // 2], 1), "p95": round(times[int(len(times) * 0.95)], 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.recall_size")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="events of the largest group")
    parser.add_argument("--dimensions", type=int, default=0, help="of vectors; without, there are none")
    given = parser.parse_args()
    print(json.dumps(run(given.most, given.dimensions)))
