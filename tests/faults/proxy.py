"""A TCP proxy that does to connections what networks do: cuts, holds up, loses, and garbles.

client ──▶ Proxy ──▶ server
             mode: pass | cut | hold | lose | delay | garble | babble
"""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, Self

#: `pass`    as if it were not there
#: `cut`     each connection is reset after a random number of bytes
#: `hold`    nothing goes through; what was sent meanwhile arrives when the mode ends
#: `lose`    nothing goes through, ever: connections made or used in this mode stay silent for good, and are never closed
#: `delay`   everything takes a random time longer
#: `garble`  the server's answers are random bytes, and now and then look like the beginning of one
#: `babble`  they are bytes that no answer begins with
Mode = Literal["pass", "cut", "hold", "lose", "delay", "garble", "babble"]

#: Most bytes that a connection lives for in mode `cut`.
MOST_BYTES = 20_000
#: Longest delay of a piece of data in mode `delay`, s.
LONGEST_DELAY = 0.2


class Proxy:
    """In front of a server of the loopback interface, in a thread of its own, as long as it is entered."""

    def __init__(self, port: int, seed: int) -> None:
        self._mode: Mode = "pass"
        self._through = asyncio.Event()
        self._through.set()
        #: Where it listens.
        self.port = 0
        #: How many connections were reset, garbled or lost.
        self.hurt = 0
        self._server_port = port
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._loop.call_soon_threadsafe(self._through.clear if mode == "hold" else self._through.set)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set_result(None)
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        ends = [writer]
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            ends.append(server_writer)
            connection = _Connection(self)
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.carry(reader, server_writer, answers=False))
                group.create_task(connection.carry(server_reader, writer, answers=True))
        except* (OSError, _Cut):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.transport.abort()


class _Cut(Exception):
    """This connection ends."""


class _Connection:
    """One client's connection and its counterpart."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._chance = proxy._chance
        self._left = self._chance.randrange(MOST_BYTES)
        self._lost = False

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        proxy = self._proxy
        while data := await source.read(65536):
            if proxy.mode == "lose" and not self._lost:
                self._lost = True
                proxy.hurt += 1
            if self._lost:
                continue
            await proxy._through.wait()
            if proxy.mode == "delay":
                await asyncio.sleep(self._chance.uniform(0, LONGEST_DELAY))
            if proxy.mode in ("garble", "babble") and answers:
                proxy.hurt += 1
                data = self._chance.randbytes(len(data)) if proxy.mode == "garble" else b"?" * len(data)
            if proxy.mode == "cut" and (part := self._share(data)) is not None:
                target.write(part)
                await target.drain()
                proxy.hurt += 1
                raise _Cut
            target.write(data)
            await target.drain()
        raise _Cut

    def _share(self, data: bytes) -> bytes | None:
        """What still gets through before the cut; None if all of it and more does."""
        self._left -= len(data)
        return data[: self._left + len(data)] if self._left < 0 else None
