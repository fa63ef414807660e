"""The books: what was captured must be accounted for. Every term is counted on its own, none by subtraction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from memory.ledger import generations
from memory.ledger.schema import dead_letters, events, stage_cursors


@dataclass(frozen=True, slots=True)
class GroupBooks:
    """A group's terms that the ledger knows.

    `captured` is what each generation of the queue server is known to have accepted; `lost` what those that are over
    had accepted and never came into the ledger. `dead` counts dead letters, those that were dropped included.
    `forgotten` are those of the recorded events whose content was forgotten.
    """

    captured: dict[str, int]
    recorded: int
    duplicates: int
    dead: int
    lost: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class StageBooks:
    """`interest = done + pending + dead` must hold for each stage of each group."""

    stage: str
    group: str
    interest: int
    done: int
    pending: int
    dead: int


class NoSuchGroup(LookupError):
    """The ledger knows no group of this name."""

    def __init__(self, group: str) -> None:
        super().__init__(group)
        self.group = group

    def __str__(self) -> str:
        return f"the ledger has no group {self.group}: `memlane status` lists those there are, --group names one"


def exists(connection: Connection, group: str) -> None:
    """
    Raises:
        NoSuchGroup: nothing of this group was ever recorded.
    """
    row = select(stage_cursors.c.seq).where(stage_cursors.c.stage == "record", stage_cursors.c.group_id == group)
    if connection.execute(row).first() is None:
        raise NoSuchGroup(group)


def groups(connection: Connection) -> list[str]:
    """Groups that the ledger knows, by name."""
    query = select(stage_cursors.c.group_id).where(stage_cursors.c.stage == "record").order_by(stage_cursors.c.group_id)
    return list(connection.execute(query).scalars())


def of_group(connection: Connection, group: str, *, quick: bool = False) -> GroupBooks:
    """The books of one group.

    Args:
        quick: take `recorded` from what stage `record` has counted, and do not count the events themselves.
    """
    cursor = connection.execute(
        select(stage_cursors.c.done, stage_cursors.c.duplicates).where(
            stage_cursors.c.group_id == group, stage_cursors.c.stage == "record"
        )
    ).one_or_none()
    recorded, duplicates = (cursor.done, cursor.duplicates) if cursor else (0, 0)
    if not quick:
        recorded = connection.execute(select(func.count()).where(events.c.group_id == group)).scalar_one()
    return GroupBooks(
        captured=generations.captured(connection, group),
        recorded=recorded,
        duplicates=duplicates,
        dead=_dead(connection, "record", group),
        lost=generations.lost(connection, group),
        forgotten=connection.execute(
            select(func.count()).where(events.c.group_id == group, events.c.forgotten.is_not(None))
        ).scalar_one(),
    )


def last_stream_id(connection: Connection, group: str) -> str | None:
    """Last lane entry of a group that the ledger has dealt with."""
    query = select(stage_cursors.c.stream_id).where(
        stage_cursors.c.group_id == group, stage_cursors.c.stage == "record"
    )
    return connection.execute(query).scalar()


def of_stage(connection: Connection, stage: str, group: str, types: Collection[str] | None) -> StageBooks:
    """The books of one stage of one group. `types` are those that it cares about; None for all."""
    cursor = connection.execute(
        select(stage_cursors.c.seq, stage_cursors.c.done).where(
            stage_cursors.c.group_id == group, stage_cursors.c.stage == stage
        )
    ).one_or_none()
    seq, done = (cursor.seq, cursor.done) if cursor else (0, 0)
    wanted = [events.c.group_id == group]
    if types is not None:
        wanted.append(events.c.type.in_(sorted(types)))
    interest = connection.execute(select(func.count()).where(*wanted)).scalar_one()
    pending = connection.execute(select(func.count()).where(*wanted, events.c.seq > seq)).scalar_one()
    return StageBooks(stage, group, interest, done, pending, _dead(connection, stage, group))


def lag(connection: Connection, follows: Mapping[str, str]) -> dict[str, int]:
    """For each stage, by how many events its groups are behind the stage that it follows. Cheap: cursors only."""
    behind = dict.fromkeys(follows, 0)
    seqs: dict[tuple[str, str], int] = {
        (row.group_id, row.stage): row.seq
        for row in connection.execute(select(stage_cursors.c.group_id, stage_cursors.c.stage, stage_cursors.c.seq))
    }
    for (group, ahead), seq in seqs.items():
        for stage, followed in follows.items():
            if followed == ahead:
                behind[stage] += max(0, seq - seqs.get((group, stage), 0))
    return behind


def _dead(connection: Connection, stage: str, group: str) -> int:
    letters = connection.execute(
        select(func.count()).where(dead_letters.c.group_id == group, dead_letters.c.stage == stage)
    ).scalar_one()
    dropped = connection.execute(
        select(stage_cursors.c.dropped).where(stage_cursors.c.group_id == group, stage_cursors.c.stage == stage)
    ).scalar()
    return letters + (dropped or 0)
