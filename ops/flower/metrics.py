"""Memlane's own figures among Flower's Prometheus metrics (`/metrics`)."""

from __future__ import annotations

from collections.abc import Iterator

import redis
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from memory import lua
from memory.settings import settings

#: How long the queue server may take to answer, s: whoever reads the metrics waits for it.
TIMEOUT_SECONDS = 1.0


class Hooks(Collector):
    """Results of users' hooks."""

    def describe(self) -> Iterator[CounterMetricFamily]:
        """What there is, told without asking the queue server."""
        yield _hooks()

    def collect(self) -> Iterator[CounterMetricFamily]:
        found = _hooks()
        try:
            with redis.Redis.from_url(settings().valkey, socket_timeout=TIMEOUT_SECONDS) as client:
                counters: dict[bytes, bytes] = client.hgetall(lua.PLUGINS)
        except redis.RedisError:
            return  # nothing is known now, which is not the same as nothing having happened
        for name, count in counters.items():
            hook, _, result = name.decode("utf-8", "replace").rpartition(":")
            found.add_metric([hook, result], int(count))
        yield found


def register() -> None:
    """Have them read with the others."""
    REGISTRY.register(Hooks())


def _hooks() -> CounterMetricFamily:
    return CounterMetricFamily("memlane_hooks", "Results of users' hooks in workers.", labels=["hook", "result"])
