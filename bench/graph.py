"""Events a second into the knowledge graph: `GraphWriter` beside Graphiti's own bulk writer, on the same events.

Both start from events and end with the same episodes, entities, facts and mentions in FalkorDB, which is checked.
Graphiti writes no entity or fact without a vector, Memlane's writer none with one. So Graphiti is given made ones, and
no time goes into embedding: of 1024 dimensions, its default; and of one, which no search could use, as the bound of
what leaving them out may save. Each repeat writes fresh graphs, one writer after the other, in batches as a drain does.

    python -m bench.graph
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

os.environ["GRAPHITI_TELEMETRY_ENABLED"] = "false"

from falkordb import FalkorDB
from falkordb.asyncio import FalkorDB as AsyncFalkorDB

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Graphiti's own, at import
    from graphiti_core.driver.falkordb_driver import FalkorDriver
    from graphiti_core.edges import EntityEdge, EpisodicEdge
    from graphiti_core.embedder import EmbedderClient
    from graphiti_core.nodes import EntityNode, EpisodeType, EpisodicNode
    from graphiti_core.utils.bulk_utils import add_nodes_and_edges_bulk

from memory.events import Event, parse
from memory.graph.facts import mention_uuid, remember
from memory.graph.writer import GraphWriter
from tests.graph_server import graph_server

WORDS = ["cart", "price", "round", "discount", "order", "test", "module", "the", "a", "of", "is", "in", "once"]

#: Events a repeat writes with each writer, and how many go in one batch.
EVENTS, BATCH = 4_000, 500
REPEATS = 5


class _NoEmbedder(EmbedderClient):
    async def create(self, input_data: Any) -> list[float]:
        raise AssertionError("every vector is given")


def events(group: str, count: int = EVENTS) -> list[Event]:
    """What ten sessions do on 200 files; every event of it becomes an episode."""
    chance = random.Random(1)
    started = datetime(2026, 11, 21, tzinfo=UTC)

    def told() -> tuple[str, dict[str, Any]]:
        path = f"src/package{chance.randrange(20)}/module{chance.randrange(10)}.py"
        prose = " ".join(chance.choices(WORDS, k=40))
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("file.write", {"path": path, "tool": "edit", "additions": chance.randrange(90), "deletions": 1}),
            ("chat.message", {"role": "assistant", "text": prose}),
            ("tool.call", {"tool": "bash", "status": "error", "path": path, "summary": "exit code 1"}),
            ("error", {"message": f"TypeError: x{chance.randrange(50)} is undefined\n  at {path}:12"}),
        ]
        return chance.choices(kinds, weights=[40, 30, 15, 15])[0]

    made = []
    for number in range(count):
        type, data = told()
        envelope = {
            "specversion": "1.0", "id": f"{group}-{number}", "source": "opencode", "type": type, "group": group,
            "time": started + timedelta(seconds=number), "session": f"ses_{chance.randrange(10)}", "agent": "build",
            "user": "ann", "project": "/home/dev/shop", "data": data,
        }  # fmt: skip
        made.append(parse(envelope))
    return made


def batches(all_events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    for start in range(0, len(all_events), BATCH):
        yield all_events[start : start + BATCH]


def with_memlane(url: str, group: str, all_events: Sequence[Event]) -> float:
    """Seconds, the making of the graph and its indices included."""
    writer = GraphWriter(url)
    gc.collect()
    started = time.perf_counter()
    for batch in batches(all_events):
        writer.write(group, batch)
    taken = time.perf_counter() - started
    writer.close()
    return taken


async def with_graphiti(url: str, group: str, all_events: Sequence[Event], dimensions: int) -> float:
    """Seconds, without the making of the graph and its indices."""
    client = AsyncFalkorDB.from_url(url)
    driver = FalkorDriver(falkor_db=client, database=group)
    build: Callable[[], Awaitable[None]] = driver.build_indices_and_constraints
    await build()
    gc.collect()
    started = time.perf_counter()
    for batch in batches(all_events):
        await add_nodes_and_edges_bulk(driver, *_as_graphiti(group, batch, [0.5] * dimensions), _NoEmbedder())
    taken = time.perf_counter() - started
    await driver.close()
    await client.connection.connection_pool.disconnect()
    return taken


def _as_graphiti(
    group: str, batch: Sequence[Event], vector: list[float]
) -> tuple[list[EpisodicNode], list[EpisodicEdge], list[EntityNode], list[EntityEdge]]:
    now = datetime.now(UTC)
    own = {"group_id": group, "created_at": now}
    episodes, mentions, entities, facts = [], [], {}, {}
    for event in batch:
        memory = remember(event)
        if memory is None:
            continue
        episode = memory.episode
        episodes.append(
            EpisodicNode(
                uuid=episode.uuid,
                name=episode.name,
                content=episode.text,
                source=EpisodeType(episode.source),
                source_description=episode.source_description,
                valid_at=episode.valid_at,
                entity_edges=[fact.uuid for fact in memory.facts],
                **own,
            )
        )
        for uuid in memory.mentioned:
            mention = mention_uuid(episode.uuid, uuid)
            mentions.append(EpisodicEdge(uuid=mention, source_node_uuid=episode.uuid, target_node_uuid=uuid, **own))
        for entity in memory.entities:
            entities[entity.uuid] = EntityNode(
                uuid=entity.uuid,
                name=entity.name,
                labels=[entity.label],
                attributes=entity.attributes,
                name_embedding=vector,
                **own,
            )
        for fact in memory.facts:
            facts[fact.uuid] = EntityEdge(
                uuid=fact.uuid,
                source_node_uuid=fact.source,
                target_node_uuid=fact.target,
                name=fact.relation,
                fact=fact.sentence,
                episodes=[episode.uuid],
                valid_at=fact.valid_at,
                reference_time=fact.valid_at,
                attributes=fact.attributes,
                fact_embedding=vector,
                **own,
            )
    return episodes, mentions, list(entities.values()), list(facts.values())


def _count(url: str, group: str) -> list[list[Any]]:
    """What a graph holds, by label and type."""
    graph = FalkorDB.from_url(url).select_graph(group)
    nodes = graph.query("MATCH (n) UNWIND labels(n) AS label RETURN label, count(n) ORDER BY label").result_set
    edges = graph.query("MATCH ()-[e]->() RETURN type(e) AS type, count(e) ORDER BY type").result_set
    return [*nodes, *edges]


def run(repeats: int = REPEATS) -> dict[str, Any]:
    """Measure the writers.

    Returns:
        Events a second of each writer (median, slowest and fastest of the repeats), and by how much `GraphWriter` is
        faster (median of the repeats' ratios).

    Raises:
        RuntimeError: the writers did not write the same.
    """
    rates: dict[str, list[float]] = {"memlane": [], "graphiti_1024": [], "graphiti_1": []}
    with graph_server() as url, asyncio.Runner() as runner:
        for repeat in range(-1, repeats):
            groups = {name: f"{name}-{repeat}" for name in rates}
            taken = {"memlane": with_memlane(url, groups["memlane"], events(groups["memlane"]))}
            for name, dimensions in (("graphiti_1024", 1024), ("graphiti_1", 1)):
                taken[name] = runner.run(with_graphiti(url, groups[name], events(groups[name]), dimensions))
            counts = [_count(url, group) for group in groups.values()]
            if counts != counts[:1] * len(counts):
                raise RuntimeError(f"the graphs differ: {counts}")
            if repeat >= 0:  # the first round warms up
                for name, seconds in taken.items():
                    rates[name].append(EVENTS / seconds)
    figures: dict[str, Any] = {"benchmark": "graph", "events": EVENTS, "batch": BATCH, "repeats": repeats}
    for name, measured in rates.items():
        figures[f"{name}_events_per_second"] = [round(pick(measured)) for pick in (statistics.median, min, max)]
    for name in ("graphiti_1024", "graphiti_1"):
        ratios = [ours / theirs for ours, theirs in zip(rates["memlane"], rates[name], strict=True)]
        figures[f"times_{name}"] = round(statistics.median(ratios), 1)
    return figures | {"graph": dict(counts[0])}


if __name__ == "__main__":
    print(json.dumps(run()))
