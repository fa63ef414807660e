"""Stage `record`: the lane into the ledger, one SQL transaction a batch."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from functools import partial

from memory import lua
from memory.events import EventInvalid, json_object, parse, redacted
from memory.graph.kinds import text_of
from memory.ledger.log import Entry, KnownIds, record
from memory.privacy import redact_text
from workers import resources
from workers.stage import Stage
from workers.wake import ring, wake_followers

log = logging.getLogger(__name__)


class Record(Stage):
    """Reads a batch, checks it before the transaction, commits it, and only then deletes it from the lane."""

    name = queue = "record"

    def step(self, group: str, token: int, limit: int) -> bool:
        client = resources.valkey()
        found = client.xrange(lua.lane(group), count=limit)
        if not found:
            # Also where the lane was emptied by hand: `pending` must not name it for ever.
            lua.run(client, "ack", [lua.lane(group), lua.PENDING], [group])
            return False
        entries, texts = _parsed(found, group)
        self._write(group, token, entries, texts)
        return len(entries) == limit

    def position(self, group: str) -> str | None:
        found = resources.valkey().xrange(lua.lane(group), count=1)
        return found[0][0].decode() if found else None

    def bury(self, group: str, token: int, error: str, attempts: int) -> None:
        found = resources.valkey().xrange(lua.lane(group), count=1)
        entries = [
            Entry(id.decode(), None, redact_text(_raw(fields).decode("utf-8", "replace")), error, attempts)
            for id, fields in found
        ]
        self._write(group, token, entries, {})

    def _write(self, group: str, token: int, entries: list[Entry], texts: dict[str, str]) -> None:
        """Commit entries to the ledger, and then delete them from the lane."""
        client, ledger = resources.valkey(), resources.ledger()
        write = partial(
            record,
            group=group,
            token=token,
            generation=_generation(),
            entries=entries,
            describe=lambda event: texts[event.id],
        )
        try:
            with ledger.write() as connection:
                done = write(ledger, connection)
        except KnownIds:
            with ledger.write() as connection:
                done = write(ledger, connection, look_up=True)
        if done.dead:
            log.error("unreadable events went to the dead letters: group=%s count=%s", group, done.dead)
        stream_ids = [entry.stream_id for entry in entries]
        lua.run(client, "ack", [lua.lane(group), lua.PENDING], [group, *stream_ids])
        wake_followers(self.name, group, {entry.event.type for entry in entries if entry.event})

    def has_work(self, group: str) -> bool:
        return bool(resources.valkey().xlen(lua.lane(group)))

    def again(self, group: str) -> None:
        """By the bell, as for an event just published: the dispatcher lets a busy lane fill a batch first."""
        ring(group)


def _parsed(found: Sequence[tuple[bytes, dict[bytes, bytes]]], group: str) -> tuple[list[Entry], dict[str, str]]:
    """Lane entries, checked, and what is said of each event, by its id."""
    entries: list[Entry] = []
    texts: dict[str, str] = {}
    for id, fields in found:
        raw = _raw(fields)
        text = raw.decode("utf-8", "replace").replace("\x00", "\ufffd")
        try:
            if b"e" not in fields:
                raise EventInvalid("entry: has no field e")
            fields_found = json_object(raw)
            clean = redacted(fields_found)
            event = parse(clean)
            if clean is not fields_found:
                text = event.encode().decode()
            if event.group != group:
                raise EventInvalid(f"group: names another group than the lane it was found in ({group})")
            texts.setdefault(event.id, text_of(event))
            entries.append(Entry(id.decode(), event, text))
        except EventInvalid as error:
            entries.append(Entry(id.decode(), None, redact_text(text), str(error)))
        except Exception as error:
            # Whatever else is wrong with one event must not stop its lane.
            entries.append(Entry(id.decode(), None, redact_text(text), f"could not be read: {type(error).__name__}"))
    return entries, texts


def _raw(fields: dict[bytes, bytes]) -> bytes:
    """What an entry holds. One that no publisher wrote is kept whole: all of its fields."""
    return fields.get(b"e", b" ".join(part for field in fields.items() for part in field))


def _generation() -> str:
    """What tells this queue server's stream ids from those of one that was wiped: see `memory.lua.GENERATION`."""
    found: bytes = lua.run(resources.valkey(), "generation", [lua.GENERATION], [secrets.token_hex(8)])
    return found.decode()
