"""Writes what events say into FalkorDB, in Graphiti's own schema, in bulk and without an LLM.

Each group is a graph (a FalkorDB database) named after it. A batch is a handful of UNWIND queries, in an order that
makes any prefix of them harmless: entities, facts, episodes, mentions. Everything is found by its uuid first, so a
batch that is written again, wholly or after half of it was lost, changes nothing that is there.

The schema is that of graphiti-core 0.31 (`graphiti_core.models`), the indices come from `graphiti_core.graph_queries`.
No vectors are written: Graphiti's BM25 searches read the graph, and one that embeds adds its own.
"""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from falkordb import FalkorDB
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, ResponseError, TimeoutError
from redis.retry import Retry

from memory.graph.facts import Memory, mention_uuid, remember
from memory.graph.forgetting import Remaining, Removed, forget
from memory.graph.kinds import Flat

if TYPE_CHECKING:
    from memory.events import Event

type Row = dict[str, Any]

#: Most characters of text in one query; above it, a batch is split. FalkorDB parses the whole of a query at once.
QUERY_CHARACTERS = 2_000_000

#: An entity is created once. Seen later, what is newer is merged in, what is older only fills gaps: so it doesn't
#: matter which of two batches is written again. Properties that others gave it (summary, embedding) stay.
ENTITIES = """
UNWIND $rows AS row
MERGE (n:Entity {uuid: row.uuid})
ON CREATE SET n:%s, n.name = row.name, n.group_id = $group, n.summary = '', n.created_at = $now
WITH n, row, properties(n) AS known
SET n += row.attributes
SET n += CASE WHEN known.seen_at >= row.attributes.seen_at THEN known ELSE {} END
"""

#: MERGE would compare all facts between two entities, thousands for a busy session; the index on uuid needs one look.
FACTS = """
UNWIND $rows AS row
OPTIONAL MATCH ()-[known:RELATES_TO {uuid: row.uuid}]->()
WITH row, known WHERE known IS NULL
MATCH (source:Entity {uuid: row.source})
MATCH (target:Entity {uuid: row.target})
CREATE (source)-[e:RELATES_TO]->(target)
SET e = row.properties, e.group_id = $group, e.created_at = $now
"""

#: `entity_edges` are the uuids of the facts that the episode tells.
EPISODES = """
UNWIND $rows AS row
MERGE (n:Episodic {uuid: row.uuid})
ON CREATE SET n += row.properties, n.group_id = $group, n.created_at = $now
"""

MENTIONS = """
UNWIND $rows AS row
MATCH (episode:Episodic {uuid: row.episode})
MATCH (entity:Entity {uuid: row.entity})
MERGE (episode)-[e:MENTIONS]->(entity)
ON CREATE SET e.uuid = row.uuid, e.group_id = $group, e.created_at = $now
"""

#: Answers by which a server says that it can't write now, though the query is well.
_NOT_NOW = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "Max pending queries exceeded")


#: Answers to the making of an index that is there.
_ALREADY_INDEXED = ("already indexed", "Stopwords are already set")


class GraphUnavailable(Exception):
    """The graph server can't be used now: nothing is wrong with the events, write them again later."""

    def __init__(self, address: str, reason: str) -> None:
        """`address` without user and password."""
        super().__init__(address, reason)
        self.address, self.reason = address, reason

    def __str__(self) -> str:
        return f"graph server {self.address} can't be used now ({self.reason}): see that it runs, and MEMLANE_GRAPH_URL"


class GraphRefused(Exception):
    """The graph server runs and refused a query. `reason` holds none of the query's parameters."""

    def __init__(self, group: str, kind: str, reason: str) -> None:
        super().__init__(group, kind, reason)
        self.group, self.kind, self.reason = group, kind, reason

    def __str__(self) -> str:
        return f"graph {self.group} refused to store {self.kind}: {self.reason}"


class GraphWriter:
    """Writes batches of events. One a process; for one thread at a time. Connects when it first writes."""

    def __init__(self, url: str, *, timeout: float = 30.0, connect_timeout: float = 2.0, groups: int = 1_000) -> None:
        """
        Args:
            url: `unix:///path/to.sock`, `redis://[user:password@]host:port`, `falkor://` (the same), or
                `rediss://`, `falkors://` for TLS.
            timeout: seconds that one query may take.
            connect_timeout: seconds that connecting may take.
            groups: of how many groups to remember that their indices exist.
        """
        self._url = url
        self._timeouts = {"socket_timeout": timeout, "socket_connect_timeout": connect_timeout}
        self._groups = groups
        self._indexed: OrderedDict[str, None] = OrderedDict()
        self._server: FalkorDB | None = None

    def write(self, group: str, events: Sequence[Event]) -> int:
        """Write one batch, in the order given. Writing it again changes nothing.

        Returns:
            How many episodes of the batch are now in the graph; events of kinds that become none don't count.

        Raises:
            GraphUnavailable: the server is away, full or read-only; part of the batch may have been written.
            GraphRefused: the server can't make sense of what it was sent.
            ValueError: an event is of another group.
        """
        if any(event.group != group for event in events):
            raise ValueError(f"a batch for group {group} holds events of other groups")
        memories = {memory.episode.uuid: memory for event in events if (memory := remember(event))}
        if not memories:
            return 0
        self.tell(group, memories.values())
        return len(memories)

    def forget(
        self,
        group: str,
        ids: Collection[str],
        remaining: Remaining,
        progress: Callable[[int], object] = lambda events: None,
    ) -> Removed:
        """Take what events said out of the graph: see `memory.graph.forgetting`. May be repeated; what was done before
        an error stays done.

        Args:
            ids: of the events.
            remaining: finds the group's other events: see there.
            progress: told how many events were taken out just now.

        Raises:
            GraphUnavailable, GraphRefused
        """
        with self._reached():
            return forget(self, group, ids, remaining, progress) if self.exists(group) else Removed(0, 0, 0)

    def drop(self, group: str) -> None:
        """Delete a group's graph, whole.

        Raises:
            GraphUnavailable
        """
        with self._reached():
            self._connection().unlink(group, _telemetry(group))
        self._indexed.pop(group, None)

    def exists(self, group: str) -> bool:
        """Whether the group has a graph.

        Raises:
            GraphUnavailable
        """
        with self._reached():
            return bool(self._connection().exists(group))

    def rows(self, group: str, query: str, parameters: Mapping[str, object] | None = None) -> list[list[Any]]:
        """What a query finds.

        Raises:
            GraphUnavailable, GraphRefused
        """
        with self._reached():
            self._connection()
            assert self._server is not None
            graph = self._server.select_graph(group)
            with _told(self.address, group, "a question"):
                found: list[list[Any]] = graph.query(_cypher(query, parameters or {}).decode()).result_set
            return found

    def tell(self, group: str, memories: Iterable[Memory], *, episodes: bool = True) -> None:
        """Write what events say, or a part of it.

        Args:
            episodes: with the episodes and their mentions; else only entities and facts.

        Raises:
            GraphUnavailable, GraphRefused
        """
        with self._reached():
            self._ensure_indices(group)
            now = _iso(datetime.now(UTC))
            for kind, query, rows in _queries(memories, episodes=episodes):
                for some in _slices(rows):
                    self._query(group, kind, query, {"rows": some, "group": group, "now": now})

    def rewrite_log(self, group: str) -> bool:
        """Have the server write its log anew, without what was deleted in a group, and without the queries that it may
        have noted.

        Returns:
            Whether it does: not where it is just doing so, or does not allow it.

        Raises:
            GraphUnavailable
        """
        with self._reached():
            self._connection().unlink(_telemetry(group))
            try:
                self._connection().bgrewriteaof()
            except ResponseError:
                return False
            return True

    def close(self) -> None:
        """Let go of the connections; writing again makes new ones."""
        if self._server is not None:
            self._server.connection.connection_pool.disconnect()
            self._server = None

    @property
    def address(self) -> str:
        """Where the server is, without user and password."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _connection(self) -> redis.Redis:
        if self._server is None:
            # Of all commands it is safe to send these twice: once more heals the connections a restart has cut.
            retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
            self._server = FalkorDB.from_url(self._url, retry=retry, **self._timeouts)
        connection: redis.Redis = self._server.connection
        return connection

    def _ensure_indices(self, group: str) -> None:
        # A graph may have been dropped since (rebuilt, forgotten): without indices every MERGE would scan it all.
        if group in self._indexed and self._connection().exists(group):
            self._indexed.move_to_end(group)
            return
        for query in _index_queries():
            try:
                self._query(group, "indices", query, {})
            except GraphRefused as refused:
                if not any(known in refused.reason for known in _ALREADY_INDEXED):
                    raise
        self._indexed[group] = None
        if len(self._indexed) > self._groups:
            self._indexed.popitem(last=False)

    def _query(self, group: str, kind: str, query: str, parameters: Mapping[str, object]) -> None:
        with _told(self.address, group, kind):
            run: Callable[..., object] = self._connection().execute_command
            run("GRAPH.QUERY", group, _cypher(query, parameters), "--compact")

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionError, TimeoutError, OutOfMemoryError, ReadOnlyError, OSError) as error:
            raise GraphUnavailable(self.address, type(error).__name__) from error


@contextmanager
def _told(address: str, group: str, kind: str) -> Iterator[None]:
    """What the server answers to a query that it does not run, as an error without what events hold."""
    try:
        yield
    except (OutOfMemoryError, ReadOnlyError):
        raise
    except ResponseError as error:
        if str(error).startswith(_NOT_NOW):
            raise GraphUnavailable(address, str(error).split(maxsplit=1)[0]) from None
        # FalkorDB repeats the query, and with it what events hold, after `errCtx`.
        raise GraphRefused(group, kind, str(error).partition("errCtx")[0].strip()[:200]) from None


def _cypher(query: str, parameters: Mapping[str, object]) -> bytes:
    """A query with its parameters in front of it, as FalkorDB takes them: as literals.

    Two characters can't be sent at all, escaped or not: NUL, which ends the query, and lone surrogates, which are
    no UTF-8. The event model replaces both; a text that got round it must not stop a lane.
    """
    header = " ".join(f"{name}={_literal(value)}" for name, value in parameters.items())
    return f"CYPHER {header} {query}".replace("\x00", "\ufffd").encode("utf-8", "replace")


def _literal(value: object) -> str:
    """A Cypher literal. The client's own function writes the same in twice the time, a tenth of that of a batch."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ",".join([f"`{name}`:{_literal(item)}" for name, item in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_literal(item) for item in value]) + "]"
    return "null" if value is None else repr(value)


def _telemetry(group: str) -> str:
    """Stream in which FalkorDB notes the last queries of a graph, with all that they hold, unless it was started with
    `CMD_INFO no`."""
    return f"telemetry{{{group}}}"


def _queries(memories: Iterable[Memory], *, episodes: bool) -> Iterator[tuple[str, str, list[Row]]]:
    """What is written of a batch, in this order: what kind of thing, the query, its rows."""
    memories = list(memories)
    for label, rounds in _entities(memories).items():
        for entities in rounds:
            yield f"{label} entities", ENTITIES % label, list(entities.values())
    yield "facts", FACTS, _facts(memories)
    if not episodes:
        return
    yield "episodes", EPISODES, [_episode(memory) for memory in memories]
    yield (
        "mentions",
        MENTIONS,
        [
            {
                "uuid": mention_uuid(memory.episode.uuid, entity),
                "episode": memory.episode.uuid,
                "entity": entity,
            }
            for memory in memories
            for entity in memory.mentioned
        ],
    )


def _entities(memories: Iterable[Memory]) -> dict[str, list[dict[str, Row]]]:
    """By label, in rounds: one row an entity by its uuid, all that the batch tells of it merged as `ENTITIES` merges.

    What stays of two events that tell different things of an entity also depends on what the graph knows of it. So the
    second one waits for the next round, and the graph does not depend on where a batch ends.
    """
    found: dict[str, list[dict[str, Row]]] = {}
    rounds: dict[str, int] = {}
    for memory in memories:
        seen_at = _iso(memory.episode.valid_at)
        for entity in memory.entities:
            of_label = found.setdefault(entity.label, [])
            number = rounds.setdefault(entity.uuid, 0)
            row = of_label[number].get(entity.uuid) if number < len(of_label) else None
            if row is not None:
                known = row["attributes"]
                latest = max(known["seen_at"], seen_at)
                if known == {**entity.attributes, "seen_at": known["seen_at"]}:
                    known["seen_at"] = latest
                    continue
                if latest == known["seen_at"] and known == {**known, **entity.attributes}:
                    continue
                number = rounds[entity.uuid] = number + 1
            if number == len(of_label):
                of_label.append({})
            told: dict[str, Flat] = {**entity.attributes, "seen_at": seen_at}
            of_label[number][entity.uuid] = {"uuid": entity.uuid, "name": entity.name, "attributes": told}
    return found


def _facts(memories: Iterable[Memory]) -> list[Row]:
    rows: dict[str, Row] = {}
    for memory in memories:
        for fact in memory.facts:
            if fact.uuid in rows:
                continue  # A lasting fact is told by the first episode that tells it.
            valid_at = _iso(fact.valid_at)
            properties = {
                **fact.attributes,
                "uuid": fact.uuid,
                "name": fact.relation,
                "fact": fact.sentence,
                "episodes": [memory.episode.uuid],
                "valid_at": valid_at,
                "reference_time": valid_at,
            }
            rows[fact.uuid] = {
                "uuid": fact.uuid,
                "source": fact.source,
                "target": fact.target,
                "properties": properties,
            }
    return list(rows.values())


def _episode(memory: Memory) -> Row:
    episode = memory.episode
    properties = {
        **episode.attributes,
        "name": episode.name,
        "content": episode.text,
        "source": episode.source,
        "source_description": episode.source_description,
        "valid_at": _iso(episode.valid_at),
        "entity_edges": [fact.uuid for fact in memory.facts],
    }
    return {"uuid": episode.uuid, "properties": properties}


def _slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in runs of at most `QUERY_CHARACTERS` of episode text; a longer one goes alone."""
    start = size = 0
    for index, row in enumerate(rows):
        weight = len(row.get("properties", {}).get("content", "")) + 500
        if size and size + weight > QUERY_CHARACTERS:
            yield rows[start:index]
            start, size = index, 0
        size += weight
    if start < len(rows):
        yield rows[start:]


def _iso(time: datetime) -> str:
    """A time as Graphiti stores it in FalkorDB: ISO 8601 in UTC, so that text order is time order."""
    return time.astimezone(UTC).isoformat()


@cache
def _index_queries() -> list[str]:
    """Graphiti's own indices. Imported late: it takes a second, and only workers of `episodes` need it."""
    os.environ["GRAPHITI_TELEMETRY_ENABLED"] = "false"
    os.environ.setdefault("EMBEDDING_DIM", "1024")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Pydantic, about a model of Graphiti's
        from graphiti_core.driver.driver import GraphProvider
        from graphiti_core.graph_queries import get_fulltext_indices, get_range_indices

    # Range indices first, as in Graphiti's driver: range lookups fail where full-text came first.
    return [*get_range_indices(GraphProvider.FALKORDB), *get_fulltext_indices(GraphProvider.FALKORDB)]
