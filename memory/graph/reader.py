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
MATCH (:Entity {uuid: uuid})-[e:RELATES_TO]-(:Entity)
WITH e.fact AS fact, e.valid_at AS since, e.invalid_at AS until
WHERE since <= $end AND ($as_of = '' OR until IS NULL OR until > $as_of)
RETURN fact, max(since) AS since, max(until) ORDER BY since DESC LIMIT $limit
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

    def facts(self, group: str, entities: Sequence[str], as_of: int | None, limit: int) -> list[Fact]:
        """Facts from and to entities (uuids), each once, newest first.

        Args:
            as_of: ms since 1970: only what was known, and still true, then.

        Raises:
            FactsUnavailable: the server is away, or does not answer in time.
        """
        if time.monotonic() < self._away_until:
            raise FactsUnavailable
        then = datetime.fromtimestamp(as_of / 1000, UTC).isoformat() if as_of is not None else ""
        parameters = {"entities": list(entities), "end": then or _NEVER, "as_of": then, "limit": limit}
        try:
            graph = self._connection().select_graph(group)
            rows = graph.ro_query(_FACTS, parameters, timeout=round(self._timeout * 1000)).result_set
        except ResponseError as error:
            if _NO_GRAPH in str(error):
                return []
            self._rest()
            raise FactsUnavailable from error
        except (RedisError, OSError) as error:
            self._rest()
            raise FactsUnavailable from error
        return [Fact(str(fact), _milliseconds(since), _milliseconds(until)) for fact, since, until in rows]

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
