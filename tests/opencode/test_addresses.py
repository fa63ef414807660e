"""Every kind of address that Python's producers understand leads the plugin to the same place.

It runs in the Bun that is OpenCode's own runtime, from `producers/opencode/test/publish.ts`; the servers are real.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from producers.spool import Spool
from tests import servers
from tests.opencode.test_publisher import GROUP, publish
from tests.tls_server import Tls, tls_server

#: It has characters that mean something in a URL.
PASSWORD = "p%40w%2Fd"


def arrives(home: Path, url: str, at: str | None = None) -> bool:
    """Publish an event; whether it is where redis-py finds it by the same address."""
    done = publish(home, url, 1, deadline=10_000)
    assert (done["sent"], done["spooled"], done["lost"]) == (1, 0, 0), done
    with redis.Redis.from_url(at or url) as queue:
        found = bool(queue.xlen(f"memlane:lane:{GROUP}"))
        queue.flushall()
    return found


def refused(home: Path, url: str) -> str:
    """Publish an event, which is spooled; why, as it stands in OpenCode's log."""
    done = publish(home, url, 1)
    assert (done["sent"], done["spooled"], done["lost"]) == (0, 1, 0), done
    assert Spool(home, GROUP).waiting().events == 1
    reasons = [entry["extra"]["reason"] for entry in done["logged"] if entry["level"] == "warn"]
    return str(reasons[0])


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    with tls_server(tmp_path_factory.mktemp("tls")) as found:
        yield found


def test_tls_with_a_private_authority(tls: Tls, home: Path) -> None:
    assert arrives(home, tls.url(ssl_ca_certs="ca.crt"))


def test_tls_with_an_authority_that_the_system_knows(tls: Tls, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address has no options then."""
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(tls.folder / "ca.crt"))
    assert arrives(home, tls.url(), at=tls.url(ssl_ca_certs="ca.crt"))


def test_tls_that_is_not_verified(tls: Tls, home: Path) -> None:
    assert arrives(home, f"{tls.url()}?ssl_cert_reqs=none", at=tls.url(ssl_ca_certs="ca.crt"))


def test_a_client_certificate_goes_along(tls: Tls, home: Path) -> None:
    """Given a server that wants certificates of its clients, I expect the address's options to name one."""
    own = tls.url(ssl_ca_certs="ca.crt", ssl_certfile="client.crt", ssl_keyfile="client.key")
    with redis.Redis.from_url(own) as queue:
        queue.config_set("tls-auth-clients", "yes")
        try:
            assert arrives(home, own)
            assert "or its certificate" in refused(home, tls.url(ssl_ca_certs="ca.crt"))
        finally:
            queue.config_set("tls-auth-clients", "optional")


@pytest.mark.parametrize(
    ("host", "files"),
    [
        ("127.0.0.1", {"ssl_ca_certs": "stranger.crt"}),
        ("127.0.0.1", {}),
        ("localhost", {"ssl_ca_certs": "ca.crt"}),
    ],
    ids=["of another authority", "of an unknown authority", "of another name"],
)
def test_a_server_that_can_not_prove_itself_gets_nothing(
    tls: Tls, home: Path, host: str, files: dict[str, str]
) -> None:
    said = refused(home, tls.url(host, **files))
    assert "or its certificate: it must be for the name in the address" in said
    assert tls.password not in said
    with redis.Redis.from_url(tls.url(ssl_ca_certs="ca.crt")) as queue:
        assert not queue.exists(f"memlane:lane:{GROUP}")


def test_a_missing_file_is_named(tls: Tls, home: Path) -> None:
    assert "nowhere.crt" in refused(home, tls.url(ssl_ca_certs="nowhere.crt"))


# Sockets, databases, passwords


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Any]]:
    """Of a server that also listens on a socket. A socket's path may have 107 bytes: pytest's folders are too deep."""
    with tempfile.TemporaryDirectory(prefix="memlane-") as name:
        folder, port = Path(name), servers.free_port()
        command = servers.queue_command(folder, port, "p@w/d", "--unixsocket", str(folder / "queue.sock"))
        with servers.process(command, folder / "queue.log"):
            servers.wait_until(lambda: servers.answers(f"redis://:{PASSWORD}@127.0.0.1:{port}"), "queue server")
            yield {"port": port, "socket": str(folder / "queue.sock"), "password": PASSWORD}


@pytest.mark.parametrize(
    "address",
    [
        "unix://:{password}@{socket}",
        "unix://default:{password}@{socket}?db=3",
        "unix://{socket}?password={password}&db=2",
        "redis://:{password}@127.0.0.1:{port}",
        "redis://:{password}@127.0.0.1:{port}/3",
        "redis://default:{password}@localhost:{port}/1?db=2",
        "redis://127.0.0.1:{port}?password={password}",
    ],
)
def test_an_address_means_what_it_means_in_python(address: str, places: dict[str, Any], home: Path) -> None:
    assert arrives(home, address.format(**places))


def test_a_socket_without_a_password(tmp_path: Path, home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="memlane-") as name:
        folder = Path(name)
        program = servers.queue_command(folder, 0, "")[0]
        command = [program, "--port", "0", "--unixsocket", str(folder / "queue.sock"), "--save", "", "--dir", name]
        with servers.process(command, folder / "queue.log"):
            url = f"unix://{folder / 'queue.sock'}"
            servers.wait_until(lambda: servers.answers(url), "queue server")
            assert arrives(home, url)


@pytest.mark.parametrize("address", ["redis://:{other}@127.0.0.1:{port}", "unix://:{other}@{socket}"])
def test_a_wrong_password_is_told(address: str, places: dict[str, Any], home: Path) -> None:
    other = secrets.token_hex(8)
    said = refused(home, address.format(other=other, **places))
    assert said == "the queue server can't be reached, or refuses user and password"
