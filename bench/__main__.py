"""`make bench`: every benchmark, one after the other, as tables; with --json as one JSON object.

Takes about 20 minutes. Each figure stands beside what one would use instead, measured in the same run.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BENCHMARKS = (
    *("publish", "away", "recall", "recall_size", "history", "globs", "privacy", "graph", "pipeline", "plugins"),
    *("import_git", "opencode", "compaction"),
)
#: What must hold: figure, bound, whether it is a least or a most. Breaking one makes the run fail.
BOUNDS = (
    (("pipeline", "sqlite", "batches_ratio"), 10.0, "least"),
    (("pipeline", "postgresql", "batches_ratio"), 10.0, "least"),
    *((("import_git", kind, "memlane"), 2_000.0, "least") for kind in ("sqlite", "postgresql")),
    (("publish", "ratio"), 2.0, "most"),
    (("recall", "paths_20", "p99"), 2_000.0, "most"),
    (("globs", "ratio"), 2.0, "most"),
    (("recall_size", "12", "100000", "memlane", "p95"), 50.0, "most"),
    (("recall_size", "40", "100000", "memlane", "p95"), 100.0, "most"),
    (("recall_size", "12", "growth"), 0.6, "most"),
    (("recall_size", "40", "growth"), 0.6, "most"),
    *((("privacy", "kinds", kind, "memlane"), 50.0, "most") for kind in ("prose", "code", "diff", "log")),
    *((("privacy", "kinds", kind, "typescript_ratio"), 3.0, "most") for kind in ("prose", "code", "diff", "log")),
    (("graph", "times_graphiti_1024"), 5.0, "least"),
    *((("plugins", kind, "p50"), 200.0, "most") for kind in ("coroutine", "plain")),
    (("compaction", "sqlite", "worst_ms"), 1_000.0, "most"),
    (("away", "worst_p99"), 50_000.0, "most"),
    (("away", "raised"), 0, "most"),
    (("away", "lost"), 0, "most"),
    (("opencode", "hooks", "noting", "p99"), 2.0, "most"),
    (("opencode", "recall", "cached_waited", "p99"), 10.0, "most"),
    *(
        (("opencode", "states", state, "over_limit_ms"), 0, "most")
        for state in ("up", "no_workers", "absent", "frozen", "refusing", "garbage")
    ),
)


def main() -> None:
    found: dict[str, Any] = {"machine": machine()}
    for name in BENCHMARKS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        # A process each: Celery and Graphiti keep what they were first configured with.
        ran = subprocess.run([sys.executable, "-m", f"bench.{name}"], stdout=subprocess.PIPE, check=True)
        found[name] = json.loads(ran.stdout)
    if "--json" in sys.argv:
        print(json.dumps(found))
    else:
        tables(found)
    broken = [line for line in (check(found, *bound) for bound in BOUNDS) if line]
    sys.exit("\n".join(broken) if broken else 0)


def machine() -> str:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {platform.system()}"


def check(found: dict[str, Any], where: tuple[str, ...], bound: float, kind: str) -> str:
    """A line if the bound is broken."""
    value: Any = found
    for part in where:
        value = value[part]
    holds = value >= bound if kind == "least" else value <= bound
    return "" if holds else f"{'.'.join(where)} is {value}, and should be at {kind} {bound}"


def tables(found: dict[str, Any]) -> None:
    """Print the figures."""
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    out.print(found["machine"])
    rows = [
        ("Memlane publish, one event a call", found["publish"]["publish"]),
        ("bare XADD of the same bytes", found["publish"]["xadd"]),
        ("Celery .delay()", found["publish"]["delay"]),
    ]
    latency(out, f"What an agent waits for; publish is {found['publish']['ratio']}x a bare XADD", rows)
    out.print(f"  publish_many, 100 events a call: {found['publish']['in_hundreds_each']} µs an event")
    states = found["away"]["states"]
    rows = [(f"publish, {state}", figures["publish"]) for state, figures in states.items()]
    rows += [(f"publish, {state}, each event tried", figures["each_tries"]) for state, figures in states.items()]
    rows += [(f"redis-py's XADD, {state}", figures["bare"]) for state, figures in states.items()]
    latency(out, "What an agent waits for while the queue server is away", rows)
    rows = [("bare GET of the same answer", found["recall"]["get"])]
    rows += [(f"cached recall, {count} paths", found["recall"][f"paths_{count}"]) for count in (1, 20, 200)]
    latency(out, "Cached recall, by paths that the answer depends on", rows)
    rows = [(tool, figures) for tool, figures in found["history"].items() if tool != "bare"]
    rows.append(("the sessions counted from their events", found["history"]["bare"]))
    latency(out, "History of 100,000 events in 1,000 sessions", rows)
    sizes(out, found["recall_size"])
    rows = [(f"100 of {size:,} cached paths", found["globs"][f"of_{size}"]) for size in (1_000, 1_000_000)]
    latency(out, f"Invalidating by a glob; large to small: {found['globs']['ratio']}x", rows)
    redaction(out, found["privacy"])
    figures = found["graph"]
    writers = [
        ("GraphWriter", figures["memlane_events_per_second"][0]),
        ("Graphiti's bulk writer, 1024 dimensions", figures["graphiti_1024_events_per_second"][0]),
        ("Graphiti's bulk writer, 1 dimension", figures["graphiti_1_events_per_second"][0]),
    ]
    title = f"Episodes a second into the graph; GraphWriter is {figures['times_graphiti_1024']}x Graphiti's default"
    rate(out, title, [(name, figure, figure / writers[1][1]) for name, figure in writers])
    rows = [(kind, found["plugins"][kind]) for kind in ("coroutine", "plain", "plain_alone", "bare")]
    latency(out, "A hook of a plugin that does nothing; bare: awaited without an adapter", rows)
    figures = found["compaction"]["sqlite"]
    out.print(f"\n[bold]A checkpoint of {figures['events']:,} events[/bold]")
    out.print(f"  {figures['checkpoint_ms']} ms; only reading these events {figures['only_reading_ms']} ms")
    latency(out, "What a hook waits for its brief", [("GET", found["compaction"]["brief"])])
    for kind in ("sqlite", "postgresql"):
        figures = found["pipeline"][kind]
        lines = [
            ("Memlane, 100 events a call", figures["batches"], figures["batches_ratio"]),
            ("Memlane, one event a call", figures["single"], figures["single_ratio"]),
            ("plain Celery, one task an event", figures["plain"], 1.0),
        ]
        rate(out, f"Events a second, published to stored, {kind}", lines)
    for kind in ("sqlite", "postgresql"):
        figures = found["import_git"][kind]
        lines = [
            ("memlane import git", figures["memlane"], figures["ratio"]),
            ("plain Celery, one task a commit, ready made", figures["plain"], 1.0),
        ]
        rate(out, f"Commits a second, git to stored, {kind}", lines)
    added = ", ".join(f"{state} {figures['added_ms']:+,} ms" for state, figures in found["opencode"]["states"].items())
    figures = found["opencode"]["hooks"]["noting"]
    out.print("\n[bold]The plugin in OpenCode[/bold]")
    out.print(f"  what a scripted run takes longer, by the queue server's state: {added}")
    processor = (f"{state} {row['processor_added_ms']:+,} ms" for state, row in found["opencode"]["states"].items())
    out.print(f"  the same in processor time: {', '.join(processor)}")
    out.print(f"  hooks: p50 {figures['p50']} ms, p99 {figures['p99']} ms")
    rows = found["opencode"]["recall"]
    cached, vain = rows["cached_waited"], rows["without_workers_waited"]
    out.print(f"  a turn waits for a cached answer: p50 {cached['p50']} ms, p99 {cached['p99']} ms")
    out.print(f"  for one that doesn't come: p50 {vain['p50']} ms, longest {vain['longest']} ms")


def latency(out: Console, title: str, rows: list[tuple[str, dict[str, float]]]) -> None:
    table = Table(box=None)
    for column in ("", "p50 µs", "p99 µs"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in rows:
        table.add_row(name, f"{figures['p50']:,.0f}", f"{figures['p99']:,.0f}")
    out.print(f"\n[bold]{title}[/bold]")
    out.print(table)


def sizes(out: Console, found: dict[str, Any]) -> None:
    table = Table(box=None)
    for column in ("words", "events", "recall p50 ms", "p95 ms", "FTS5 p50 ms", "p95 ms"):
        table.add_column(column, justify="right")
    for length, of_length in found.items():
        for size, figures in of_length.items():
            if size.isdigit():
                shown = (figures[way][name] for way in ("memlane", "fts5") for name in ("p50", "p95"))
                table.add_row(length, f"{int(size):,}", *(f"{figure:,.1f}" for figure in shown))
    out.print("\n[bold]A question that is not cached, beside an OR over FTS5[/bold]")
    out.print(table)


def redaction(out: Console, found: dict[str, Any]) -> None:
    table = Table(box=None)
    for column in ("", "µs/KB", "all patterns, µs/KB", "times", "TypeScript, µs/KB"):
        table.add_column(column, justify="left" if not column else "right")
    for kind, figures in found["kinds"].items():
        table.add_row(kind, *(f"{figures[name]:,.1f}" for name in ("memlane", "naive", "times", "typescript")))
    out.print("\n[bold]Redacting 32 KB, beside trying all patterns everywhere[/bold]")
    out.print(table)
    for name, figures in found["small"].items():
        there = figures["typescript_us"]
        out.print(f"  {name}, {figures['bytes']} bytes: {figures['us']} µs, in TypeScript {there} µs")
    for name, took in found["dense"].items():
        out.print(f"  256 KB of {name}: {took['ms']:,} ms, in TypeScript {took['typescript_ms']:,} ms")


def rate(out: Console, title: str, rows: list[tuple[str, float, float]]) -> None:
    table = Table(box=None)
    for column in ("", "per second", "times"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figure, times in rows:
        table.add_row(name, f"{figure:,.0f}", f"{times:,.1f}")
    out.print(f"\n[bold]{title}[/bold]")
    out.print(table)


if __name__ == "__main__":
    main()
