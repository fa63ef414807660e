"""Secrets and private text reach neither lane nor ledger, from our publisher or from a foreign one."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import redis
from sqlalchemy import select

from memory import lua
from memory.ledger import Ledger
from memory.ledger.log import Slice
from memory.ledger.schema import dead_letters, events
from producers import Publisher
from tests import servers
from workers.index import Index
from workers.stage import StageFailed, drain
from workers.stages import STAGES

GROUP = "shop"
#: In two parts, lest this file be taken for one that leaks.
TOKEN = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
TEXT = f"push with {TOKEN} <private>my salary</private> to src/cart.py"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "MEMLANE_REST_SECONDS": "0.05"}


def test_the_publisher_sends_none(queue_url: str, queue: redis.Redis) -> None:
    """Given a token and private text in data, nested data and the subject, I expect neither in the lane, and the rest."""
    with Publisher(queue_url, source="test", group=GROUP) as publisher:
        event = {"type": "chat.message", "data": {"role": "user", "text": TEXT, "more": [{"header": TEXT}]}}
        publisher.publish(event)
    ((_, fields),) = queue.xrange(lua.lane(GROUP))
    assert TOKEN.encode() not in fields[b"e"]
    assert b"salary" not in fields[b"e"]
    assert fields[b"e"].count(b"[redacted:github-token] [private] to src/cart.py") == 2


def test_what_a_foreign_publisher_sent_is_redacted(queue: redis.Redis, ledger: Ledger, worker: None) -> None:
    """Given entries that no publisher of ours made, one an event and one garbage, I expect neither's secrets in the
    ledger or in the dead letters."""
    with Publisher("redis://127.0.0.1:1", source="test", group=GROUP) as publisher:
        raw = publisher.check({"type": "chat.message", "data": {"role": "user", "text": "TEXT"}}).encode()
    queue.xadd(lua.lane(GROUP), {"e": raw.replace(b"TEXT", TEXT.encode())})
    queue.xadd(lua.lane(GROUP), {"e": '{"broken": "' + TEXT})
    drain(STAGES["record"], GROUP)
    with ledger.read() as connection:
        stored = connection.execute(select(events.c.text, events.c.data)).one()
        letter = connection.execute(select(dead_letters.c.event)).scalar_one()
    for found in (*stored, letter):
        assert TOKEN not in found
        assert "salary" not in found
        assert "[redacted:github-token] [private]" in found


def test_an_event_that_is_none_is_redacted_as_it_reads(queue: redis.Redis, ledger: Ledger, worker: None) -> None:
    """Given JSON that is no event, in which each character of its text is escaped, I expect the dead letter to hold the
    text as it reads, without its secrets."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in TEXT)
    queue.xadd(lua.lane(GROUP), {"e": '{"type": "chat.message", "data": {"text": "' + escaped + '"}}'})
    drain(STAGES["record"], GROUP)
    with ledger.read() as connection:
        letter = connection.execute(select(dead_letters.c.event)).scalar_one()
    assert json.loads(letter)["data"] == {"text": "push with [redacted:github-token] [private] to src/cart.py"}


class Quoting(Index):
    """Fails at each event, and quotes it, as databases do."""

    def before(self, group: str, events: Slice) -> None:
        raise ValueError(f"can't stand {TEXT!r}\x00" + "x" * 100_000)


def test_what_failed_is_kept_without_secrets(queue: redis.Redis, queue_url: str, ledger: Ledger, worker: None) -> None:
    """Given a stage whose error quotes a token and private text, at any length, I expect neither in the queue server nor in
    the dead letter, and the beginning of the error in both."""
    with Publisher(queue_url, source="test", group=GROUP) as publisher:
        publisher.publish({"type": "completion", "data": {"task": "t"}})
    drain(STAGES["record"], GROUP)
    kept: list[bytes] = []

    def buried() -> str | None:
        with suppress(StageFailed):
            drain(Quoting(), GROUP)
        kept.extend(queue.hmget(lua.trial("index", GROUP), "error"))
        with ledger.read() as connection:
            found: str | None = connection.execute(select(dead_letters.c.error)).scalar()
            return found

    servers.wait_until(buried, "the event to be buried", 30)
    for error in (*(one.decode() for one in kept if one), buried() or ""):
        assert error.startswith("ValueError: can't stand 'push with [redacted:github-token] [private] to src/cart.py'")
        assert len(error) == 2_000
