"""What one would build without Memlane: a Celery task for each event, acknowledged late, that inserts one row.

The insert goes into the same table of the same ledger, in a transaction of its own.
"""

from __future__ import annotations

import os
import time

from celery import Celery

from memory.events import parse
from memory.ledger import Ledger
from memory.ledger.log import row_of
from memory.ledger.schema import events

app = Celery("plain", broker=os.environ["PLAIN_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_send_task_events=True,
    task_default_queue="plain",
    broker_transport_options={"global_keyprefix": "plain:"},
)
_ledgers: dict[int, Ledger] = {}


@app.task(name="plain.store")
def store(raw: str) -> None:
    """Check one event and insert it. Nothing orders them, so the time serves as `seq`."""
    ledger = _ledgers.get(os.getpid()) or _ledgers.setdefault(os.getpid(), Ledger(os.environ["PLAIN_DATABASE"]))
    event = parse(raw)
    row = row_of(event, event.group, time.time_ns(), "0-0", time.time_ns() // 1_000_000, "")
    with ledger.write() as connection:
        connection.execute(ledger.insert(events).on_conflict_do_nothing(index_elements=["id"]), [row])
