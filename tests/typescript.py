"""Calls of the OpenCode plugin's TypeScript, in the Bun that its package brings, for tests that compare languages."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1] / "producers" / "opencode"
BUN = PACKAGE / "node_modules" / ".bin" / "bun"
#: Largest whole number that JavaScript keeps exactly.
MOST = 2**53 - 1


def answers(calls: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """What test/reader.ts answers to each call, a tuple of name and arguments: `{"value": …}` or `{"error": …}`."""
    assert BUN.exists(), "the OpenCode plugin's packages are not installed: run `make setup`"
    given = "".join(_json(call) + "\n" for call in calls)
    ran = subprocess.run([BUN, "test/reader.ts"], cwd=PACKAGE, input=given, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.split("\n") if line]


def as_seen_there(value: Any) -> Any:
    """The value as JavaScript has it, which knows one kind of number, and puts keys that are indices first."""
    if isinstance(value, dict):
        indices = sorted((key for key in value if _is_index(key)), key=int)
        ordered = [*indices, *(key for key in value if not _is_index(key))]
        return {key: as_seen_there(value[key]) for key in ordered}
    if isinstance(value, list):
        return [as_seen_there(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST:
        return int(value)
    if type(value) is int and abs(value) > MOST:
        return float(value) if abs(value) < 2**1023 else float("inf")
    return value


def _json(value: Any) -> str:
    """JSON in which a number that no float can hold is too large, and not `Infinity`."""
    string_or_infinite = r'"(?:\\.|[^"\\])*"|Infinity'
    return re.sub(string_or_infinite, lambda found: found[0] if found[0][0] == '"' else "1e999", json.dumps(value))


def _is_index(key: str) -> bool:
    return re.fullmatch("0|[1-9][0-9]{0,9}", key) is not None and int(key) < 2**32 - 1
