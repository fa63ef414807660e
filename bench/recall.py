"""What an agent waits for when the answer is cached, by how many paths the answer depends on; beside a bare GET.

python -m bench.recall
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from bench.publish import measure, percentiles
from memory.cache import Cache
from producers.recall import Recall, encode
from tests import servers

CALLS = 3_000
PATHS = (1, 20, 200)
#: A context of the default budget of 1,500 tokens, bytes.
ANSWER_BYTES = 6_000


def run() -> dict[str, Any]:
    """Latencies in microseconds of `Recall.ask` on a hit."""
    with TemporaryDirectory(prefix="bench-") as folder, servers.queue_server(Path(folder)) as url:
        with Recall(url, group="bench") as memory, redis.Redis.from_url(url) as client:
            cache = Cache(client, "bench")
            answer = json.dumps({"context": "x" * ANSWER_BYTES, "tokens": 1500, "items": [], "started": cache.now()})
            client.set("bare", answer)
            ways: dict[str, Callable[[int], object]] = {"get": lambda _: client.get("bare")}
            for count in PATHS:
                question = f"what is known of {count} files"
                digest = hashlib.sha256(encode("bench", question)).hexdigest()
                paths = [f"src/of{count}/module{number}.py" for number in range(count)]
                cache.fill(f"id-{count}", digest, answer, paths, cache.now(), 300)
                # Half of the paths were dropped before the answer was made, as in a project that is worked on.
                cache.drop(paths[::2])
                cache.fill(f"id-{count}", digest, answer, paths, cache.now(), 300)
                ways[f"paths_{count}"] = lambda _, question=question: _hit(memory, question)  # type: ignore[misc]
            found = measure(ways, CALLS)
    return {way: percentiles(times) for way, times in found.items()}


def _hit(memory: Recall, question: str) -> None:
    assert memory.ask(question)["cache"] == "hit"


if __name__ == "__main__":
    print(json.dumps(run()))
