"""What the plugin costs in OpenCode: how long a scripted `opencode run` takes without it and with it, where all is up,
where no workers are, and with a queue server that is away, frozen, refuses, or answers garbage; how long each hook
takes, and how long what memory holds is waited for at the start of a chat, measured inside OpenCode.

The model is scripted, so that all runs do the same: three tools are called, or with hooks measured, sixty. A state's
runs take turns with those without the plugin, so that what the machine does meanwhile strikes both.

    python -m bench.opencode [--pairs 20]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from math import comb
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import redis

from memory.cache import Cache
from producers.recall import encode
from tests import servers
from tests.opencode.agent import PLUGIN, Ended, OpenCode, configuration, project_at, served
from tests.opencode.model import Reply, calls, model_server, says
from tests.opencode.test_away import STATES
from tests.opencode.test_sessions import GROUP

#: Pairs of runs in each state, and tool calls of the session whose hooks are measured.
PAIRS, CALLS = 5, 60
#: Turns that begin with a question whose answer is cached, those without any worker, and turns in a session.
CACHED, UNANSWERED, TURNS = 100, 10, 10
#: A context of 1,500 tokens, in bytes, and how many paths it depends on.
ANSWER_BYTES, PATHS = 6_000, 20
#: The hook that waits for what memory holds.
WAITING = "experimental.chat.system.transform"
#: What the plugin may add to a run: the larger one, ms and share of a run without it.
LIMIT_MS, LIMIT_SHARE = 300, 0.1


def run(pairs: int = PAIRS) -> dict[str, Any]:
    """For each state the median run in seconds, without and with the plugin; by how many ms the second of a pair took
    longer than the first, the median of all and the interval that it is in with 95 % confidence; the same of processor
    time; and how long OpenCode waited for hooks, in ms, in the run in which that was most. For hooks p50, p99 and the
    longest in ms. For recall the same of cached answers, and of how long turns wait for an answer that doesn't come.
    """
    with TemporaryDirectory(prefix="bench-") as name, model_server() as model:
        folder = Path(name)
        opencode = OpenCode(folder / "opencode", model)
        opencode.prepare()
        bench = _Bench(opencode, folder, pairs)
        bench.run(None)  # OpenCode makes its database
        servers_of = {"up": _up, "no_workers": _queue, **STATES}
        states = {state: bench.compare(state, server) for state, server in servers_of.items()}
        return {"states": states, "hooks": bench.hooks(), "recall": bench.recall()}


class _Bench:
    def __init__(self, opencode: OpenCode, folder: Path, pairs: int) -> None:
        self._opencode = opencode
        self._folder = folder
        self._pairs = pairs
        self._numbers = count()

    def run(self, url: str | None, replies: Callable[[Path], list[Reply]] | None = None, **environ: str) -> Ended:
        """One run; without the plugin where there is no URL."""
        folder = self._folder / str(next(self._numbers))
        (folder / "home").mkdir(parents=True)
        config = configuration(self._opencode.model, plugin=[[PLUGIN, {"group": GROUP}]] if url else [])
        project = project_at(folder / "shop", config)
        self._opencode.model.script("main", *(replies or _session)(project))
        environ |= {"MEMLANE_HOME": str(folder / "home"), "MEMLANE_VALKEY_URL": url or ""}
        ended = self._opencode.run(project, "Write", "the", "cart", options=environ)
        if ended.code:
            raise RuntimeError(f"opencode run failed: {ended.err}")
        return ended

    def compare(self, state: str, server: Callable[[Path], AbstractContextManager[str]]) -> dict[str, float]:
        without: list[Ended] = []
        with_: list[Ended] = []
        awaited = []
        with server(self._folder / state) as url:
            for number in range(self._pairs):
                timings = self._folder / f"{state}-{number}.jsonl"
                # By turns which is first: what the one leaves behind in the machine, the other has to bear.
                for plugin in (False, True) if number % 2 else (True, False):
                    if plugin:
                        with_.append(self.run(url, MEMLANE_OPENCODE_TIMINGS=str(timings)))
                    else:
                        without.append(self.run(None))
                awaited.append(sum(row["ms"] for row in _rows(timings) if "hook" in row))
        wall = _difference([run.seconds for run in without], [run.seconds for run in with_])
        processor = _difference([run.processor for run in without], [run.processor for run in with_])
        limit = max(LIMIT_MS, 1000 * LIMIT_SHARE * wall["without_s"])
        return {
            **wall,
            "over_limit_ms": max(0, round(wall["added_ms"] - limit)),
            **{f"processor_{name}": figure for name, figure in processor.items()},
            "awaited_ms": round(max(awaited), 1),
        }

    def hooks(self) -> dict[str, Any]:
        """Durations of the hooks in a session with many tool calls; waiting for what memory holds on its own."""
        timings = self._folder / "timings.jsonl"
        with _queue(self._folder / "hooks") as url:
            self.run(url, _long_session, MEMLANE_OPENCODE_TIMINGS=str(timings))
        rows = [row for row in _rows(timings) if "hook" in row]
        noting = [row["ms"] for row in rows if row["hook"] != WAITING]
        waiting = [row["ms"] for row in rows if row["hook"] == WAITING]
        return {"noting": _percentiles(noting), "waiting_for_recall": _percentiles(waiting)}

    def recall(self) -> dict[str, Any]:
        """How long it takes from the user's message to a cached answer, while OpenCode prepares its request; how long
        that request then still waits for it; and how long for an answer that doesn't come: there is no worker."""
        folder = self._folder / "recall"
        with _queue(folder) as url, redis.Redis.from_url(url) as queue:
            question = "What is known of the limiter's clock?"
            cache = Cache(queue, GROUP)
            answer = json.dumps({"context": "x" * ANSWER_BYTES, "started": cache.now()})
            digest = hashlib.sha256(encode(GROUP, question)).hexdigest()
            paths = [f"src/module{number}.py" for number in range(PATHS)]
            cache.fill("bench", digest, answer, paths, cache.now(), 3600)
            cached = self._turns(folder / "cached", url, [question] * CACHED)
            unanswered = self._turns(folder / "unanswered", url, [f"{question} {n}" for n in range(UNANSWERED)])
        found = {
            "cached": [row["ms"] for row in cached if row.get("recall") == "hit"],
            "cached_waited": [row["ms"] for row in cached if row.get("waited") == "answered"],
            "without_workers_waited": [row["ms"] for row in unanswered if row.get("waited") == "in vain"],
        }
        if [len(times) for times in found.values()] != [CACHED, CACHED, UNANSWERED]:
            raise RuntimeError(f"turns that were answered, waited, waited in vain: {[*map(len, found.values())]}")
        return {name: _percentiles(times) for name, times in found.items()}

    def _turns(self, folder: Path, url: str, texts: list[str]) -> list[dict[str, Any]]:
        """Say these in one `opencode serve`, in sessions of `TURNS`; what was measured in it."""
        (folder / "home").mkdir(parents=True)
        timings = folder / "timings.jsonl"
        environ = {"MEMLANE_HOME": str(folder / "home"), "MEMLANE_VALKEY_URL": url}
        opencode = replace(self._opencode, environ=environ | {"MEMLANE_OPENCODE_TIMINGS": str(timings)})
        config = configuration(self._opencode.model, plugin=[[PLUGIN, {"group": GROUP}]])
        self._opencode.model.script("main")
        with served(opencode, project_at(folder / "shop", config)) as server:
            for first in range(0, len(texts), TURNS):
                session = server.session()
                for text in texts[first : first + TURNS]:
                    server.say(session, text)
            servers.wait_until(lambda: sum("recall" in row for row in _rows(timings)) == len(texts), "all answers")
        return _rows(timings)


def _difference(without: list[float], with_: list[float]) -> dict[str, float]:
    """Of pairs of runs, in seconds."""
    added = sorted(1000 * (second - first) for first, second in zip(without, with_, strict=True))
    low, high = _interval(added)
    return {
        "without_s": round(median(without), 3),
        "with_s": round(median(with_), 3),
        "added_ms": round(median(added)),
        "added_ms_from": round(low),
        "added_ms_to": round(high),
    }


def _interval(values: list[float]) -> tuple[float, float]:
    """What the median is between with 95 % confidence, by the binomial distribution: as far as so few can say.

    Args:
        values: sorted.
    """
    size, below, rank = len(values), 0.0, 0
    while rank < (size - 1) // 2 and below + comb(size, rank) / 2**size <= 0.025:
        below += comb(size, rank) / 2**size
        rank += 1
    rank = max(0, rank - 1)
    return values[rank], values[-1 - rank]


def _rows(timings: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in timings.read_text().splitlines()]


def _percentiles(times: list[float]) -> dict[str, float]:
    times = sorted(times)

    def at(share: float) -> float:
        return round(times[min(len(times) - 1, int(share * len(times)))], 3)

    return {"calls": len(times), "p50": at(0.5), "p99": at(0.99), "longest": at(1)}


def _session(project: Path) -> list[Reply]:
    cart = str(project / "cart.py")
    return [
        calls("write", filePath=cart, content="total = 1\n"),
        calls("edit", filePath=cart, oldString="total = 1", newString="total = 2"),
        calls("edit", filePath=cart, oldString="nowhere", newString="x"),
        says("The cart is done."),
    ]


def _long_session(project: Path) -> list[Reply]:
    """Files of 2 KB are written and edited."""
    replies = []
    for number in range(CALLS // 2):
        path = str(project / f"{number}.py")
        lines = [f"line_{number}_{n} = {n}" for n in range(100)]
        replies.append(calls("write", filePath=path, content="\n".join(lines)))
        replies.append(calls("edit", filePath=path, oldString=lines[50], newString="changed = True"))
    return [*replies, says("Done.")]


@contextmanager
def _queue(folder: Path) -> Iterator[str]:
    with servers.queue_server(folder) as url:
        yield url


@contextmanager
def _up(folder: Path) -> Iterator[str]:
    """A queue server, and workers that record, index and answer."""
    with _queue(folder) as url:
        environ = {"MEMLANE_HOME": str(folder), "MEMLANE_VALKEY_URL": url, "MEMLANE_DATADOG": "false"}
        environ |= {"MEMLANE_DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite3'}"}
        with servers.worker(environ, "record,index,cache,recall", folder / "worker.log", processes=2):
            yield url


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.opencode")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of runs in each state")
    print(json.dumps(run(parser.parse_args().pairs), indent=2))
