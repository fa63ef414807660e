"""Celery's consumer, made to come back soon after the queue server does."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker import consumer

#: Pause between two tries to connect, s: at first, and at most. Celery's own grows to 30 s; lanes would sleep as long.
FIRST_SECONDS, MOST_SECONDS = 0.5, 2.0


class Consumer(consumer.Consumer):
    """Tries to connect every two seconds, however long the queue server is away."""

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=FIRST_SECONDS, interval_step=FIRST_SECONDS, interval_max=MOST_SECONDS
        )
        return super().ensure_connected(conn)
