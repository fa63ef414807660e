"""Generations: what each life of the queue server accepted, and what the ledger has dealt with of it.

A server that is wiped, fails over, or is cut off from power forgets events that it had accepted. How many it had
accepted in a group is known from its own counter, as far as a worker has seen it, and from the receipts that producers
keep. Once the lane holds nothing of a generation any more, it is closed: what is missing then is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, func, select, update

from memory.ledger.engine import Ledger
from memory.ledger.schema import generations

#: Stands for the generation of a lane entry that is a dead letter's event, put there once more.
RETRIED = "retried"


def count_dealt(ledger: Ledger, connection: Connection, group: str, dealt: Mapping[str, int]) -> None:
    """Count lane entries as dealt with, by generation. Those without one were put there by somebody who has not counted
    them as captured, so that is done here; those of retried letters were counted when they first came."""
    table = generations.c
    for generation, count in dealt.items():
        if generation != RETRIED:
            counts = {"dealt": count} if generation else {"dealt": count, "captured": count, "closed": True}
            statement = ledger.insert(generations).values(group_id=group, generation=generation, **counts)
            added = {"dealt": table.dealt + count} | ({} if generation else {"captured": table.captured + count})
            connection.execute(statement.on_conflict_do_update(index_elements=["group_id", "generation"], set_=added))


def note_captured(ledger: Ledger, connection: Connection, group: str, captured: Mapping[str, int]) -> None:
    """Note how many events each generation is known to have accepted: the most that anybody knows of counts."""
    for generation, count in captured.items():
        statement = ledger.insert(generations).values(group_id=group, generation=generation, captured=count)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["group_id", "generation"],
                set_={"captured": count},
                where=generations.c.captured < count,
            )
        )


def close(connection: Connection, group: str, current: str) -> None:
    """The group's lane holds nothing that was accepted before the current generation: the others are closed."""
    table = generations.c
    connection.execute(
        update(generations)
        .where(table.group_id == group, table.generation != current, table.closed.is_(False))
        .values(closed=True)
    )


def groups_to_close(connection: Connection, current: str, limit: int, after: str = "") -> list[str]:
    """The next groups, at most `limit`, by name, behind `after`, in which an earlier generation is not closed."""
    table = generations.c
    query = (
        select(table.group_id)
        .where(table.closed.is_(False), table.generation != current, table.group_id > after)
        .distinct()
        .order_by(table.group_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def captured(connection: Connection, group: str) -> dict[str, int]:
    """How many events each generation is known to have accepted."""
    table = generations.c
    rows = connection.execute(select(table.generation, table.captured).where(table.group_id == group))
    return {row.generation: row.captured for row in rows}


def lost(connection: Connection, group: str) -> int:
    """Events that were accepted by generations that are closed, and that never came into the ledger."""
    table = generations.c
    query = select(func.coalesce(func.sum(table.captured - table.dealt), 0)).where(
        table.group_id == group, table.closed.is_(True), table.captured > table.dealt
    )
    return int(connection.execute(query).scalar_one())
