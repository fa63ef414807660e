"""Publishing: events into their group's lane, in order, one round trip for one or for many.

    with Publisher(source="my-agent", group="shop") as publisher:
        publisher.publish({"type": "file.write", "session": "s1", "data": {"path": "src/cart.py"}})

An event is accepted once `publish` has returned; then it will be in the ledger. Nothing here knows of Celery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, OutOfMemoryError, RedisError
from redis.retry import Retry

from memory import lua
from memory.events import Event, EventInvalid, create_encoded, json_object
from producers.address import checked, queue_url, without_password
from producers.group import group_of

#: What may be published: a dictionary (missing id, time, source and group are filled in), an event, or its JSON.
Publishable = Event | dict[str, Any] | str | bytes

#: Most events, and most bytes of them, in one call of the script: longer calls would hold up other clients.
CHUNK_EVENTS = 500
CHUNK_BYTES = 1024 * 1024
#: Most events that one lane may hold before producers are told that it is full.
LANE_EVENTS = 1_000_000
#: Most connections that one publisher opens; more threads or tasks than these take turns.
MOST_CONNECTIONS = 32
#: How long one of them may wait for its turn, s.
WAIT_SECONDS = 20
#: Share of the server's maxmemory above which nothing more is published. At maxmemory Celery itself loses messages.
MEMORY_SHARE = 0.75


class QueueUnavailable(Exception):
    """The queue server can't be used. The message names its address."""


class QueueFull(Exception):
    """The lane or the server's memory is over its mark; nothing was written. Publish again once it has drained."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of publish.lua: events of one group."""

    group: str
    keys: list[str]
    arguments: list[str | bytes | float]


class _Base:
    """What both publishers share: checking events, and laying out the script's calls."""

    def __init__(
        self,
        url: str | None = None,
        *,
        source: str = "python",
        group: str | None = None,
        lane_events: int = LANE_EVENTS,
    ) -> None:
        """
        Args:
            url: of the queue server; default: `MEMLANE_VALKEY_URL`, else the running stack of `MEMLANE_HOME`.
            source: what makes these events, for those that don't say.
            group: the shared memory they belong to, for those that don't say; default: that of the working folder.
            lane_events: most events that the lane may hold.

        Raises:
            producers.address.QueueUnknown: no URL is given and none is found, or it can't be understood.
        """
        self._url = checked(url or queue_url())
        self.source = source
        self.group = group or group_of()
        self._lane_events = lane_events
        #: Address without the password, for messages.
        self.address = without_password(self._url)

    def check(self, event: Publishable) -> Event:
        """The event as it would be published: filled in, checked, normalised, clipped.

        Raises:
            EventInvalid: the message names the field.
        """
        return self._encoded(event)[0]

    def _encoded(self, event: Publishable) -> tuple[Event, bytes]:
        if isinstance(event, Event):
            fields = event.model_dump()
        elif isinstance(event, dict):
            fields = event
        elif isinstance(event, str | bytes):
            fields = json_object(event)
        else:
            raise EventInvalid(f"event: a {type(event).__name__} is none: give a dictionary, JSON, or an Event")
        return create_encoded(fields, source=self.source, group=self.group)

    def _calls(self, events: Iterable[Publishable]) -> tuple[list[str], list[_Call]]:
        """Ids of the events, in the order given, and the calls that publish them."""
        ids: list[str] = []
        by_group: dict[str, list[tuple[Event, bytes]]] = {}
        for number, event in enumerate(events):
            try:
                checked, raw = self._encoded(event)
                by_group.setdefault(checked.group, []).append((checked, raw))
                ids.append(checked.id)
            except EventInvalid as error:
                raise EventInvalid(f"event {number}: {error}" if number else str(error)) from None
        return ids, [self._call(group, chunk) for group, found in by_group.items() for chunk in _chunks(found)]

    def _call(self, group: str, chunk: Sequence[tuple[Event, bytes]]) -> _Call:
        written = dict.fromkeys(path for event, _ in chunk if event.type == "file.write" for path in event.paths)
        return _Call(
            group=group,
            keys=[
                lua.lane(group),
                lua.PENDING,
                lua.BELL,
                lua.captured(group),
                lua.FULL,
                *(lua.dropped(group, path) for path in written),
            ],
            arguments=[group, self._lane_events, MEMORY_SHARE, lua.DROPPED_SECONDS, *(raw for _, raw in chunk)],
        )

    def _accepted(self, call: _Call, answer: bytes) -> None:
        if answer != b"ok":
            what = f"lane of group {call.group}" if answer == b"full lane" else "queue server's memory"
            raise QueueFull(
                f"the {what} at {self.address} is over its mark: see `memlane status`, and publish again later"
            )

    def _unavailable(self, error: RedisError) -> Exception:
        reason = str(error) or type(error).__name__
        if isinstance(error, OutOfMemoryError):
            return QueueFull(f"the queue server at {self.address} has no memory left: see `memlane status`")
        if "MOVED" in reason or "CROSSSLOT" in reason:
            reason = "it is a Cluster; lanes need one primary (replicas and Sentinel are fine)"
        return QueueUnavailable(f"the queue server at {self.address} can't be used: {reason}")


class Publisher(_Base):
    """Publishes from synchronous code. May be shared by threads; each call is one round trip for each 500 events."""

    def __init__(self, url: str | None = None, *, timeout: float = 2.0, **options: Any) -> None:
        """
        Args:
            timeout: seconds to connect, and to wait for an answer.

        The other arguments, and what it raises, are `_Base`'s.
        """
        super().__init__(url, **options)
        self._client = redis.Redis.from_pool(
            redis.BlockingConnectionPool.from_url(self._url, **_connection(timeout, Retry(NoBackoff(), 1, _RETRIED)))
        )

    def publish(self, event: Publishable) -> str:
        """Publish one event.

        Returns:
            Its id.

        Raises:
            EventInvalid: it can't be accepted; the message names the field.
            QueueFull, QueueUnavailable: it was not accepted; the same event may be published again.
        """
        return self.publish_many([event])[-1]

    def publish_many(self, events: Iterable[Publishable]) -> list[str]:
        """Publish events in the order given; those of one group stay in order.

        Returns:
            Their ids.

        Raises:
            EventInvalid: one of them can't be accepted; then none was.
            QueueFull, QueueUnavailable: those after the chunk that failed were not accepted.
        """
        try:
            ids, calls = self._calls(events)
        except EventInvalid:
            self.count_refused()
            raise
        for call in calls:
            self._accepted(call, self._send(call))
        return ids

    def count_refused(self, number: int = 1) -> None:
        """Count events that were refused, so that the books show them. Never fails."""
        try:
            pipeline = self._client.pipeline()
            pipeline.hincrby(lua.captured(self.group), "captured", number)
            pipeline.hincrby(lua.captured(self.group), "refused", number)
            pipeline.execute()
        except RedisError:
            return

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: _Call) -> bytes:
        try:
            answer: bytes = lua.run(self._client, "publish", call.keys, call.arguments)
            return answer
        except RedisError as error:
            raise self._unavailable(error) from error


class AsyncPublisher(_Base):
    """`Publisher` for asyncio."""

    def __init__(self, url: str | None = None, *, timeout: float = 2.0, **options: Any) -> None:
        super().__init__(url, **options)
        retry = redis.asyncio.retry.Retry(NoBackoff(), 1, _RETRIED)
        self._client = redis.asyncio.Redis.from_pool(
            redis.asyncio.BlockingConnectionPool.from_url(self._url, **_connection(timeout, retry))
        )

    async def publish(self, event: Publishable) -> str:
        """As `Publisher.publish`."""
        return (await self.publish_many([event]))[-1]

    async def publish_many(self, events: Iterable[Publishable]) -> list[str]:
        """As `Publisher.publish_many`."""
        try:
            ids, calls = self._calls(events)
        except EventInvalid:
            await self.count_refused()
            raise
        for call in calls:
            self._accepted(call, await self._send(call))
        return ids

    async def count_refused(self, number: int = 1) -> None:
        """As `Publisher.count_refused`."""
        try:
            pipeline = self._client.pipeline()
            pipeline.hincrby(lua.captured(self.group), "captured", number)
            pipeline.hincrby(lua.captured(self.group), "refused", number)
            await pipeline.execute()
        except RedisError:
            return

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, call: _Call) -> bytes:
        try:
            answer: bytes = await lua.run_async(self._client, "publish", call.keys, call.arguments)
            return answer
        except RedisError as error:
            raise self._unavailable(error) from error


#: What a call is repeated after, once: an idle connection may have been closed by a restarted server, and an event that
#: is sent twice changes nothing. Not after a timeout: the caller would wait twice as long as was asked for.
_RETRIED = (ConnectionError,)


def _connection(timeout: float, retry: Any) -> dict[str, Any]:
    """Options of the pool and its connections. Who finds all connections in use waits for one."""
    return {
        "max_connections": MOST_CONNECTIONS,
        "timeout": WAIT_SECONDS,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": retry,
        "health_check_interval": 0,
    }


def _chunks(found: Sequence[tuple[Event, bytes]]) -> Iterator[Sequence[tuple[Event, bytes]]]:
    start = size = 0
    for n, (_, raw) in enumerate(found):
        if n > start and (n - start >= CHUNK_EVENTS or size + len(raw) > CHUNK_BYTES):
            yield found[start:n]
            start, size = n, 0
        size += len(raw)
    yield found[start:]
