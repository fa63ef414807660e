"""Where the queue server is: `MEMLANE_VALKEY_URL`, else what a running `memlane up` wrote into its home."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

#: Kinds of address that a queue server may have.
SCHEMES = ("redis", "rediss", "unix")


class QueueUnknown(Exception):
    """No queue server is configured and none runs here, or its address can't be understood; the message says where it
    was looked for, or how to write it."""


def queue_url(environ: Mapping[str, str] = os.environ) -> str:
    """URL of the queue server for a producer, password included.

    Raises:
        QueueUnknown: see there.
    """
    if url := environ.get("MEMLANE_VALKEY_URL"):
        return url
    home = Path(environ.get("MEMLANE_HOME") or "~/.memlane").expanduser()
    try:
        stack = json.loads((home / "run" / "stack.json").read_text())
    except (OSError, ValueError):
        stack = None
    # Of the stack's users, the one that may publish and ask, and nothing else.
    url = stack.get("producer_url") or stack.get("valkey_url") if isinstance(stack, dict) else None
    if not isinstance(url, str):
        raise QueueUnknown(f"no queue server: start one with `memlane up` (home {home}), or set MEMLANE_VALKEY_URL")
    return url


def checked(url: str) -> str:
    """The URL, if it can be understood.

    Raises:
        QueueUnknown: it can't.
    """
    if not _understood(url):
        raise QueueUnknown(
            "the queue server's address can't be understood: write redis://:password@host:6379 (or rediss, unix), "
            "with special characters of the password percent-encoded"
        )
    return url


def without_password(url: str) -> str:
    """The URL as it may stand in a message; of one that can't be understood, only what kind it is of."""
    if not _understood(url):
        kind = url.partition("://")[0]
        return f"{kind}://…" if kind in SCHEMES else "…"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _understood(url: str) -> bool:
    """Whether the URL says unmistakably which part of it is a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in SCHEMES and not parts.fragment and "@" not in parts.path + parts.query
