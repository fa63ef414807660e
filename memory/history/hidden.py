"""Parts that were hidden from the model: history goes on showing them, marked."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from memory.history.place import Place

_TYPES = ("part.hidden", "part.shown")


@dataclass(frozen=True, slots=True)
class Hidden:
    """What is hidden of some sessions: by part, what stands in its place for the model, if anything does."""

    parts: Mapping[str, str | None]

    def mark(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What an answer says of an event with this data: `hidden`, and its `replacement` where it is."""
        for name in ("part", "message"):
            if (named := data.get(name)) in self.parts and isinstance(named, str):
                return {"hidden": True, "replacement": self.parts[named]}
        return {"hidden": False}


def hidden_in(place: Place, names: Collection[str]) -> Hidden:
    """What is hidden now of these sessions."""
    parts: dict[str, str | None] = {}
    for row in place.all_events(names, _TYPES):
        data = json.loads(row.data)
        if row.type == "part.hidden":
            parts[data["part"]] = data.get("replacement")
        else:
            parts.pop(data["part"], None)
    return Hidden(parts)
