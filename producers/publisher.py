"""Publishing: events into their group's lane, in order, one round trip for one or for many.

    with Publisher(source="my-agent", group="shop") as publisher:
        publisher.publish({"type": "file.write", "session": "s1", "data": {"path": "src/cart.py"}})

An event is accepted once `publish` has returned: it is in the lane or, where the queue server can't take it within the
deadline, in this home's spool; then it will be in the ledger. Nothing here knows of Celery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, OutOfMemoryError
from redis.exceptions import TimeoutError as ServerTimeout
from redis.retry import Retry

from memory import lua
from memory.events import Event, EventInvalid, create_encoded, json_object
from producers.address import QueueUnknown, checked, queue_url, without_password
from producers.calls import Call, call_of, calls_of
from producers.deadline import Clock, async_pool, pool
from producers.environment import deadline_seconds, home_of, spool_bytes
from producers.group import group_of
from producers.receipts import Receipt, Receipts
from producers.spool import Spool, SpoolFull

log = logging.getLogger(__name__)

#: What may be published: a dictionary (missing id, time, source and group are filled in), an event, or its JSON.
Publishable = Event | dict[str, Any] | str | bytes

#: Most events that one lane may hold before producers are told that it is full.
LANE_EVENTS = 1_000_000
#: Most connections that one publisher opens; more threads or tasks than these take turns.
MOST_CONNECTIONS = 32
#: Share of the deadline that the queue server may take; the rest is for the spool.
SERVER_SHARE = 0.8


class QueueUnavailable(Exception):
    """The queue server can't be used. The message names its address."""


class QueueFull(Exception):
    """The lane or the server's memory is over its mark; nothing was written. Publish again once it has drained."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """What became of a spool: events sent, events that still wait, and lines that were torn off and are no events."""

    group: str
    sent: int
    waiting: int
    torn: int


@dataclass(frozen=True, slots=True)
class _Server[Client]:
    """The queue server that is published to."""

    url: str
    address: str
    client: Client
    receipts: Receipts


class _Base[Client](ABC):
    """What both publishers share: checking events, laying out calls, and the spool."""

    def __init__(
        self,
        url: str | None = None,
        *,
        source: str = "python",
        group: str | None = None,
        deadline: float | None = None,
        spool: bool = True,
        home: Path | None = None,
        lane_events: int = LANE_EVENTS,
    ) -> None:
        """
        Args:
            url: of the queue server; default: `MEMLANE_VALKEY_URL`, else the running stack of `MEMLANE_HOME`, which is
                looked up again while it is away.
            source: what makes these events, for those that don't say.
            group: the shared memory they belong to, for those that don't say; default: that of the working folder.
            deadline: seconds that one call of the server, with up to 500 events, may take in all, looking up its name
                included; default: `MEMLANE_PUBLISH_DEADLINE_MS`, else 50 ms.
            spool: put events that the server can't take now into this home's spool. If not, what keeps it from taking
                them is raised: for imports, which can be done again.
            home: where spool and receipts are; default: `MEMLANE_HOME`, else ~/.memlane.
            lane_events: most events that the lane may hold.

        Raises:
            producers.address.QueueUnknown: the URL can't be understood; or none is given, none is found, and there has
                never been a stack in this home, so that nobody would ever send what is spooled.
            producers.environment.EnvironmentInvalid
        """
        self.home = home or home_of()
        self._given = url
        self._server: _Server[Client] | None = None
        self._spooling = spool
        self._deadline = deadline if deadline is not None else deadline_seconds()
        self._spool_bytes = spool_bytes()
        self._spools: dict[str, Spool] = {}
        self._lane_events = lane_events
        self.source = source
        self.group = group or group_of()
        #: Events that went into the spool, and why the last of them did.
        self.spooled = 0
        self.problem = ""
        try:
            self._connected()
        except QueueUnknown as error:
            if url or not spool or not self.home.is_dir():
                raise
            self.problem = str(error)

    def check(self, event: Publishable) -> Event:
        """The event as it would be published: filled in, checked, normalised, clipped.

        Raises:
            EventInvalid: the message names the field.
        """
        return self._encoded(event)[0]

    @property
    def address(self) -> str:
        """Address of the queue server without its password, for messages."""
        return self._server.address if self._server else "an unknown address"

    @abstractmethod
    def _client(self, url: str) -> Client:
        """A client of the server at this URL."""

    def _connected(self) -> _Server[Client]:
        """The server, looked up where it is not known.

        Raises:
            QueueUnknown: none runs.
        """
        if self._server is None:
            url = checked(self._given or queue_url())
            address = without_password(url)
            self._server = _Server(url, address, self._client(url), Receipts(self.home, address))
        return self._server

    def _look_again(self) -> None:
        """Where the URL was looked up and the server is away: it may have been started anew, elsewhere."""
        try:
            if self._given is None and self._server is not None and self._server.url != queue_url():
                self._server = None
        except QueueUnknown:
            return

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

    def _calls(self, events: Iterable[Publishable]) -> tuple[list[str], list[Call]]:
        """Ids of the events, in the order given, and the calls that publish them."""
        checked: list[tuple[Event, bytes]] = []
        for number, event in enumerate(events):
            try:
                checked.append(self._encoded(event))
            except EventInvalid as error:
                raise EventInvalid(f"event {number}: {error}" if number else str(error)) from None
        return [event.id for event, _ in checked], _by_group(checked)

    def _receipt(self, call: Call, answer: Any) -> Receipt:
        """What the server answered to publish.lua.

        Raises:
            QueueFull
            QueueUnavailable: it is no answer of publish.lua's.
        """
        if isinstance(answer, list) and len(answer) == 3 and answer[0] == b"ok":
            _, generation, count = answer
            if isinstance(generation, bytes) and isinstance(count, int):
                return Receipt(generation.decode("ascii", "replace"), count)
        if answer in ([b"full lane"], [b"full memory"]):
            full = f"lane of group {call.group}" if answer == [b"full lane"] else "queue server's memory"
            raise QueueFull(
                f"the {full} at {self.address} is over its mark: see `memlane status`, and publish again later"
            )
        raise QueueUnavailable(f"what answers at {self.address} is no queue server of Memlane's")

    def _unavailable(self, error: Exception, seconds: float) -> Exception:
        if isinstance(error, QueueFull | QueueUnavailable | QueueUnknown):
            return error
        reason = str(error) or type(error).__name__
        if isinstance(error, OutOfMemoryError):
            return QueueFull(f"the queue server at {self.address} has no memory left: see `memlane status`")
        if isinstance(error, ServerTimeout | TimeoutError):
            reason = f"no answer within {seconds * 1000:,.0f} ms"
        elif "MOVED" in reason or "CROSSSLOT" in reason:
            reason = "it is a Cluster; lanes need one primary (replicas and Sentinel are fine)"
        return QueueUnavailable(f"the queue server at {self.address} can't be used: {reason}")

    def _spool(self, group: str) -> Spool:
        if group not in self._spools:
            self._spools[group] = Spool(self.home, group, self._spool_bytes)
        return self._spools[group]

    def _put_aside(self, spool: Spool, call: Call, error: Exception) -> None:
        """Put events that the server could not take into the spool.

        Raises:
            SpoolFull
        """
        spool.pause()
        self._look_again()
        self.problem = str(error)
        log.warning("events are spooled group=%s: %s", call.group, error)
        self._put_behind(spool, call)

    def _put_behind(self, spool: Spool, call: Call) -> None:
        try:
            spool.append(call.events)
        except SpoolFull as error:
            raise SpoolFull(f"{error}; {self.problem}" if self.problem else str(error)) from None
        self.spooled += len(call.events)

    def _pausing(self, spool: Spool, error: Exception) -> None:
        """The server could not take what waits in the spool: it stays there."""
        spool.pause()
        self._look_again()
        self.problem = str(error)


class Publisher(_Base[redis.Redis]):
    """Publishes from synchronous code. May be shared by threads; each call is one round trip for each 500 events."""

    def __init__(self, url: str | None = None, **options: Any) -> None:
        self._clock = Clock()
        super().__init__(url, **options)

    def publish(self, event: Publishable) -> str:
        """Publish one event.

        Returns:
            Its id.

        Raises:
            EventInvalid: it can't be accepted; the message names the field.
            SpoolFull: neither the server nor the spool can take it; the same event may be published again.
            QueueFull, QueueUnavailable: without a spool: it was not accepted; it may be published again.
        """
        return self.publish_many([event])[-1]

    def publish_many(self, events: Iterable[Publishable]) -> list[str]:
        """Publish events in the order given; those of one group stay in order.

        Returns:
            Their ids.

        Raises:
            EventInvalid: one of them can't be accepted; then none was.
            SpoolFull, QueueFull, QueueUnavailable: as `publish`; those before the call that failed were accepted.
        """
        try:
            ids, calls = self._calls(events)
        except EventInvalid:
            self.count_refused()
            raise
        for call in calls:
            self._deliver(call)
        return ids

    def publish_encoded(self, events: Iterable[tuple[Event, bytes]]) -> None:
        """Publish events with their JSON, as `create_encoded` makes them. They are taken as they are.

        Raises:
            SpoolFull, QueueFull, QueueUnavailable: as `publish_many`.
        """
        for call in _by_group(events):
            self._deliver(call)

    def count_refused(self, number: int = 1) -> None:
        """Count events that were refused, so that the books show them. Never fails."""
        try:
            self._clock.start(self._deadline * SERVER_SHARE)
            pipeline = self._connected().client.pipeline()
            pipeline.hincrby(lua.captured(self.group), "refused", number)
            pipeline.sadd(lua.GROUPS, self.group)
            pipeline.execute()
        except Exception as error:
            log.warning("refused events are not counted group=%s count=%s: %s", self.group, number, error)

    def flush(self, group: str, seconds: float, progress: Callable[[int], None] = lambda sent: None) -> Flushed:
        """Send what waits in this home's spool of a group.

        Args:
            seconds: how long to go on.
            progress: told how many events were sent just now.

        Raises:
            QueueUnknown, QueueUnavailable, QueueFull: what was not sent waits on.
            OSError: the spool can't be read.
        """
        spool = self._spool(group)
        end = time.monotonic() + seconds
        sent = torn = 0
        with spool.sending() as sending:
            while sending and time.monotonic() < end and (chunk := sending.next()):
                self._publish(call_of(group, sending.id, chunk), end - time.monotonic())
                sending.sent(chunk)
                sent += len(chunk.events)
                progress(len(chunk.events))
            torn = sending.torn if sending else 0
        if torn:
            log.warning("lines of the spool were torn off and are no events group=%s count=%s", group, torn)
        return Flushed(group, sent, spool.waiting().events, torn)

    def close(self) -> None:
        if self._server:
            self._server.client.close()
            self._server.receipts.close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _client(self, url: str) -> redis.Redis:
        retry = Retry(NoBackoff(), 1, _RETRIED)
        return redis.Redis.from_pool(pool(url, self._clock, **_connection(self._deadline, retry)))

    def _deliver(self, call: Call) -> None:
        seconds = self._deadline * SERVER_SHARE
        if not self._spooling:
            self._publish(call, self._deadline)
            return
        spool = self._spool(call.group)
        if not spool.holds_events():
            try:
                self._publish(call, seconds)
            except (QueueUnavailable, QueueFull, QueueUnknown) as error:
                self._put_aside(spool, call, error)
            return
        self._put_behind(spool, call)
        if not spool.paused():
            try:
                self.flush(call.group, seconds)
            except (QueueUnavailable, QueueFull, QueueUnknown, OSError) as error:
                self._pausing(spool, error)

    def _publish(self, call: Call, seconds: float) -> None:
        """One round trip.

        Raises:
            QueueUnavailable, QueueFull, QueueUnknown
        """
        server = self._connected()
        self._clock.start(seconds)
        try:
            answer = lua.run(server.client, "publish", call.keys, call.arguments(self._lane_events))
            receipt = self._receipt(call, answer)
            known: list[Receipt] = []
            while not server.receipts.keep(call.group, receipt, known):
                known = server.receipts.on_disk(call.group)
                for earlier in known:
                    lua.run(server.client, "report", *_report(call.group, earlier))
        except Exception as error:
            # Whatever it is: what answers may be no queue server at all.
            raise self._unavailable(error, seconds) from error


class AsyncPublisher(_Base[redis.asyncio.Redis]):
    """`Publisher` for asyncio. Writing to the spool is done at once, since it takes microseconds."""

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
            await self._deliver(call)
        return ids

    async def count_refused(self, number: int = 1) -> None:
        """As `Publisher.count_refused`."""
        try:
            async with asyncio.timeout(self._deadline * SERVER_SHARE):
                pipeline = self._connected().client.pipeline()
                pipeline.hincrby(lua.captured(self.group), "refused", number)
                pipeline.sadd(lua.GROUPS, self.group)
                await pipeline.execute()
        except Exception as error:
            log.warning("refused events are not counted group=%s count=%s: %s", self.group, number, error)

    async def flush(self, group: str, seconds: float) -> Flushed:
        """As `Publisher.flush`."""
        spool = self._spool(group)
        end = time.monotonic() + seconds
        sent = torn = 0
        with spool.sending() as sending:
            while sending and time.monotonic() < end and (chunk := sending.next()):
                await self._publish(call_of(group, sending.id, chunk), end - time.monotonic())
                sending.sent(chunk)
                sent += len(chunk.events)
            torn = sending.torn if sending else 0
        return Flushed(group, sent, spool.waiting().events, torn)

    async def aclose(self) -> None:
        if self._server:
            await self._server.client.aclose()
            self._server.receipts.close()
            self._server = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _client(self, url: str) -> redis.asyncio.Redis:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 1, _RETRIED)
        return redis.asyncio.Redis.from_pool(async_pool(url, **_connection(self._deadline, retry)))

    async def _deliver(self, call: Call) -> None:
        seconds = self._deadline * SERVER_SHARE
        if not self._spooling:
            await self._publish(call, self._deadline)
            return
        spool = self._spool(call.group)
        if not spool.holds_events():
            try:
                await self._publish(call, seconds)
            except (QueueUnavailable, QueueFull, QueueUnknown) as error:
                self._put_aside(spool, call, error)
            return
        self._put_behind(spool, call)
        if not spool.paused():
            try:
                await self.flush(call.group, seconds)
            except (QueueUnavailable, QueueFull, QueueUnknown, OSError) as error:
                self._pausing(spool, error)

    async def _publish(self, call: Call, seconds: float) -> None:
        server = self._connected()
        try:
            async with asyncio.timeout(seconds):
                answer = await lua.run_async(server.client, "publish", call.keys, call.arguments(self._lane_events))
                receipt = self._receipt(call, answer)
                known: list[Receipt] = []
                while not server.receipts.keep(call.group, receipt, known):
                    known = server.receipts.on_disk(call.group)
                    for earlier in known:
                        await lua.run_async(server.client, "report", *_report(call.group, earlier))
        except Exception as error:
            raise self._unavailable(error, seconds) from error


#: What a call is repeated after, once: an idle connection may have been closed by a restarted server, and an event that
#: is sent twice changes nothing. Not after a timeout: the caller would wait twice as long as was asked for.
_RETRIED = (ConnectionError,)


def _by_group(events: Iterable[tuple[Event, bytes]]) -> list[Call]:
    """The calls that publish these events; those of one group stay in order."""
    found: dict[str, list[tuple[Event, bytes]]] = {}
    for event, raw in events:
        found.setdefault(event.group, []).append((event, raw))
    return [call for group, some in found.items() for call in calls_of(group, some)]


def _connection(seconds: float, retry: Any) -> dict[str, Any]:
    """Options of the pool and its connections. Who finds all connections in use waits for one."""
    return {
        "max_connections": MOST_CONNECTIONS,
        "timeout": seconds,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": retry,
        "health_check_interval": 0,
    }


def _report(group: str, receipt: Receipt) -> tuple[list[str], list[object]]:
    """Keys and arguments of report.lua, for a receipt alone."""
    keys = [lua.captured(group), lua.spools(group), lua.BELL]
    return keys, [group, receipt.generation, receipt.count, "", 0]
