"""Kombu's Redis transport, made to outlive what it finds in Celery's lists, and a server that is at its memory limit.

What is no wake-up is discarded and counted. Wake-ups are hints: whichever is lost is sent again by the sweep.
"""

# Kombu's own methods have no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import OutOfMemoryError, RedisError

from memory import lua
from workers import envelope

log = logging.getLogger(__name__)

#: Pause after a subscription was refused, s.
PAUSE_SECONDS = 1.0


class QoS(redis.QoS):
    """Knows which messages are in hand, in Valkey too as long as there is room."""

    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError:
            # In this process only: the wake-up is worked off, which makes room, and is lost if this process dies.
            virtual.QoS.append(self, message, delivery_tag)
            log.warning("the queue server is at its memory limit: a wake-up is worked off without a note of it")

    def restore_unacked(self, client: Any = None) -> None:
        """As kombu's; but the connection over which wake-ups in hand would be given back may be gone."""
        try:
            super().restore_unacked(client)
        except (RedisError, AttributeError) as error:
            self._delivered.clear()
            log.warning("wake-ups in hand are left to the sweep: %s", type(error).__name__)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        try:
            super().restore_visible(*args, **options)
        except OutOfMemoryError:
            log.warning("the queue server is at its memory limit: wake-ups of dead workers are left to the sweep")


class Channel(redis.Channel):
    """Reads Celery's lists, and takes from them nothing but wake-ups."""

    QoS = QoS
    #: When it may be tried to subscribe to commands; monotonic, s.
    _subscribe_at = 0.0

    def _brpop_read(self, **options: Any) -> bool:
        """As kombu's, but for what is done with an entry.

        Raises:
            Empty: there was none.
        """
        try:
            try:
                found = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not found:
                raise Empty
            key, raw = found
            queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self._take(queue, raw)
            return True
        finally:
            self._in_poll = None  # type: ignore[assignment]
            self._flush_brpop_reauth()

    def _take(self, queue: str, raw: bytes) -> None:
        from workers.app import QUEUES

        if queue not in QUEUES:
            # Answers to commands, which only who has a worker's rights can write.
            self.connection._deliver(loads(bytes_to_str(raw)), queue)
            return
        try:
            message = envelope.read(raw, queue, _tasks())
        except envelope.NotAWakeUp as why:
            log.warning("a message that is no wake-up was discarded queue=%s bytes=%s: %s", queue, len(raw), why)
            self._count_discarded(queue)
        else:
            self.connection._deliver(message, queue)

    def _count_discarded(self, queue: str) -> None:
        try:
            with self.conn_or_acquire() as client:
                client.hincrby(lua.DISCARDED, queue, 1)
        except RedisError as error:
            log.warning("it could not be counted: %s", error)

    def _subscribe(self) -> None:
        if time.monotonic() >= self._subscribe_at:
            super()._subscribe()

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)
        except OutOfMemoryError:
            # Redis takes no subscriptions then; Valkey does.
            log.warning("the queue server is at its memory limit: it takes no subscription to commands")
            self._in_listen = None  # type: ignore[assignment]
            self._subscribe_at = time.monotonic() + PAUSE_SECONDS
            return None
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            log.warning("a command that can't be read was discarded: %s", type(error).__name__)
            return None

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except OutOfMemoryError:
            # Wake-ups are sent to a list by its name. Who needs the binding are those that are looked for by commands.
            log.warning("the queue server is at its memory limit: the binding of %s is not written", queue)


class Transport(redis.Transport):
    Channel = Channel


#: By these names kombu finds the transport of a URL.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "workers.transport:Transport"))


@cache
def _tasks() -> Mapping[str, Callable[..., Any]]:
    """Memlane's own tasks: those of Celery are not for who can write to a list."""
    from workers.app import app

    return {name: task.run for name, task in app.tasks.items() if name.startswith("memlane.")}
