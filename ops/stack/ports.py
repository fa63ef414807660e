"""Which port a server of the stack gets."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ops.stack.errors import PortTaken

#: The stack is for this machine only.
HOST = "127.0.0.1"


def choose(wanted: int | None, default: int, what: str, option: str, say: Callable[[str], None]) -> int:
    """A port that is free now.

    Args:
        wanted: asked for by number; 0 is any free one, None is the default or, if that is taken, any free one.
        what, option: for messages: the server, and the option that chooses its port.

    Raises:
        PortTaken: the one asked for by number is in use.
    """
    if wanted:
        if not _is_free(wanted):
            raise PortTaken(
                f"port {wanted} on {HOST} is in use: give {what} another one with {option}, or leave it out"
            )
        return wanted
    if wanted is None and _is_free(default):
        return default
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    if wanted is None:
        say(f"port {default} is in use: {what} gets {port}")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        # As servers do: connections of an earlier server that are still in TIME_WAIT don't count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError:
            return False
    return True
