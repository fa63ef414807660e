"""Numbered events: the oracle can tell from what is found which ones are missing, doubled, or out of order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

#: Events of every number carry what the stages care about: paths (`cache`), errors and tokens (`telemetry`).
_KINDS = ("file.write", "error", "completion")


@dataclass(frozen=True)
class Sent:
    """What was published: `count` events by each publisher into each group, numbered from 0."""

    groups: tuple[str, ...]
    count: int
    publishers: tuple[str, ...] = ("p0",)

    @property
    def total(self) -> int:
        return len(self.groups) * len(self.publishers) * self.count

    def ids(self, group: str) -> Iterator[str]:
        for publisher in self.publishers:
            for number in range(self.count):
                yield id_of(group, publisher, number)


def id_of(group: str, publisher: str, number: int) -> str:
    return f"{group}-{publisher}-{number:06d}"


def numbered(group: str, publisher: str, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """The events of these numbers. The same again gives the same ids."""
    return [_event(group, publisher, number) for number in numbers]


def _event(group: str, publisher: str, number: int) -> dict[str, Any]:
    kind = _KINDS[number % len(_KINDS)]
    data: dict[str, Any] = {"number": number}
    if kind == "file.write":
        data["path"] = f"src/module{number % 50}.py"
    elif kind == "error":
        data["message"] = f"failure number {number}"
    else:
        data |= {"task": f"task number {number}", "tokens": 1}
    return {"id": id_of(group, publisher, number), "group": group, "type": kind, "session": publisher, "data": data}
