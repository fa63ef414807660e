"""Stage `record`: the lane into the ledger, one SQL transaction a batch."""

from __future__ import annotations

import logging
import secrets
from functools import partial

from memory import lua
from memory.events import EventInvalid, parse
from memory.graph.facts import text_of
from memory.ledger.log import Entry, SameIdElsewhere, record
from memory.settings import settings
from workers import resources
from workers.stage import Stage
from workers.wake import wake_followers

log = logging.getLogger(__name__)


class Record(Stage):
    """Reads a batch, checks it before the transaction, commits it, and only then deletes it from the lane."""

    name = queue = "record"

    def step(self, group: str, token: int) -> int:
        client, ledger = resources.valkey(), resources.ledger()
        found = client.xrange(lua.lane(group), count=settings().batch_size)
        if not found:
            # Also where the lane was emptied by hand: `pending` must not name it for ever.
            lua.run(client, "ack", [lua.lane(group), lua.PENDING], [group])
            return 0
        entries = [_entry(stream_id, fields, group) for stream_id, fields in found]
        write = partial(record, group=group, token=token, generation=_generation(), entries=entries, describe=text_of)
        try:
            with ledger.write() as connection:
                done = write(ledger, connection)
        except SameIdElsewhere:
            with ledger.write() as connection:
                done = write(ledger, connection)
        if done.dead:
            log.error("unreadable events went to the dead letters: group=%s count=%s", group, done.dead)
        stream_ids = [entry.stream_id for entry in entries]
        lua.run(client, "ack", [lua.lane(group), lua.PENDING], [group, *stream_ids])
        wake_followers(self.name, group, {entry.event.type for entry in entries if entry.event})
        return len(entries)

    def has_work(self, group: str) -> bool:
        return bool(resources.valkey().xlen(lua.lane(group)))


def _entry(stream_id: bytes, fields: dict[bytes, bytes], group: str) -> Entry:
    raw = fields.get(b"e", b"")
    text = raw.decode("utf-8", "replace").replace("\x00", "\ufffd")
    try:
        event = parse(raw)
        if event.group != group:
            raise EventInvalid(f"group: names another group than the lane it was found in ({group})")
    except EventInvalid as error:
        return Entry(stream_id.decode(), None, text, str(error))
    return Entry(stream_id.decode(), event, text)


def _generation() -> str:
    """What tells this queue server's stream ids from those of one that was wiped: see `memory.lua.GENERATION`."""
    client = resources.valkey()
    client.set(lua.GENERATION, secrets.token_hex(8), nx=True)
    return bytes(client.get(lua.GENERATION) or b"").decode()
