"""Whose vectors groups have: all of a group are of one model. Without numpy, for workers that have no use for it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from memory.ledger.schema import embedding_models


def model_of(connection: Connection, group: str) -> tuple[str, int] | None:
    """Whose vectors a group has (`Settings.embeddings`), and of how many dimensions; None where it has none."""
    query = select(embedding_models.c.model, embedding_models.c.dimensions)
    row = connection.execute(query.where(embedding_models.c.group_id == group)).one_or_none()
    return (row.model, row.dimensions) if row else None


def of_others(connection: Connection, model: str, limit: int, after: str = "") -> list[str]:
    """The next groups with vectors of any other model, at most `limit`, by name, behind `after`."""
    column = embedding_models.c
    query = select(column.group_id).where(column.model != model, column.group_id > after)
    return list(connection.execute(query.order_by(column.group_id).limit(limit)).scalars())
