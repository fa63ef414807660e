"""Where the queue server is: `MEMLANE_VALKEY_URL`, else what a running `memlane up` wrote into its home."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit


class QueueUnknown(Exception):
    """No queue server is configured and none runs here; the message says where it was looked for."""


def queue_url(environ: Mapping[str, str] = os.environ) -> str:
    """URL of the queue server, password included.

    Raises:
        QueueUnknown: see there.
    """
    if url := environ.get("MEMLANE_VALKEY_URL"):
        return url
    home = Path(environ.get("MEMLANE_HOME") or "~/.memlane").expanduser()
    try:
        return str(json.loads((home / "run" / "stack.json").read_text())["valkey_url"])
    except (OSError, ValueError, KeyError):
        raise QueueUnknown(
            f"no queue server: start one with `memlane up` (home {home}), or set MEMLANE_VALKEY_URL"
        ) from None


def without_password(url: str) -> str:
    """The URL as it may stand in a message."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="").geturl()
