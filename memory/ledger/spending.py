"""What models cost: tokens by group, day (UTC) and the stage that asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select

from memory.ledger.engine import Ledger
from memory.ledger.schema import spending

#: Who asks the language model, and who the embedding model: `recall` for its questions.
MODEL, EMBEDDING = frozenset({"compaction", "extraction"}), frozenset({"embedding", "recall"})


def day_of(now: datetime) -> str:
    """The day that tokens are counted for, as 2026-11-21."""
    return now.astimezone(UTC).strftime("%Y-%m-%d")


def left_of_day(now: datetime) -> float:
    """Seconds until the next day begins."""
    now = now.astimezone(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


def add(
    ledger: Ledger, connection: Connection, group: str, day: str, stage: str, tokens_in: int, tokens_out: int
) -> None:
    """Count one answer."""
    column = spending.c
    row = {"group_id": group, "day": day, "stage": stage, "calls": 1, "tokens_in": tokens_in, "tokens_out": tokens_out}
    statement = ledger.insert(spending).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["group_id", "day", "stage"],
            set_={
                "calls": column.calls + 1,
                "tokens_in": column.tokens_in + tokens_in,
                "tokens_out": column.tokens_out + tokens_out,
            },
        )
    )


def spent(connection: Connection, group: str, day: str, stages: Collection[str]) -> int:
    """Tokens that some stages of a group have used on a day, in and out."""
    column = spending.c
    query = select(func.coalesce(func.sum(column.tokens_in + column.tokens_out), 0)).where(
        column.group_id == group, column.day == day, column.stage.in_(sorted(stages))
    )
    return int(connection.execute(query).scalar_one())


def on(connection: Connection, day: str) -> dict[str, Mapping[str, dict[str, int]]]:
    """Calls and tokens of a day, by group and stage."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    query = select(spending).where(spending.c.day == day).order_by(spending.c.group_id, spending.c.stage)
    for row in connection.execute(query):
        counts = {"calls": row.calls, "tokens_in": row.tokens_in, "tokens_out": row.tokens_out}
        found.setdefault(row.group_id, {})[row.stage] = counts
    return dict(found)
