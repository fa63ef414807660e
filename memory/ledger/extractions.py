"""What a model has answered to runs of events, so that it need not be asked again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, exists, or_, select, update

from memory.extraction.answer import Answer
from memory.ledger.engine import Ledger
from memory.ledger.schema import extractions


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer to the events of a group's prose with `first_seq <= seq <= last_seq`."""

    first_seq: int
    last_seq: int
    answer: Answer


def beginning_at(connection: Connection, group: str, seq: int) -> Extraction | None:
    """The answer to the run that begins with this event."""
    query = select(extractions).where(extractions.c.group_id == group, extractions.c.first_seq == seq)
    row = connection.execute(query).one_or_none()
    return Extraction(row.first_seq, row.last_seq, Answer.model_validate_json(row.answer)) if row else None


def insert(ledger: Ledger, connection: Connection, group: str, found: Extraction, model: str) -> None:
    """Store an answer; one that is there for the same first event stays."""
    row = {
        "group_id": group,
        "first_seq": found.first_seq,
        "last_seq": found.last_seq,
        "model": model,
        "time": int(time.time() * 1000),
        "answer": found.answer.model_dump_json(exclude_defaults=True),
    }
    connection.execute(ledger.insert(extractions).values(row).on_conflict_do_nothing())


def of_group(connection: Connection, group: str) -> Iterator[Extraction]:
    """All answers of a group, in the order of their events."""
    query = select(extractions).where(extractions.c.group_id == group).order_by(extractions.c.first_seq)
    for row in connection.execute(query):
        yield Extraction(row.first_seq, row.last_seq, Answer.model_validate_json(row.answer))


def stored(connection: Connection, group: str) -> bool:
    """Whether there is any answer of a group."""
    return bool(connection.execute(select(exists().where(extractions.c.group_id == group))).scalar())


def empty_summaries(ledger: Ledger, group: str, entities: Collection[str]) -> None:
    """Empty what all answers sum up of these entities: each goes on from those before it, and says what they said.

    Raises:
        LedgerUnavailable
    """
    with ledger.write() as connection:
        for each in list(of_group(connection, group)):
            told = [entity for entity in each.answer.entities if entity.uuid in entities and entity.summary]
            for entity in told:
                entity.summary = ""
            if told:
                row = extractions.c.group_id == group, extractions.c.first_seq == each.first_seq
                answer = each.answer.model_dump_json(exclude_defaults=True)
                connection.execute(update(extractions).where(*row).values(answer=answer))


def forget(connection: Connection, group: str, seqs: Collection[int]) -> list[Extraction]:
    """Delete the answers to runs that one of these events is in.

    Returns:
        Them, as they were.
    """
    column = extractions.c
    found: list[Extraction] = []
    listed = sorted(seqs)
    for start in range(0, len(listed), 200):
        some = listed[start : start + 200]
        inside = or_(*((column.first_seq <= seq) & (column.last_seq >= seq) for seq in some))
        rows = connection.execute(select(extractions).where(column.group_id == group, inside))
        found += [Extraction(row.first_seq, row.last_seq, Answer.model_validate_json(row.answer)) for row in rows]
    if found:
        firsts = [each.first_seq for each in found]
        connection.execute(delete(extractions).where(column.group_id == group, column.first_seq.in_(firsts)))
    return found
