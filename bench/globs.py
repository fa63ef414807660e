"""A glob that matches 100 cached paths, among 1,000 and among 1,000,000 of them: the time must not grow.

python -m bench.globs
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from bench.publish import measure, percentiles
from memory import lua
from memory.cache import Cache, Glob
from tests import servers

CALLS = 200
SIZES = (1_000, 1_000_000)


def run() -> dict[str, Any]:
    """Latencies in microseconds of `Cache.invalidate`; `ratio` is of the medians, large to small."""
    with TemporaryDirectory(prefix="bench-") as folder, servers.queue_server(Path(folder)) as url:
        with redis.Redis.from_url(url) as client:
            for size in SIZES:
                for start in range(0, size, 10_000):
                    paths = {f"src/part{n // 100}/file{n % 100}.py": 0 for n in range(start, min(size, start + 10_000))}
                    client.zadd(lua.paths(f"bench-{size}"), paths)
            glob = Glob("src/part7/*.py")
            for size in SIZES:
                assert Cache(client, f"bench-{size}").invalidate(glob) == 100
            ways = {
                f"of_{size}": (lambda _, cache=Cache(client, f"bench-{size}"): cache.invalidate(glob)) for size in SIZES
            }
            found = measure(ways, CALLS)  # type: ignore[arg-type]
    figures: dict[str, Any] = {way: percentiles(times) for way, times in found.items()}
    small, large = (figures[f"of_{size}"]["p50"] for size in SIZES)
    return {**figures, "ratio": round(large / small, 2)}


if __name__ == "__main__":
    import json

    print(json.dumps(run()))
