"""A queue server that speaks TLS only, with a certificate of a private authority: everybody finds the way with one URL."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from memory.ledger import Ledger, cursors, migrate
from producers import AsyncPublisher, Publisher
from producers.address import checked, without_password
from producers.publisher import QueueUnavailable
from producers.recall import Recall
from tests import servers
from tests.tls_server import Tls, tls_server
from workers.broker import broker

ROOT = Path(__file__).parents[2]
GROUP = "shop"
EVENT = {"type": "error", "session": "s", "data": {"message": "no such table: discounts"}}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    with tls_server(tmp_path_factory.mktemp("tls")) as found:
        yield found


def test_both_publishers_come_in(tls: Tls) -> None:
    url = tls.url(ssl_ca_certs="ca.crt")
    assert checked(url) == url

    async def publish() -> str:
        async with AsyncPublisher(url, source="test", group="async", deadline=10, spool=False) as publisher:
            return await publisher.publish(EVENT)

    with Publisher(url, source="test", group="sync", deadline=10, spool=False) as publisher:
        publisher.publish(EVENT)
    asyncio.run(publish())
    with redis.Redis.from_url(url) as queue:
        assert (queue.xlen("memlane:lane:sync"), queue.xlen("memlane:lane:async")) == (1, 1)


def test_a_client_certificate_goes_along(tls: Tls) -> None:
    """Given a server that wants certificates of its clients, I expect the URL's options to name one."""
    own = {"ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
    with redis.Redis.from_url(tls.url(ssl_ca_certs="ca.crt")) as queue:
        queue.config_set("tls-auth-clients", "yes")
    try:
        with Publisher(
            tls.url(ssl_ca_certs="ca.crt", **own), source="test", group="own", deadline=10, spool=False
        ) as publisher:
            publisher.publish(EVENT)
        with Publisher(
            tls.url(ssl_ca_certs="ca.crt"), source="test", group="own", deadline=10, spool=False
        ) as publisher:
            with pytest.raises(QueueUnavailable):
                publisher.publish(EVENT)
    finally:
        with redis.Redis.from_url(tls.url(ssl_ca_certs="ca.crt", **own)) as queue:
            queue.config_set("tls-auth-clients", "optional")


@pytest.mark.parametrize("files", [{"ssl_ca_certs": "stranger.crt"}, {}], ids=["of another authority", "not named"])
def test_a_server_that_can_not_prove_itself_is_refused(tls: Tls, files: dict[str, str]) -> None:
    """If the authority's file is not the server's, or none is named, I expect nothing to be sent, and the error to name
    the server and the reason, without password and files."""
    with Publisher(tls.url(**files), source="test", group=GROUP, deadline=10, spool=False) as publisher:
        with pytest.raises(QueueUnavailable, match=r"certificate verify failed") as refused:
            publisher.publish(EVENT)
    assert f"rediss://127.0.0.1:{tls.port}/0 can't be used" in str(refused.value)
    assert tls.password not in str(refused.value)


def test_a_server_of_another_name_is_refused(tls: Tls) -> None:
    with Publisher(
        tls.url("localhost", ssl_ca_certs="ca.crt"), source="test", group=GROUP, deadline=10, spool=False
    ) as publisher:
        with pytest.raises(QueueUnavailable, match="certificate"):
            publisher.publish(EVENT)


def test_addresses_in_messages_have_no_options(tls: Tls) -> None:
    assert without_password(tls.url(ssl_ca_certs="ca.crt")) == f"rediss://127.0.0.1:{tls.port}/0"


def test_workers_and_commands_come_in(tls: Tls, tmp_path: Path) -> None:
    """Given one URL for all. If an event is published and a question asked, I expect workers to do their part, and
    `memlane status`, `memlane doctor`'s look at workers, and Flower to see it."""
    database = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    url = tls.url(ssl_ca_certs="ca.crt")
    environ = {
        "MEMLANE_HOME": str(tmp_path),
        "MEMLANE_VALKEY_URL": url,
        "MEMLANE_DATABASE_URL": database,
        "MEMLANE_DATADOG": "false",
        "MEMLANE_GROUP": GROUP,
    }
    with closing(Ledger(database)) as ledger:
        migrate(ledger)
        with servers.worker(environ, "record,index,cache,telemetry,plugins,compaction,recall", tmp_path / "worker.log"):
            with Publisher(url, source="test", group=GROUP, deadline=10, spool=False) as publisher:
                publisher.publish(EVENT)

            def done() -> bool:
                with ledger.read() as connection:
                    return cursors.position(connection, "cache.index", GROUP) == 1

            servers.wait_until(done, "all stages")
            with Recall(url, group=GROUP) as recall:
                assert "no such table: discounts" in recall.ask("which table was missing?")["context"]
            answer = _memlane(environ, "recall", "which table was missing?", "--json")
            assert "no such table: discounts" in json.loads(answer)["context"]
            assert f"rediss://127.0.0.1:{tls.port}/0" in _memlane(environ, "status")
            # The worker was asked: it serves all other queues.
            assert "no worker serves: episodes\n" in _memlane(environ, "doctor", code=1)
            _flower_sees_queues(environ, tmp_path)


def _memlane(environ: dict[str, str], *arguments: str, code: int = 0) -> str:
    command = [str(Path(sys.executable).with_name("memlane")), *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def _flower_sees_queues(environ: dict[str, str], folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "flower").write_text("secret")
    port = servers.free_port()
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "flower", "--conf=ops/flower/config.py"]
    command += ["--address=127.0.0.1", f"--port={port}"]
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ})

    def seen() -> bool:
        assert running.poll() is None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            token = b64encode(b"memlane:secret").decode()
            connection.request("GET", "/api/queues/length", headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            return answer.status == 200 and '"record"' in answer.read().decode()
        except OSError:
            return False
        finally:
            connection.close()

    try:
        servers.wait_until(seen, "Flower to see the queues")
    finally:
        running.terminate()
        running.wait(servers.START_SECONDS)


# How the same is said to Celery


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:p@host:6379/1", {"broker_url": "redis://:p@host:6379/1"}),
        ("redis://u:p%40@host?db=2&protocol=3", {"broker_url": "redis://u:p%40@host/2"}),
        ("unix:///run/valkey.sock?db=3", {"broker_url": "redis+socket:///run/valkey.sock?virtual_host=3"}),
        ("unix://u:p@/run/valkey.sock", {"broker_url": "redis+socket://u:p@/run/valkey.sock?virtual_host=0"}),
    ],
)
def test_the_address_in_celerys_words(url: str, expected: dict[str, str]) -> None:
    assert broker(url) == expected


def test_tls_in_celerys_words() -> None:
    """Unless told otherwise, a server must prove itself."""
    found = broker("rediss://u:p@host:6380/0?ssl_ca_certs=/etc/ca.crt&ssl_check_hostname=false")
    assert found["broker_url"] == "rediss://u:p@host:6380/0"
    assert found["broker_use_ssl"] == {
        "ssl_ca_certs": "/etc/ca.crt",
        "ssl_check_hostname": False,
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }
    assert broker("rediss://host")["broker_use_ssl"] == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    with pytest.raises(ValueError, match="write required, optional or none"):
        broker("rediss://host?ssl_cert_reqs=maybe")
