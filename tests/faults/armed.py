"""The workers' app, with steps at which a worker kills or stops itself when it is ordered to. The product knows nothing
of it: `celery -A tests.faults.armed worker …` instead of `celery -A workers.app worker …`.

Orders are given by orders.py. Who comes by first takes the order (renames the file), so it is carried out once.

Steps are named by what was just done or is about to be done:

    before take_lease STAGE      a wake-up was taken from Celery's queue, and nothing done yet
    after take_lease STAGE       the lease is held
    after take_token STAGE       the fencing token is taken
    after read STAGE             a batch was read, no transaction is begun (record, index)
    in transaction STAGE         everything is written, nothing committed
    before ack record            committed, and not yet deleted from the lane
    after ack record             deleted, and the stages behind not yet woken
    before claim STAGE           a follower's effects outside of SQL are done, its cursor is not moved
    before wake_followers STAGE  committed, and the stages behind not yet woken
    before let_go STAGE          all is done, the lease is held
    after let_go STAGE           the lease is gone, the last look for work is not yet taken

Deadly events kill whoever works on them, each time: `data.deadly` names the stage.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory import lua

_FOLDER = Path(os.environ["FAULTS_ORDERS"])


def _reached(step: str, group: str) -> None:
    given = _FOLDER / f"order-{group}"
    try:
        order = json.loads(given.read_text())
    except FileNotFoundError:
        return
    if order["step"] != step:
        return
    mine = _FOLDER / f"order-{group}.{os.getpid()}"
    try:
        given.rename(mine)
    except FileNotFoundError:
        return  # another one took it
    mine.write_text(str(os.getpid()))
    mine.rename(_FOLDER / f"taken-{group}")
    if order["whole"]:
        os.kill(os.getppid(), order["signal"])
    os.kill(os.getpid(), order["signal"])


def _around(function: Callable[..., Any], before: Callable[..., str], after: Callable[..., str]) -> Callable[..., Any]:
    """The function with a step before and one after it; what the two give is `step group`, or empty."""

    def armed(*arguments: Any, **named: Any) -> Any:
        _named(before(*arguments, **named))
        result = function(*arguments, **named)
        _named(after(*arguments, **named))
        return result

    return armed


def _named(step_and_group: str) -> None:
    if step_and_group:
        step, _, group = step_and_group.rpartition(" ")
        _reached(step, group)


def _nowhere(*_: Any, **__: Any) -> str:
    return ""


def _script(when: str) -> Callable[..., str]:
    def step(_client: object, name: str, keys: list[str], arguments: list[Any]) -> str:
        kind, _, rest = keys[0].removeprefix(lua.PREFIX).partition(":")
        if kind == "lane":
            return f"{when} {name} record {rest}"
        if kind != "lease":
            return ""
        stage, _, group = rest.partition(":")
        if name == "renew_lease":
            # The same script renews a lease and ends it.
            return f"{when} let_go {stage} {group}" if arguments[1] == 0 else ""
        return f"{when} {name} {stage} {group}"

    return step


# Before the workers' modules are imported, since some of them keep what they import.
lua.run = _around(lua.run, _script("before"), _script("after"))

from memory.ledger import cursors  # noqa: E402
from memory.ledger.log import Slice  # noqa: E402
from workers import record as _record  # noqa: E402
from workers import stage as _stage  # noqa: E402
from workers.app import app  # noqa: E402
from workers.index import Index  # noqa: E402

#: As modules whose names may be set.
record: Any = _record
stage: Any = _stage

cursors.take_token = _around(
    cursors.take_token, _nowhere, lambda _ledger, stage, group: f"after take_token {stage} {group}"
)
cursors.claim = _around(cursors.claim, lambda _connection, stage, group, *_: f"before claim {stage} {group}", _nowhere)
cursors.advance = _around(
    cursors.advance, _nowhere, lambda _connection, stage, group, *_: f"in transaction {stage} {group}"
)
record._parsed = _around(record._parsed, _nowhere, lambda _found, group: f"after read record {group}")
Index.before = _around(  # type: ignore[method-assign]
    Index.before, _nowhere, lambda _self, group, _events: f"after read index {group}"
)
record.record = _around(record.record, _nowhere, lambda *_, group, **__: f"in transaction record {group}")
stage.wake_followers = _around(
    stage.wake_followers, lambda stage, group, _types: f"before wake_followers {stage} {group}", _nowhere
)

_parsed, _within = record._parsed, Index.within


def _parsed_deadly(found: Any, group: str) -> Any:
    for _, fields in found:
        if b'"deadly":"record"' in fields.get(b"e", b"").replace(b": ", b":"):
            os.kill(os.getpid(), signal.SIGKILL)
    return _parsed(found, group)


def _within_deadly(self: Index, connection: Any, group: str, events: Slice) -> None:
    if any(event.data.get("deadly") == "index" for event in events.events):
        os.kill(os.getpid(), signal.SIGKILL)
    _within(self, connection, group, events)


record._parsed = _parsed_deadly
Index.within = _within_deadly  # type: ignore[method-assign]

__all__ = ["app"]
