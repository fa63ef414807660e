"""Over streamable HTTP, on the loopback interface: for who has the token, and no web page.

A page in a browser of this machine can reach what listens here, also under a name of its own (DNS rebinding): the SDK
refuses a Host or Origin that is not the loopback's.
"""

from __future__ import annotations

import hmac
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from ops.mcp.server import server
from ops.mcp.tools import Tools
from producers.environment import private_folder

HOST, PATH = "127.0.0.1", "/mcp"
#: The token's file in the home.
TOKEN_FILE = "mcp.token"  # noqa: S105 - the name of a file
#: How long a stop waits for answers that are under way, s; streams that clients keep open would never end.
_STOP_SECONDS = 2


class PortTaken(Exception):
    """The port can't be listened on; the message says what to do."""


def run(tools: Tools, home: Path, port: int, ready: Callable[[str, Path], None]) -> None:
    """Serve until a signal says to stop.

    Args:
        home: where the token is kept.
        port: to listen on; 0 for any that is free.
        ready: told the address and the token's file, once connections are accepted.

    Raises:
        PortTaken: see there.
        OSError: the token can't be kept.
    """
    file = home / TOKEN_FILE
    guarded = _Guard(server(tools).streamable_http_app(streamable_http_path=PATH, host=HOST), token_in(file))
    config = uvicorn.Config(
        guarded, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_STOP_SECONDS
    )
    with _listening(port) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}{PATH}"
        anyio.run(_serve, _Server(config, lambda: ready(address, file)), listening)


def token_in(file: Path) -> str:
    """The token that a file holds, readable by its owner only; a new one, if there is no such file.

    Raises:
        OSError
    """
    private_folder(file.parent)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        file.chmod(0o600)
        if token := file.read_text(encoding="ascii").strip():
            return token
        descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC)
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(token + "\n")
    return token


class _Guard:
    """Lets through who shows the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not hmac.compare_digest(self._shown(scope), self._token):
            headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"the token is missing or wrong\n"})
            return
        await self._app(scope, receive, send)

    def _shown(self, scope: Scope) -> bytes:
        """The token of a request; empty where there is none. The scheme's case does not matter (RFC 9110, 11.1)."""
        shown = next((bytes(value) for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = shown.partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else b""


class _Server(uvicorn.Server):
    """Tells when it accepts connections. Signals are ours: uvicorn would raise them again once it has stopped, and so
    end with a failure."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Any]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, port))
            found.listen(128)
        except OSError as error:
            raise PortTaken(f"port {port} can't be listened on ({error.strerror}): name another by --port") from None
        yield found


async def _serve(running: _Server, listening: socket.socket) -> None:
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for _ in signals:
                    running.should_exit = True
                    return

        tasks.start_soon(stop)
        await running.serve(sockets=[listening])
        tasks.cancel_scope.cancel()
