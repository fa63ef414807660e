"""Redaction: microseconds for each KB of four kinds of text, beside the same rules without a prefilter, and in
TypeScript; and how long the largest event takes that holds nothing but secrets.

python -m bench.privacy
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from memory.privacy import redact, redact_text
from memory.privacy.rules import load
from tests.planted import KINDS
from tests.typescript import BUN, PACKAGE

ROOT = Path(__file__).parents[1]
#: Characters of each kind of text: the largest that a field of an event may have.
SIZE = 32 * 1024
ROUNDS = 7
#: A small event as a hook sends it, and one with words that rules look for.
SMALL = {
    "specversion": "1.0",
    "id": "01JD8XQ4ZK3V9M2N7P5R6S8T0W",
    "source": "opencode",
    "type": "file.write",
    "time": "2026-11-21T10:00:00.123Z",
    "group": "shop-3f2a",
    "session": "ses_e0378b67bffe7jKL94WGHJQZLU",
    "agent": "build",
    "project": "/home/dev/shop",
    "data": {"path": "src/cart.py", "tool": "edit", "additions": 4, "deletions": 1},
}
MESSAGE = {
    **SMALL,
    "data": {"role": "user", "text": "Add a token bucket limiter, with a test of its key", "tokens": 12},
}


def run() -> dict[str, Any]:
    """`kinds`: µs/KB of `redact_text`, of trying all patterns, and of `redactText` in TypeScript, by text; `small`: µs
    of `redact`, by event; `dense`: ms of an event of 256 KB that is all secrets, by kind."""
    patterns = [rule.patterns[0] for rule in load().rules]
    found: dict[str, Any] = {"kinds": {}, "small": {}, "dense": {}}
    kinds, small, dense = texts(), {"envelope": SMALL, "data": SMALL["data"], "message": MESSAGE}, secrets()
    there = in_typescript(
        [
            *((text, 20) for text in kinds.values()),
            *((event, 5000) for event in small.values()),
            *((d, 1) for d in dense.values()),
        ]
    )
    for kind, text in kinds.items():

        def redacted(text: str = text) -> object:
            return redact_text(text)

        def naive(text: str = text) -> object:
            return [m.span() for pattern in patterns for m in pattern.finditer(text)]

        kilobytes = len(text) / 1024
        memlane, plain = microseconds(redacted, 5) / kilobytes, microseconds(naive, 1) / kilobytes
        typescript = next(there) / kilobytes
        found["kinds"][kind] = {
            "memlane": round(memlane, 1),
            "naive": round(plain, 1),
            "times": round(plain / memlane, 1),
            "typescript": round(typescript, 1),
            "typescript_ratio": round(typescript / memlane, 2),
        }
    for name, event in small.items():

        def whole(event: object = event) -> object:
            return redact(event)

        figures = {"us": round(microseconds(whole, 2000), 1), "typescript_us": round(next(there), 1)}
        found["small"][name] = {"bytes": len(json.dumps(event)), **figures}
    for name, text in dense.items():

        def all_of_it(text: str = text) -> object:
            return redact_text(text)

        found["dense"][name] = {
            "ms": round(microseconds(all_of_it, 1) / 1000),
            "typescript_ms": round(next(there) / 1000),
        }
    return found


def in_typescript(values: list[tuple[object, int]]) -> Iterator[float]:
    """µs of redacting each value, measured in the same way; with how often it is done in a row."""
    given = "".join(json.dumps({"value": value, "times": times}) + "\n" for value, times in values)
    ran = subprocess.run(
        [BUN, "test/privacy.bench.ts"], cwd=PACKAGE, input=given, stdout=subprocess.PIPE, text=True, check=True
    )
    yield from json.loads(ran.stdout)


def secrets() -> dict[str, str]:
    """256 KB of nothing but secrets, by kind."""
    found = {}
    for name, secret in (("tokens", "github classic"), ("passwords", "password in code")):
        rng = random.Random(secret)
        line = KINDS[secret][1]
        found[name] = sized("\n".join(line(rng)[0] for _ in range(20_000)), 8 * SIZE)
    return found


def texts() -> dict[str, str]:
    """The project's own pages and code, a diff made of them, and a log as agents' tools print them; all of one size."""
    prose = "".join(path.read_text("utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "memory").glob("*.py")))
    recorded = (ROOT / "tests" / "recordings" / "single-session.hooks.jsonl").read_text("utf-8")
    diff = "\n".join(f"{' +-'[n % 3]}{line}" for n, line in enumerate(code.splitlines()))
    return {name: sized(text) for name, text in {"prose": prose, "code": code, "diff": diff, "log": recorded}.items()}


def sized(text: str, size: int = SIZE) -> str:
    return (text * (size // len(text) + 1))[:size]


def microseconds(call: Callable[[], object], times: int) -> float:
    """The least, over some rounds, of the processor time that one call takes: others share the machine."""
    call()
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            call()
        best = min(best, (time.process_time() - start) / times)
    return best * 1e6


if __name__ == "__main__":
    print(json.dumps(run()))
