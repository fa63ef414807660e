"""What Datadog is told of an error: by a real client, to a socket in the place of its agent."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from memory.ledger import Ledger
from producers import Publisher
from tests import servers
from tests.workers_here import workers_here
from workers import resources
from workers.stage import drain
from workers.stages import STAGES

GROUP = "shop"
#: In two parts, lest this file be taken for one that leaks.
TOKEN = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
ERROR = {"message": f"push with {TOKEN} <private>my salary</private> failed", "name": "PushError", "severity": "high"}


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(servers.START_SECONDS)
        yield listener


@pytest.fixture
def environ(environ: dict[str, str], agent: socket.socket, ledger: Ledger) -> dict[str, str]:
    return {
        **environ,
        "MEMLANE_DATADOG": "true",
        "DD_AGENT_HOST": "127.0.0.1",
        "DD_DOGSTATSD_PORT": str(agent.getsockname()[1]),
    }


def told(environ: dict[str, str], agent: socket.socket, *errors: dict[str, str]) -> list[str]:
    """The text of each event that the agent is sent for these errors."""
    with Publisher(environ["MEMLANE_VALKEY_URL"], source="test", group=GROUP) as publisher:
        publisher.publish_many([{"type": "error", "data": error} for error in errors])
    with workers_here(environ):
        drain(STAGES["record"], GROUP)
        drain(STAGES["telemetry"], GROUP)
        resources.close()
    found: list[str] = []
    while len(found) < len(errors):
        for line in agent.recv(65_536).decode().splitlines():
            if event := re.match(r"_e\{14,([0-9]+)\}:OpenCode Error\|(.*?)\|d:", line):
                assert int(event[1]) == len(event[2].encode())
                assert "|t:error|#group:shop" in line
                found.append(event[2])
    return found


def test_an_error_is_told_without_secrets_and_at_most_1000_bytes_long(
    environ: dict[str, str], agent: socket.socket
) -> None:
    """Given errors with a token, and with one where the text is cut, I expect neither, nor half of it."""
    long = {"message": "é" * 490 + f" {TOKEN} and so on", "name": "Long"}
    short, cut = told(environ, agent, ERROR, long)

    assert short == "push with [redacted:github-token] [private] failed"
    assert cut == "é" * 490 + " [redacted:github-to"
    assert len(cut.encode()) == 1_000


def test_the_text_of_errors_can_be_switched_off(environ: dict[str, str], agent: socket.socket) -> None:
    """Given the setting that is for it, I expect name and severity, where they are known, and nothing else."""
    environ["MEMLANE_DATADOG_ERROR_TEXT"] = "false"

    errors = (ERROR, {"message": "no such table", "name": TOKEN}, {"message": "no such table"})
    assert told(environ, agent, *errors) == ["PushError (high)", "[redacted:github-token]", "error"]
