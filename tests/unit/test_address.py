"""Where producers find the queue server, and what of its address may be shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers.address import QueueUnknown, checked, queue_url, without_password


def stack(home: Path, /, **addresses: str) -> dict[str, str]:
    """The environment of a home in which a stack with these addresses runs."""
    (home / "run").mkdir()
    (home / "run" / "stack.json").write_text(json.dumps(addresses))
    return {"MEMLANE_HOME": str(home)}


def test_a_producer_takes_its_own_address(tmp_path: Path) -> None:
    environ = stack(tmp_path, valkey_url="redis://operator@stack", producer_url="redis://producer@stack")
    assert queue_url(environ) == "redis://producer@stack"
    assert queue_url(environ | {"MEMLANE_VALKEY_URL": "redis://environment"}) == "redis://environment"


def test_a_stack_of_an_earlier_version_has_one_address_for_all(tmp_path: Path) -> None:
    assert queue_url(stack(tmp_path, valkey_url="redis://stack")) == "redis://stack"


def test_without_a_stack_it_is_said_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(QueueUnknown, match="memlane up"):
        queue_url({"MEMLANE_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rediss://u:p@host:6380/0?ssl_ca_certs=/etc/ca.crt", "rediss://host:6380/0"),
        ("rediss://:p@host?ssl_certfile=/c.crt&ssl_keyfile=/c.key&ssl_check_hostname=false", "rediss://host"),
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("unix://u:p@/run/valkey.sock?db=2", "unix:///run/valkey.sock"),
    ],
)
def test_options_of_an_address_are_let_through_and_not_shown(url: str, shown: str) -> None:
    assert checked(url) == url
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url", ["redis://:p#@host", "redis://:a@b/@host?x=1@2", "http://host", "elsewhere:6379", "redis://h:port"]
)
def test_what_is_no_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(QueueUnknown, match="can't be understood") as refused:
        checked(url)
    assert url not in str(refused.value)
