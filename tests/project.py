"""A made-up project's events: several sessions and agents that touch the same files, hit the same errors, plan the same
tasks, out of the order of time here and there; always the same ones for the same number."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

_BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def project(group: str, count: int, seed: int = 1) -> list[dict[str, Any]]:
    """`count` events of a group, in order."""
    chance = random.Random(seed)
    return [_event(group, number, chance) for number in range(count)]


def _event(group: str, number: int, chance: random.Random) -> dict[str, Any]:
    session = f"ses_{chance.randrange(6)}"
    path = f"src/m{chance.randrange(12)}.py"
    # An import of what was before comes behind what was captured live.
    time = _BEGAN + timedelta(minutes=number - (chance.randrange(200) if chance.random() < 0.3 else 0))
    task = f"task {chance.randrange(8)}"
    todo = {"content": task, "status": chance.choice(("pending", "completed", "in_progress")), "priority": "high"}
    type, data = chance.choice(
        [
            ("session.start", {"title": f"Title {number}", "model": f"model-{number % 3}"}),
            ("session.end", {"reason": f"reason {number % 4}", "messages": number}),
            ("file.write", {"path": path, "tool": "edit", "additions": number}),
            ("error", {"message": f"error {number % 7}", "name": f"E{number % 5}", "severity": chance.choice("ab")}),
            ("tool.call", {"tool": "bash", "status": "error", "path": path}),
            ("todo.updated", {"todos": [todo, {"content": f"other {number % 5}", "status": "pending"}]}),
            ("completion", {"task": task, "tokens": number}),
            ("vcs.commit", {"sha": f"{number % 20:040x}", "message": f"Change {path}", "paths": [path, "README"]}),
            ("chat.message", {"role": "user", "text": f"What about {path} and word{number}?"}),
            ("user.request", {"request": f"remember number{number}", "action": "remember"}),
            ("context.warning", {"context_size": number, "limit": 1000}),
        ]
    )
    return {
        "id": f"{group}-{number:05}",
        "source": "test",
        "group": group,
        "type": type,
        "time": time.isoformat(),
        "session": session if chance.random() < 0.9 else None,
        "agent": f"agent-{chance.randrange(3)}",
        "user": f"user-{chance.randrange(3)}@example.org",
        "project": "/w/shop",
        "data": data,
    }
