"""Stage `record`: the lane into the ledger, one SQL transaction a batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from memory import lua
from memory.events import EventInvalid, json_object, parse, redacted
from memory.graph.kinds import text_of
from memory.ledger import generations
from memory.ledger.log import Entry, KnownIds, Recorded, record
from memory.privacy.raw import redact_raw
from workers import resources
from workers.stage import Stage
from workers.wake import ring, wake_followers

log = logging.getLogger(__name__)


class Record(Stage):
    """Reads a batch, checks it before the transaction, commits it, and only then deletes it from the lane."""

    name = queue = "record"

    def step(self, group: str, token: int, limit: int) -> bool:
        lane = _read(group, limit)
        entries, texts = _parsed(lane.entries, group)
        self._write(group, token, entries, texts, lane)
        return len(entries) == limit

    def position(self, group: str) -> str | None:
        found = resources.valkey().xrange(lua.lane(group), count=1)
        return found[0][0].decode() if found else None

    def bury(self, group: str, token: int, error: str, attempts: int) -> None:
        lane = _read(group, 1)
        entries = [
            Entry(id.decode(), None, redact_raw(_raw(fields)), error, attempts, _of(fields))
            for id, fields in lane.entries
        ]
        self._write(group, token, entries, {}, lane)

    def _write(self, group: str, token: int, entries: list[Entry], texts: dict[str, str], lane: _Lane) -> None:
        """Commit entries to the ledger, and then delete them from the lane."""
        client, ledger = resources.valkey(), resources.ledger()

        def write(look_up: bool) -> Recorded:
            with ledger.write() as connection:
                done = record(
                    ledger,
                    connection,
                    group=group,
                    token=token,
                    entries=entries,
                    describe=lambda event: texts[event.id],
                    look_up=look_up,
                )
                generations.note_captured(ledger, connection, group, lane.captured)
                if lane.settled:
                    generations.close(connection, group, lane.generation)
            return done

        try:
            done = write(look_up=False)
        except KnownIds:
            done = write(look_up=True)
        if done.dead:
            log.error("unreadable events went to the dead letters: group=%s count=%s", group, done.dead)
        stream_ids = [entry.stream_id for entry in entries]
        # Also where there are none: `pending` must not name for ever a lane that was emptied by hand.
        lua.run(client, "ack", [lua.lane(group), lua.PENDING], [group, *stream_ids])
        if lane.settled and (earlier := lane.captured.keys() - {lane.generation}):
            counts = [part for name in earlier for part in (name, lane.captured[name])]
            lua.run(client, "retire", [lua.captured(group)], counts)
        wake_followers(self.name, group, {entry.event.type for entry in entries if entry.event})

    def has_work(self, group: str) -> bool:
        return bool(resources.valkey().xlen(lua.lane(group)))

    def again(self, group: str) -> None:
        """By the bell, as for an event just published: the dispatcher lets a busy lane fill a batch first."""
        ring(group)


@dataclass(frozen=True, slots=True)
class _Lane:
    """A look at a lane: its first entries, the queue server's generation, and what each has accepted in the group."""

    entries: list[tuple[bytes, dict[bytes, bytes]]]
    generation: str
    captured: dict[str, int]

    @property
    def settled(self) -> bool:
        """Whether it holds nothing that an earlier generation accepted: those would stand first."""
        return not self.entries or _of(self.entries[0][1]) == self.generation


def _read(group: str, limit: int) -> _Lane:
    client = resources.valkey()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.get(lua.GENERATION)
        pipeline.xrange(lua.lane(group), count=limit)
        # After the entries: what it counts holds all of them.
        pipeline.hgetall(lua.captured(group))
        generation, entries, counters = pipeline.execute()
    captured = {name.decode(): int(count) for name, count in counters.items() if name != b"refused"}
    return _Lane(entries, generation.decode() if generation else lua.generation(client), captured)


def _of(fields: dict[bytes, bytes]) -> str:
    """The generation that accepted an entry; empty for one that no producer of ours put there."""
    return fields.get(b"g", b"").decode("ascii", "replace")


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
            entries.append(Entry(id.decode(), event, text, generation=_of(fields)))
        except EventInvalid as error:
            entries.append(Entry(id.decode(), None, redact_raw(raw), str(error), generation=_of(fields)))
        except Exception as error:
            # Whatever else is wrong with one event must not stop its lane.
            error_text = f"could not be read: {type(error).__name__}"
            entries.append(Entry(id.decode(), None, redact_raw(raw), error_text, generation=_of(fields)))
    return entries, texts


def _raw(fields: dict[bytes, bytes]) -> bytes:
    """What an entry holds. One that no publisher wrote is kept whole: all of its fields."""
    return fields.get(b"e", b" ".join(part for field in fields.items() for part in field))
