"""How well recall finds: questions with known answers, through the whole system.

    python -m bench.recall_quality FOLDER [--database sqlite|postgresql] [--groups NAME,NAME] [--postings 2]

FOLDER holds `docs.jsonl` and `queries.jsonl`, or either with `.gz`; one object a line:

    docs      group, id, text, timestamp (ISO 8601 or seconds since 1970), and
              of dialogue: session, speaker          of commits: title, author, paths
    queries   group, text, relevant (ids), and, where there are: timestamp, paths

Each group is published by the real publisher, goes through the stages `record` and `index`, and is asked by the
real recall, answered by a worker; nothing is cached. Queries are asked by their text, `paths` (files being edited) and
`timestamp` (nothing later is found). Prints one JSON line: nDCG@10, recall at 5, 10 and 20 and the mean reciprocal rank
of the first 20 ids, in percent, averaged over queries; the time of a query in ms; by group, nDCG@10.

With `--postings` also what it costs to leave a question's commonest terms out, as recall does in groups so large that
they have more than `search.MOST_POSTINGS` postings: each query is ranked again with all its terms, and with no more
postings than so many for each event of its group; 2 is as hard as the limit is for a million events.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from memory.ledger import Ledger, cursors, migrate, search
from memory.recall import Question, answer
from producers import Publisher
from producers.recall import Recall
from tests import servers

type Row = dict[str, Any]

#: Ids of an answer that count.
TOP = 20
#: Room for all of them.
TOKENS = 20_000
#: Events in one call of the publisher.
CALL = 200
#: How long one call may take: nobody waits for it.
DEADLINE_SECONDS = 10.0
#: How long a group may take from publisher to full text, s.
MOST_SECONDS = 600.0
METRICS = ("nDCG@10", "R@5", "R@10", "R@20", "MRR")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recall_quality", description="How well recall finds.")
    parser.add_argument("folder", type=Path, help="holds docs.jsonl[.gz] and queries.jsonl[.gz]")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--groups", help="only these, separated by commas")
    parser.add_argument("--postings", type=float, help="rank also with so many postings an event, and with all")
    given = parser.parse_args()
    try:
        docs, queries = by_group(rows(given.folder, "docs")), by_group(rows(given.folder, "queries"))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"{given.folder}: {error}")
    groups = [group for group in docs if group in queries]
    if given.groups:
        groups = [group for group in groups if group in given.groups.split(",")]
    if not groups:
        sys.exit(f"{given.folder}: no group has both documents and queries")
    print(json.dumps(run(groups, docs, queries, given.database, given.postings)))


def run(
    groups: Sequence[str],
    docs: Mapping[str, Sequence[Row]],
    queries: Mapping[str, Sequence[Row]],
    database: str = "sqlite",
    postings: float | None = None,
) -> dict[str, Any]:
    """Figures over all queries of these groups: see the module."""
    scores: dict[str, list[dict[str, float]]] = defaultdict(list)
    every_term: list[dict[str, float]] = []
    rare_terms: list[dict[str, float]] = []
    times: list[float] = []
    published = taken = 0.0
    with TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        queue = stack.enter_context(servers.queue_server(folder / "queue"))
        if database == "sqlite":
            url = f"sqlite:///{folder / 'ledger.sqlite3'}"
        else:
            url = servers.new_database(stack.enter_context(servers.postgres(folder / "postgres")))
        ledger = Ledger(url)
        stack.callback(ledger.close)
        migrate(ledger)
        environ = {"MEMLANE_HOME": str(folder), "MEMLANE_VALKEY_URL": queue, "MEMLANE_DATABASE_URL": url}
        environ |= {"MEMLANE_DATADOG": "false"}
        stack.enter_context(servers.worker(environ, "record,index", folder / "lanes.log", name="lanes", processes=2))
        stack.enter_context(servers.worker(environ, "recall", folder / "recall.log", name="recall"))
        for number, group in enumerate(groups):
            place = group_name(group, number)
            began = time.perf_counter()
            ids = publish(queue, place, docs[group])
            servers.wait_until(lambda: _indexed(ledger, place) == len(ids), f"{group} in the full text", MOST_SECONDS)  # noqa: B023
            taken += time.perf_counter() - began
            published += len(ids)
            with Recall(queue, group=place) as memory:
                for query in queries[group]:
                    found, took = ask(memory, query)
                    times.append(took)
                    scores[group].append(score([ids[id] for id in found], query["relevant"]))
            if postings is not None:
                most = round(postings * len(ids))
                every_term += _ranked(ledger, place, queries[group], ids, sys.maxsize)
                rare_terms += _ranked(ledger, place, queries[group], ids, most)
            print(f"{group}: {len(ids)} documents, {len(queries[group])} queries", file=sys.stderr, flush=True)
    every = [one for of_group in scores.values() for one in of_group]
    times.sort()
    figures: dict[str, Any] = {
        "database": database,
        "queries": len(every),
        **{metric: _percent(one[metric] for one in every) for metric in METRICS},
        "ms_p50": round(times[len(times) // 2], 1),
        "ms_p95": round(times[int(len(times) * 0.95)], 1),
        "events": int(published),
        "events_per_second": round(published / taken),
        "groups": {group: _percent(one["nDCG@10"] for one in of_group) for group, of_group in scores.items()},
    }
    if postings is not None:
        all_of_them, limited = (_percent(one["nDCG@10"] for one in found) for found in (every_term, rare_terms))
        figures["terms"] = {"postings": postings, "all nDCG@10": all_of_them, "limited nDCG@10": limited}
        figures["terms"]["lost"] = round(all_of_them - limited, 2)
    return figures


def rows(folder: Path, name: str) -> list[Row]:
    """What `NAME.jsonl` or `NAME.jsonl.gz` holds."""
    packed = folder / f"{name}.jsonl.gz"
    if packed.exists():
        with gzip.open(packed, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def by_group(found: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their group, in order."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        grouped[row["group"]].append(row)
    return dict(grouped)


def group_name(group: str, number: int) -> str:
    """A group's name as Memlane takes it."""
    return f"{re.sub('[^A-Za-z0-9_-]', '-', group)[:56]}-{number}"


def event(group: str, doc: Row) -> Row:
    """A document as the event that a hook or an importer would have published."""
    found: Row = {
        "id": hashlib.sha256(f"{group}:{doc['id']}".encode()).hexdigest()[:32],
        "group": group,
        "time": _time(doc["timestamp"]).isoformat(),
    }
    if "speaker" in doc:
        data = {"role": "user", "text": doc["text"], "doc": doc["id"]}
        return {**found, "type": "chat.message", "session": doc["session"], "agent": doc["speaker"], "data": data}
    text, title = doc["text"], doc.get("title", "")
    data = {
        "sha": str(doc["id"]),
        "message": text if text.startswith(title) else f"{title}\n{text}",
        "author": doc.get("author"),
        "paths": doc.get("paths", []),
        "doc": doc["id"],
    }
    return {**found, "type": "vcs.commit", "agent": doc.get("author"), "data": data}


def publish(queue: str, group: str, docs: Sequence[Row]) -> dict[str, str]:
    """Publish documents. Returns each event's id, and that of its document."""
    events = [event(group, doc) for doc in docs]
    with Publisher(queue, source="bench", group=group, spool=False, deadline=DEADLINE_SECONDS) as publisher:
        for start in range(0, len(events), CALL):
            publisher.publish_many(events[start : start + CALL])
    return {one["id"]: one["data"]["doc"] for one in events}


def ask(memory: Recall, query: Row) -> tuple[list[str], float]:
    """Ids of what is recalled, best first, and the ms it took."""
    until = _until(query)
    began = time.perf_counter()
    found = memory.ask(query["text"], paths=query.get("paths", ()), until=until, tokens=TOKENS, deadline=60)
    took = (time.perf_counter() - began) * 1000
    return [item["id"] for item in found["items"]][:TOP], took


def score(ranked: Sequence[str], relevant: Sequence[str]) -> dict[str, float]:
    """What the ranking of one query is worth, 0 to 1 each (Järvelin and Kekäläinen, "Cumulated gain", 2002)."""
    wanted = set(relevant)
    hits = [one in wanted for one in dict.fromkeys(ranked)]
    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(wanted))))
    found = {f"R@{most}": sum(hits[:most]) / len(wanted) for most in (5, 10, 20)}
    found["MRR"] = next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0)
    found["nDCG@10"] = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits[:10]) if hit) / ideal
    return found


def _ranked(
    ledger: Ledger, group: str, queries: Sequence[Row], ids: Mapping[str, str], most: int
) -> list[dict[str, float]]:
    """The score of each query, ranked in this process with at most so many postings."""
    scores = []
    with _most_postings(most):
        for query in queries:
            asked = Question(query["text"], TOKENS, paths=tuple(query.get("paths", ())), until=_until(query))
            found = answer(ledger, group, asked).items
            scores.append(score([ids[item.match.id] for item in found][:TOP], query["relevant"]))
    return scores


@contextmanager
def _most_postings(most: int) -> Iterator[None]:
    """Have recall read no more than so many postings for a question, however few events there are."""
    before = search.MOST_POSTINGS, search.SMALL
    search.MOST_POSTINGS, search.SMALL = most, 0
    try:
        yield
    finally:
        search.MOST_POSTINGS, search.SMALL = before


def _until(query: Row) -> int | None:
    return round(_time(query["timestamp"]).timestamp() * 1000) if "timestamp" in query else None


def _indexed(ledger: Ledger, group: str) -> int:
    with ledger.read() as connection:
        return cursors.position(connection, "index", group)


def _time(given: str | float) -> datetime:
    if isinstance(given, str):
        found = datetime.fromisoformat(given)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime.fromtimestamp(given, UTC)


def _percent(values: Iterable[float]) -> float:
    every = list(values)
    return round(100 * sum(every) / len(every), 2)


if __name__ == "__main__":
    main()
