"""The Celery app: one queue a stage, wake-ups only.

A wake-up says "drain this stage of this group" and may be lost or doubled without harm, so tasks are acknowledged
when they are taken, have no results, and carry neither events nor secrets. Start a worker with
`celery -A workers.app worker -Q record,index,...`.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from memory.lua import PREFIX
from memory.settings import settings
from workers import transport
from workers.broker import broker

#: Every queue there is: the stages, and the questions.
QUEUES = (
    *("record", "index", "episodes", "cache", "telemetry", "plugins", "compaction", "extraction", "embedding"),
    "recall",
)

app = Celery("memlane", set_as_current=True, include=["workers.tasks"])


@app.add_defaults
def _configuration() -> dict[str, Any]:
    """Read when Celery first needs it, so that importing a task needs no queue server."""
    return {
        **broker(settings().valkey),
        "broker_connection_retry_on_startup": True,
        # For as long as it takes.
        "broker_connection_max_retries": None,
        # Also after an answer that is none, or a refusal: of a server that was promoted, is full, or is another's.
        "broker_channel_error_retry": True,
        "worker_consumer": "workers.consumer:Consumer",
        "broker_transport_options": {
            "global_keyprefix": PREFIX,
            # Above the hard time limit, so that the broker never hands a running wake-up to a second worker.
            "visibility_timeout": 3600,
            # The default, None, hangs for ever on a connection that died without a word.
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            # A worker that waits for wake-ups on such a connection finds out after at most twice this and a second, s;
            # by default after 51 s, in which it works off nothing.
            "health_check_interval": 3,
        },
        "task_default_queue": "record",
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_time_limit": settings().task_time_limit,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "event_queue_ttl": 60,
        "timezone": "UTC",
    }


__all__ = ["QUEUES", "app", "transport"]
