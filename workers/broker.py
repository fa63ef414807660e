"""The queue server as Celery's broker: its address, as redis-py understands it, in kombu's way of saying the same."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from kombu.utils.url import parse_ssl_cert_reqs


def broker(url: str) -> dict[str, Any]:
    """Celery's settings for this queue server: `broker_url` and, for TLS, `broker_use_ssl`.

    Args:
        url: redis://, rediss:// or unix://, with redis-py's options; of these `db` and `ssl_*` are understood.

    Raises:
        ValueError: an option has a value that it can't have.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "unix":
        return {"broker_url": f"redis+socket://{parts.netloc}{parts.path}?virtual_host={options.get('db', '0')}"}
    path = f"/{options['db']}" if "db" in options else parts.path
    settings: dict[str, Any] = {"broker_url": urlunsplit((parts.scheme, parts.netloc, path, "", ""))}
    if parts.scheme == "rediss":
        # Kombu speaks TLS only if it is told something of it, and Flower only by this setting.
        settings["broker_use_ssl"] = _tls(options)
    return settings


def _tls(options: dict[str, str]) -> dict[str, Any]:
    tls: dict[str, Any] = {name: value for name, value in options.items() if name.startswith("ssl_")}
    try:
        tls["ssl_cert_reqs"] = parse_ssl_cert_reqs(tls.get("ssl_cert_reqs", "required"))
    except KeyError:
        raise ValueError("ssl_cert_reqs in the queue server's address: write required, optional or none") from None
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower() not in ("false", "0", "f", "n", "no")
    return tls
