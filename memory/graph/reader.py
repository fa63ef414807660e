"""Reads facts from the knowledge graph: one hop from things that are known by name. Without Graphiti, which takes a
second to import; a question does not wait for a graph that is away or slow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from falkordb import FalkorDB
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError
from redis.retry import Retry

from memory.recall.facts import FactsUnavailable
from memory.recall.packing import Fact

#: How long a question waits for the graph, seconds; and how long a graph that was away is not asked again.
TIMEOUT_SECONDS = 0.1
REST_SECONDS = 5.0

#: A file that is written all day has thousands of facts that say the same; the newest of each is enough. The times are
#: looked at behind WITH: before it FalkorDB would go by its index on them, which finds nothing from an entity's side.
_FACTS = """
UNWIND $entities AS uuid
MATCH (n:Entity {uuid: uuid})-[e:RELATES_TO]-(:Entity)
WITH e.fact AS fact, e.valid_at AS since, e.invalid_at AS until, n.name AS about
WHERE since <= $end AND ($as_of = '' OR until IS NULL OR until > $as_of)
RETURN fact, max(since) AS since, max(until), min(about) ORDER BY since DESC LIMIT $limit
"""
#: Without what is in nearly everything that was done (who did it), and what recall knows of the events themselves. The
#: label of `n` is left out: with it FalkorDB begins with all entities, and takes a hundred times as long.
_MENTIONED = """
MATCH (e:Episodic) WHERE e.uuid IN $episodes
MATCH (e)-[:MENTIONS]->(n)
WHERE none(label IN labels(n) WHERE label IN ['Session', 'Agent', 'Tool', 'File', 'Commit', 'Checkpoint'])
RETURN DISTINCT n.uuid, n.name LIMIT $limit
"""
#: Above any time as it is stored.
_NEVER = "9999"
#: What FalkorDB says of a group that has no graph yet.
_NO_GRAPH = "empty key"


class GraphReader:
    """One process's connection to the graph server, made on first use."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        """`url` as `GraphWriter`'s."""
        self._url, self._timeout = url, timeout
        self._server: FalkorDB | None = None
        self._away_until = 0.0

    def mentioned(self, group: str, episodes: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """Things that episodes (uuids) mention, by uuid and name: errors, tasks, and what a model has found in prose.

        Raises:
            FactsUnavailable: the server is away, or does not answer in time.
        """
        rows = self._rows(group, _MENTIONED, {"episodes": list(episodes), "limit": limit})
        return [(str(uuid), str(name)) for uuid, name in rows]

    def facts(self, group: str, entities: Sequence[str], as_of: int | None, limit: int) -> list[Fact]:
        """Facts from and to entities (uuids), each once, newest first.

        Args:
            as_of: ms since 1970: only what was known, and still true, then.

        Raises:
            FactsUnavailable: the server is away, or does not answer in time.
        """
        then = datetime.fromtimestamp(as_of / 1000, UTC).isoformat() if as_of is not None else ""
        parameters = {"entities": list(entities), "end": then or _NEVER, "as_of": then, "limit": limit}
        rows = self._rows(group, _FACTS, parameters)
        return [
            Fact(str(fact), _milliseconds(since), _milliseconds(until), str(about))
            for fact, since, until, about in rows
        ]

    def _rows(self, group: str, query: str, parameters: dict[str, object]) -> list[list[Any]]:
        """What a query finds; nothing in a group that has no graph yet."""
        if time.monotonic() < self._away_until:
            raise FactsUnavailable
        try:
            graph = self._connection().select_graph(group)
            found: list[list[Any]] = graph.ro_query(query, parameters, timeout=round(self._timeout * 1000)).result_set
        except ResponseError as error:
            if _NO_GRAPH in str(error):
                return []
            self._rest()
            raise FactsUnavailable from error
        except (RedisError, OSError) as error:
            self._rest()
            raise FactsUnavailable from error
        return found

    def close(self) -> None:
        """Let go of the connection; asking again makes a new one."""
        if self._server is not None:
            self._server.connection.connection_pool.disconnect()
            self._server = None

    def _rest(self) -> None:
        self._away_until = time.monotonic() + REST_SECONDS

    def _connection(self) -> FalkorDB:
        if self._server is None:
            # Once more, since a restart of the server cuts connections.
            retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
            timeouts = {"socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}
            self._server = FalkorDB.from_url(self._url, retry=retry, **timeouts)
        return self._server


def _milliseconds(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return round(datetime.fromisoformat(str(value)).timestamp() * 1000)
    except ValueError:
        return None
