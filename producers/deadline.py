"""A deadline for a whole exchange with the queue server: looking up its name, connecting, and every byte of the answer.

redis-py's own timeouts start anew with each packet, and looking up a name has none at all: a server that sends a byte
now and then, or a name server that is away, would hold an agent up for as long as they like.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import redis.asyncio
from redis._parsers import _AsyncRESP3Parser
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

#: Where one host's port is reached: address family and socket address.
_Places = list[tuple[int, Any]]
#: Beginning of a list, set or map of a hundred thousand entries or more.
_HUGE = re.compile(rb"[*~>%]\d{6}")


class Clock(threading.local):
    """How long the exchange that this thread is in may still take."""

    end = float("inf")

    def start(self, seconds: float) -> None:
        """An exchange begins, which may take so long."""
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: none is.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        return left


class _Socket:
    """A socket whose every wait ends with the clock, and from which nothing comes that announces a huge answer: hiredis
    makes room for all of a list that is only announced, and a server that lies about its length costs seconds.
    """

    def __init__(self, opened: socket.socket, clock: Clock) -> None:
        self._socket = opened
        self._clock = clock
        #: Whether the socket's timeout was set a moment ago.
        self._set = False

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._limit()
        return self._socket.recv(size, flags)

    def recv_into(self, buffer: bytearray) -> int:
        self._limit()
        size = self._socket.recv_into(buffer)
        if _HUGE.search(buffer, 0, size):
            raise redis.InvalidResponse("what answers is no queue server")
        return size

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._clock.left())
        self._set = True
        self._socket.sendall(data)

    def _limit(self) -> None:
        """Setting a timeout is a system call: the first read after a write waits as long as that one might have."""
        if self._set:
            self._set = False
        elif self._socket.gettimeout() != 0:
            self._socket.settimeout(self._clock.left())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _Tcp(Connection):  # type: ignore[misc]
    def __init__(self, *, clock: Clock, **options: Any) -> None:
        self.clock = clock
        super().__init__(**options)

    def _connect(self) -> Any:
        error: OSError = OSError(f"{self.host} has no address")
        for family, place in lookup(self.host, self.port, self.clock.left):
            opened = socket.socket(family, socket.SOCK_STREAM)
            try:
                opened.settimeout(self.clock.left())
                opened.connect(place)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as found:
                opened.close()
                error = found
            else:
                return self._limited(opened)
        raise error

    def _limited(self, opened: socket.socket) -> Any:
        return _Socket(opened, self.clock)


class _Tls(SSLConnection, _Tcp):  # type: ignore[misc]
    def _limited(self, opened: socket.socket) -> Any:
        return opened  # the handshake needs the socket itself, and ends with its timeout

    def _connect(self) -> Any:
        return _Socket(super()._connect(), self.clock)


class _Unix(UnixDomainSocketConnection):  # type: ignore[misc]
    def __init__(self, *, clock: Clock, **options: Any) -> None:
        self.clock = clock
        super().__init__(**options)

    def _connect(self) -> Any:
        self.socket_connect_timeout = self.clock.left()
        return _Socket(super()._connect(), self.clock)


class _AsyncTcp(redis.asyncio.Connection):  # type: ignore[misc]
    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), **self.place}

    async def _connect(self) -> None:
        error: OSError = OSError(f"{self.host} has no address")
        for _, place in await _lookup_async(self.host, self.port):
            self.place = {"host": place[0], "port": place[1]}
            try:
                await super()._connect()
            except OSError as found:
                error = found
            else:
                return
        raise error


class _AsyncTls(redis.asyncio.SSLConnection, _AsyncTcp):  # type: ignore[misc]
    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), **self.place, "server_hostname": self.host}


def pool(url: str, clock: Clock, **options: Any) -> redis.BlockingConnectionPool:
    """Connections to the server, whose exchanges end with the clock."""
    if url.startswith("unix:"):
        kind: type = _Unix
    else:
        kind = _Tls if url.startswith("rediss:") else _Tcp
    return redis.BlockingConnectionPool.from_url(url, connection_class=kind, clock=clock, **options)


def async_pool(url: str, **options: Any) -> redis.asyncio.BlockingConnectionPool:
    """Connections for asyncio. What limits them is `asyncio.timeout`, around each exchange."""
    # Not hiredis: see `_Socket`.
    options["parser_class"] = _AsyncRESP3Parser
    if not url.startswith("unix:"):
        options["connection_class"] = _AsyncTls if url.startswith("rediss:") else _AsyncTcp
    return redis.asyncio.BlockingConnectionPool.from_url(url, **options)


def lookup(host: str, port: int, left: Callable[[], float]) -> _Places:
    """Where a host is reached.

    Raises:
        OSError: it isn't known.
        TimeoutError: not within the time that is left; the look-up goes on by itself, and is of no use to anybody.
    """
    if numeric := _numeric(host, port):
        return numeric
    found = _looking_up(host, port)
    try:
        places = found.get(timeout=left())
    except Empty:
        raise TimeoutError(f"the name {host} was not found in time") from None
    if isinstance(places, OSError):
        raise places
    return places


async def _lookup_async(host: str, port: int) -> _Places:
    """`lookup` for asyncio. Not by asyncio's own, since it waits for that one before it ends."""
    if numeric := _numeric(host, port):
        return numeric
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def ready() -> None:
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    answer = _looking_up(host, port, ready)
    await done.wait()
    found = answer.get_nowait()
    if isinstance(found, OSError):
        raise found
    return found


def _numeric(host: str, port: int) -> _Places:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (host, port))]


def _looking_up(host: str, port: int, ready: Callable[[], None] = lambda: None) -> SimpleQueue[_Places | OSError]:
    """Look a name up in a thread of its own, which nobody need wait for."""
    found: SimpleQueue[_Places | OSError] = SimpleQueue()

    def look() -> None:
        try:
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.put([(int(place[0]), place[4]) for place in places])
        except (OSError, UnicodeError) as error:
            found.put(error if isinstance(error, OSError) else OSError(f"{host} is no host name"))
        ready()

    threading.Thread(target=look, name="lookup", daemon=True).start()
    return found
