"""The graph as its readers find it: written by `GraphWriter`, read by Graphiti's own classes and search."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy, deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

os.environ["GRAPHITI_TELEMETRY_ENABLED"] = "false"

from falkordb import FalkorDB
from falkordb.asyncio import FalkorDB as AsyncFalkorDB

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Graphiti's own, at import
    from graphiti_core import Graphiti
    from graphiti_core.cross_encoder.client import CrossEncoderClient
    from graphiti_core.driver.falkordb_driver import FalkorDriver
    from graphiti_core.edges import EntityEdge, EpisodicEdge
    from graphiti_core.embedder import EmbedderClient
    from graphiti_core.llm_client import LLMClient, LLMConfig
    from graphiti_core.nodes import EntityNode, EpisodeType, EpisodicNode
    from graphiti_core.search.search_config import (
        EdgeSearchMethod,
        NodeSearchMethod,
        SearchConfig,
        SearchResults,
    )
    from graphiti_core.search.search_config_recipes import COMBINED_HYBRID_SEARCH_RRF

from memory.events import Event, parse
from memory.graph.facts import entity_uuid, episode_uuid, remember
from memory.graph.kinds import KINDS
from memory.graph.writer import QUERY_CHARACTERS, GraphRefused, GraphUnavailable, GraphWriter
from tests.graph_server import graph_server

GROUP = "shop-3f2a"

HOSTILE = [
    'it\'s "quoted" and \\ back\\\\slashed\\',
    "line\nfeed\r\nreturn\ttab",
    "'}) DETACH DELETE n //",
    '"}] MATCH (n) DETACH DELETE n /* $rows ${group} `tick`',
    "\\n \\u0041 \\x00 %s {0} CYPHER rows=[]",
    "日本 𝄞 e\u0301 \u202eright\u202c \u2028 \ufeff \x7f \x01 \x1b[31m",
    "[[[{{{((( null true NaN -0 1e999",
    "x" * 30_000,
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with graph_server() as address:
        yield address


@pytest.fixture
def writer(url: str) -> Iterator[GraphWriter]:
    """A writer to an empty server."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
    graph_writer = GraphWriter(url)
    yield graph_writer
    graph_writer.close()


def event(number: int, type: str, data: dict[str, Any], **fields: Any) -> Event:
    """Event `e{number}` of second `number`."""
    envelope = {
        "specversion": "1.0", "id": f"e{number}", "source": "opencode", "time": datetime.fromtimestamp(number, UTC),
        "group": GROUP, "session": "ses_1", "agent": "build", "user": "ann", "project": "/home/dev/shop",
    }  # fmt: skip
    return parse(envelope | {"type": type, "data": data} | fields)


def story() -> list[Event]:
    """One event of each kind and more, in two sessions."""
    told: list[tuple[str, dict[str, Any]]] = [
        ("session.start", {"title": "Fix the cart", "model": "gpt-5", "parent": "ses_0"}),
        ("user.request", {"request": "Prices are in cents.", "action": "remember"}),
        ("chat.start", {"query": "Where are prices rounded?"}),
        ("chat.message", {"role": "assistant", "text": "Rounding happens in the cart module."}),
        ("file.write", {"path": "src/cart.py", "tool": "edit", "additions": 4}),
        ("file.write", {"path": "src/cart.py", "tool": "edit", "additions": 2}),
        ("tool.call", {"tool": "bash", "status": "error", "summary": "exit code 1"}),
        ("error", {"message": "ZeroDivisionError: division by zero", "name": "ZeroDivisionError"}),
        ("todo.updated", {"todos": [{"content": "Round", "status": "completed"}, {"content": "Test"}]}),
        ("completion", {"task": "Fix rounding", "duration": 2.5, "tokens": 900}),
        ("vcs.commit", {"sha": "0123456789abcdef", "message": "Round once", "paths": ["src/cart.py", "b.py"]}),
        ("checkpoint.created", {"checkpoint": "rounding fixed"}),
        ("session.compacted", {"summary": "Rounding is fixed."}),
        ("session.end", {"reason": "done"}),
    ]
    assert {type for type, _ in told} == set(KINDS)
    first = [event(number, type, data) for number, (type, data) in enumerate(told, 1)]
    return [*first, event(50, "file.write", {"path": "src/cart.py"}, session="ses_2", agent="plan")]


@contextmanager
def server(url: str) -> Iterator[Any]:
    """FalkorDB's own client."""
    client = FalkorDB.from_url(url)
    yield client
    client.connection.connection_pool.disconnect()


def query(url: str, cypher: str, group: str = GROUP) -> list[list[Any]]:
    with server(url) as client:
        rows: list[list[Any]] = client.select_graph(group).query(cypher).result_set
        return rows


def contents(url: str, group: str = GROUP) -> tuple[list[str], list[str]]:
    """All nodes and all edges of a graph, with labels and properties, in a fixed order."""

    def sorted_rows(cypher: str) -> list[str]:
        return sorted(repr([*row[:-1], sorted(row[-1].items())]) for row in query(url, cypher, group))

    return (
        sorted_rows("MATCH (n) RETURN labels(n), properties(n)"),
        sorted_rows("MATCH (a)-[e]->(b) RETURN type(e), a.uuid, b.uuid, properties(e)"),
    )


def digest(url: str, group: str = GROUP) -> str:
    return hashlib.sha256(repr(contents(url, group)).encode()).hexdigest()


def read[T](url: str, reading: Callable[[FalkorDriver], Awaitable[T]], group: str = GROUP) -> T:
    """What a reader finds through Graphiti's driver."""

    async def connected() -> T:
        client = AsyncFalkorDB.from_url(url)
        driver = FalkorDriver(falkor_db=client, database=group)
        try:
            return await reading(driver)
        finally:
            await driver.close()
            await client.connection.connection_pool.disconnect()

    return asyncio.run(connected())


# Reading


def test_graphiti_reads_episodes(writer: GraphWriter, url: str) -> None:
    before = datetime.now(UTC)
    events = story()
    assert writer.write(GROUP, events) == len(events)

    async def reading(driver: FalkorDriver) -> tuple[EpisodicNode, list[EpisodicNode]]:
        return (
            await EpisodicNode.get_by_uuid(driver, episode_uuid("e5")),
            await EpisodicNode.get_by_group_ids(driver, [GROUP]),
        )

    edit, episodes = read(url, reading)
    assert (edit.content, edit.source, edit.name) == (
        "Modified: src/cart.py",
        EpisodeType.text,
        "Modified: src/cart.py",
    )
    assert (edit.source_description, edit.group_id) == ("opencode file.write", GROUP)
    assert edit.valid_at == datetime.fromtimestamp(5, UTC)
    assert before <= edit.created_at <= datetime.now(UTC)
    memory = remember(events[4])
    assert memory is not None
    assert edit.entity_edges == [fact.uuid for fact in memory.facts] != []
    assert {episode.uuid for episode in episodes} == {episode_uuid(one.id) for one in events}


def test_graphiti_reads_entities(writer: GraphWriter, url: str) -> None:
    writer.write(GROUP, story())
    entities = read(url, lambda driver: EntityNode.get_by_group_ids(driver, [GROUP]))
    named = {(entity.labels[-1], entity.name): entity for entity in entities}
    assert len(named) == len(entities)
    assert set(named) == {
        ("Session", "ses_0"), ("Session", "ses_1"), ("Session", "ses_2"), ("Agent", "build"), ("Agent", "plan"),
        ("File", "src/cart.py"), ("File", "b.py"), ("Error", "ZeroDivisionError: division by zero"), ("Tool", "bash"),
        ("Task", "Round"), ("Task", "Test"), ("Task", "Fix rounding"), ("Commit", "0123456789ab Round once"),
        ("Checkpoint", "rounding fixed"),
    }  # fmt: skip
    assert all(entity.labels[0] == "Entity" and entity.group_id == GROUP for entity in entities)
    session = named["Session", "ses_1"]
    assert session.uuid == entity_uuid(GROUP, "Session", "ses_1")
    assert session.attributes.items() >= {"title": "Fix the cart", "user": "ann", "reason": "done"}.items()
    assert session.attributes["seen_at"] == "1970-01-01T00:00:14+00:00"


def test_graphiti_reads_facts_and_mentions(writer: GraphWriter, url: str) -> None:
    events = story()
    writer.write(GROUP, events)
    memories = [memory for one in events if (memory := remember(one))]
    told = {fact.uuid: fact for memory in memories for fact in memory.facts}

    async def reading(driver: FalkorDriver) -> tuple[list[EntityEdge], EntityEdge, list[EpisodicEdge]]:
        edit = next(fact.uuid for fact in memories[4].facts if fact.relation == "MODIFIED")
        return (
            await EntityEdge.get_by_group_ids(driver, [GROUP]),
            await EntityEdge.get_by_uuid(driver, edit),
            await EpisodicEdge.get_by_group_ids(driver, [GROUP]),
        )

    facts, edit, mentions = read(url, reading)
    assert {fact.uuid for fact in facts} == set(told)
    assert all(
        (fact.source_node_uuid, fact.name, fact.target_node_uuid, fact.fact, fact.group_id)
        == (told[fact.uuid].source, told[fact.uuid].relation, told[fact.uuid].target, told[fact.uuid].sentence, GROUP)
        for fact in facts
    )
    assert edit.fact == "build modified src/cart.py"
    assert edit.valid_at == edit.reference_time == datetime.fromtimestamp(5, UTC)
    assert (edit.invalid_at, edit.expired_at) == (None, None)
    assert edit.episodes == [episode_uuid("e5")]
    assert edit.attributes == {"path": "src/cart.py", "tool": "edit", "additions": 4}
    found = [(mention.source_node_uuid, mention.target_node_uuid) for mention in mentions]
    assert sorted(found) == sorted((m.episode.uuid, uuid) for m in memories for uuid in m.mentioned)


class _Unwanted(LLMClient, EmbedderClient, CrossEncoderClient):
    """Stands for every model there is; fails the test if one is asked."""

    def __init__(self) -> None:
        LLMClient.__init__(self, LLMConfig(api_key="none"))

    async def _generate_response(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        raise AssertionError("the LLM was asked")

    async def create(self, *args: Any, **kwargs: Any) -> list[float]:
        raise AssertionError("the embedder was asked")

    async def rank(self, *args: Any, **kwargs: Any) -> list[tuple[str, float]]:
        raise AssertionError("the cross-encoder was asked")


def bm25() -> SearchConfig:
    """Graphiti's combined recipe, full text only."""
    recipe = deepcopy(COMBINED_HYBRID_SEARCH_RRF)
    assert recipe.edge_config is not None
    assert recipe.node_config is not None
    recipe.edge_config.search_methods = [EdgeSearchMethod.bm25]
    recipe.node_config.search_methods = [NodeSearchMethod.bm25]
    recipe.community_config = None
    return recipe


def test_graphiti_searches_without_any_model(writer: GraphWriter, url: str) -> None:
    """Without `group_ids`: the graph is the group's own, and where a group has a dash, graphiti-core 0.31.1 finds
    nothing by it (https://github.com/getzep/graphiti/pull/1845).
    """
    writer.write(GROUP, story())

    async def reading(driver: FalkorDriver) -> tuple[SearchResults, SearchResults]:
        model = _Unwanted()
        graphiti = Graphiti(graph_driver=driver, llm_client=model, embedder=model, cross_encoder=model)
        return (
            await graphiti.search_("ZeroDivisionError", config=bm25()),
            await graphiti.search_("rounding cart", config=bm25()),
        )

    error, cart = read(url, reading)
    assert [fact.fact for fact in error.edges] == ["build hit error ZeroDivisionError: division by zero"]
    assert [node.name for node in error.nodes] == ["ZeroDivisionError: division by zero"]
    assert [episode.content for episode in error.episodes] == ["Error: ZeroDivisionError: division by zero"]
    assert {"build modified src/cart.py", "build completed Fix rounding"} <= {fact.fact for fact in cart.edges}
    assert "assistant: Rounding happens in the cart module." in {episode.content for episode in cart.episodes}


# Writing again


def test_a_replay_changes_nothing(writer: GraphWriter, url: str) -> None:
    events = story()
    writer.write(GROUP, events)
    before = digest(url)
    for batch in (events, events[3:9], events[:1], events[-1:], events + events, list(reversed(events))):
        writer.write(GROUP, batch)
        assert digest(url) == before
    memories = [memory for one in events if (memory := remember(one))]
    nodes, edges = contents(url)
    assert len(nodes) == len({e.uuid for memory in memories for e in memory.entities}) + len(events)
    facts = {fact.uuid for memory in memories for fact in memory.facts}
    assert len(edges) == len(facts) + sum(len(memory.mentioned) for memory in memories)


def test_a_batch_half_written_is_completed(writer: GraphWriter, url: str) -> None:
    events = story()
    writer.write(GROUP, events)
    nodes, edges = map(len, contents(url))
    for lost in ("MATCH ()-[e:MENTIONS]->() DELETE e", "MATCH ()-[e:RELATES_TO]->() DELETE e", "MATCH (n) DELETE n"):
        query(url, lost)
        assert tuple(map(len, contents(url))) != (nodes, edges)
        writer.write(GROUP, events)
        assert tuple(map(len, contents(url))) == (nodes, edges)


def test_writers_at_the_same_time_write_once(writer: GraphWriter, url: str) -> None:
    """A worker that lost its lease may still be writing what its successor writes again."""
    events = [event(n, "file.write", {"path": f"f{n % 7}.py"}) for n in range(400)]
    writer.write("expected", [one.model_copy(update={"group": "expected"}) for one in events])
    writers = [GraphWriter(url) for _ in range(4)]
    with ThreadPoolExecutor(len(writers)) as threads:
        assert list(threads.map(lambda one: one.write(GROUP, events), writers)) == [400] * 4
    for one in writers:
        one.close()
    assert [len(part) for part in contents(url)] == [len(part) for part in contents(url, "expected")]


def test_what_is_learned_of_an_entity_is_merged(writer: GraphWriter, url: str) -> None:
    def session() -> EntityNode:
        uuid = entity_uuid(GROUP, "Session", "ses_1")
        found: EntityNode = read(url, lambda driver: EntityNode.get_by_uuid(driver, uuid))
        return found

    start = event(10, "session.start", {"title": "New", "model": "gpt-5"})
    writer.write(GROUP, [start])
    first = session()
    # What an LLM adds to it, through Graphiti:
    query(url, "MATCH (n:Session) SET n.summary = 'told by a model', n.name_embedding = vecf32([0.5, 0.25])")

    writer.write(GROUP, [event(20, "session.start", {"title": "Newer"})])
    assert session().attributes == first.attributes | {"title": "Newer", "seen_at": "1970-01-01T00:00:20+00:00"}

    # What is older, a spooled event for example, fills gaps and changes nothing else.
    writer.write(
        GROUP, [event(5, "session.end", {"reason": "late"}), event(6, "session.start", {"title": "Old"}), start]
    )
    last = session()
    assert last.attributes == first.attributes | {
        "title": "Newer", "seen_at": "1970-01-01T00:00:20+00:00", "reason": "late"
    }  # fmt: skip
    assert (last.created_at, last.summary) == (first.created_at, "told by a model")
    assert query(url, "MATCH (n:Session) RETURN n.name_embedding") == [[[0.5, 0.25]]]


# What is written


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_comes_back_as_it_was(writer: GraphWriter, url: str, text: str) -> None:
    events = [
        event(
            1, "chat.message", {"role": text, "text": text, "message": text[:900]}, session=text[:200], agent=text[:200]
        ),
        event(2, "error", {"message": text, "name": text[:900]}, session=text[:200]),
        event(3, "vcs.commit", {"sha": "ab", "message": text, "paths": ["d/" + text]}),
        event(4, "completion", {"task": text, "duration": 1e-9, "tokens": 2**53 - 1}),
    ]
    assert writer.write(GROUP, events) == 4
    before = digest(url)
    assert writer.write(GROUP, events) == 4
    assert digest(url) == before

    async def reading(driver: FalkorDriver) -> tuple[list[EpisodicNode], list[EntityNode]]:
        return (
            await EpisodicNode.get_by_uuids(driver, [episode_uuid("e1"), episode_uuid("e2")]),
            await EntityNode.get_by_group_ids(driver, [GROUP]),
        )

    episodes, entities = read(url, reading)
    assert {episode.content for episode in episodes} == {f"{text}: {text}", f"Error: {text}"}
    files = [entity.name for entity in entities if "File" in entity.labels]
    assert files == [events[2].data["paths"][0]]
    error = next(entity for entity in entities if "Error" in entity.labels)
    assert error.attributes["error"] == text[:900]


def test_what_no_text_may_hold_stops_no_batch(writer: GraphWriter, url: str) -> None:
    """NUL and lone surrogates, past the event model that replaces them."""
    strange = event(1, "chat.message", {"role": "user", "text": ""}).model_copy(
        update={"data": {"role": "user", "text": "a\x00b\ud800c"}}
    )
    assert writer.write(GROUP, [strange]) == 1
    episode = read(url, lambda driver: EpisodicNode.get_by_uuid(driver, episode_uuid("e1")))
    assert episode.content == "user: a\ufffdb?c"


def test_large_batches_are_split(writer: GraphWriter, url: str) -> None:
    events = [event(n, "chat.message", {"role": "user", "text": f"{n} " + "word " * 6_000}) for n in range(100)]
    assert sum(len(one.data["text"]) for one in events) > QUERY_CHARACTERS
    assert writer.write(GROUP, events) == 100
    assert {len(part) for part in contents(url)} == {102, 101}


def test_groups_are_graphs_of_their_own(writer: GraphWriter, url: str) -> None:
    writer.write(GROUP, story())
    before = digest(url)
    writer.write("other", [one.model_copy(update={"group": "other"}) for one in story()])
    assert digest(url) == before
    others = read(url, lambda driver: EntityNode.get_by_group_ids(driver, ["other"]), "other")
    mine = read(url, lambda driver: EntityNode.get_by_group_ids(driver, [GROUP]))
    assert {entity.name for entity in others} == {entity.name for entity in mine}
    assert not {entity.uuid for entity in others} & {entity.uuid for entity in mine}
    with server(url) as client:
        assert set(client.list_graphs()) == {GROUP, "other"}
    with pytest.raises(ValueError, match="other groups"):
        writer.write("other", story())


def test_events_without_an_episode_make_no_graph(writer: GraphWriter, url: str) -> None:
    assert writer.write(GROUP, []) == 0
    assert writer.write(GROUP, [event(1, "tool.call", {"tool": "read", "status": "completed"})]) == 0
    with server(url) as client:
        assert client.list_graphs() == []


def test_a_graph_dropped_meanwhile_gets_its_indices_again(writer: GraphWriter, url: str) -> None:
    def indices() -> list[str]:
        rows = query(url, "CALL db.indexes() YIELD label, properties, entitytype RETURN label, properties, entitytype")
        return sorted(f"{row[2]} {row[0]} {sorted(row[1])}" for row in rows)

    writer.write(GROUP, story())
    before = indices()
    assert len(before) == 9
    with server(url) as client:
        client.select_graph(GROUP).delete()
    writer.write(GROUP, story())
    assert indices() == before


# When the server can't


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://ann:hunter2@127.0.0.1:1", "redis://127.0.0.1:1"),
        ("falkor://:hunter2@localhost:1", "falkor://localhost:1"),
        ("unix://:hunter2@/nowhere/graph.sock", "unix:///nowhere/graph.sock"),
        ("unix:///nowhere/graph.sock?password=hunter2", "unix:///nowhere/graph.sock"),
    ],
)
def test_no_server(url: str, address: str) -> None:
    with pytest.raises(GraphUnavailable) as unavailable:
        GraphWriter(url).write(GROUP, story())
    assert unavailable.value.address == address
    assert address in str(unavailable.value)
    assert "hunter2" not in str(unavailable.value)
    # It crosses process borders in Celery.
    assert str(copy(unavailable.value)) == str(unavailable.value)


def test_a_server_that_comes_back_is_found_again() -> None:
    with graph_server("hunter2") as url:
        writer = GraphWriter(url)
        assert writer.write(GROUP, story()) == 15
    with pytest.raises(GraphUnavailable) as unavailable:
        writer.write(GROUP, story())
    assert "hunter2" not in str(unavailable.value)
    with graph_server("hunter2") as again:
        Path(url.partition("@")[2]).parent.mkdir()
        os.link(again.partition("@")[2], url.partition("@")[2])
        assert writer.write(GROUP, story()) == 15
        with pytest.raises(GraphUnavailable, match="AuthenticationError"):
            GraphWriter(again.replace("hunter2", "wrong")).write(GROUP, story())
    writer.close()


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(GraphUnavailable, match="Timeout"):
            GraphWriter(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2).write(GROUP, story())
        assert time.monotonic() - started < 5


def test_a_full_server_is_unavailable_and_not_a_refusal(writer: GraphWriter, url: str) -> None:
    writer.write(GROUP, story()[:3])
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(GraphUnavailable, match="OutOfMemory"):
                writer.write(GROUP, story())
        finally:
            client.config_set("maxmemory", "0")
    assert writer.write(GROUP, story()) == 15


def test_a_refusal_names_the_group(writer: GraphWriter, url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(GROUP, "no graph")
    with pytest.raises(GraphRefused, match=f"graph {GROUP} refused to store indices: .*wrong"):
        writer.write(GROUP, story())
