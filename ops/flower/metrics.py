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


class Counters(Collector):
    """A hash of counters in Valkey, whose fields are the labels, joined by colons."""

    def __init__(self, key: str, name: str, documentation: str, labels: list[str]) -> None:
        self._key = key
        self._family = name, documentation, labels

    def describe(self) -> Iterator[CounterMetricFamily]:
        """What there is, told without asking the queue server."""
        yield self._empty()

    def collect(self) -> Iterator[CounterMetricFamily]:
        found, parts = self._empty(), len(self._family[2]) - 1
        try:
            with redis.Redis.from_url(settings().valkey, socket_timeout=TIMEOUT_SECONDS) as client:
                counters: dict[bytes, bytes] = client.hgetall(self._key)
        except redis.RedisError:
            return  # nothing is known now, which is not the same as nothing having happened
        for name, count in counters.items():
            found.add_metric(name.decode("utf-8", "replace").rsplit(":", parts), int(count))
        yield found

    def _empty(self) -> CounterMetricFamily:
        name, documentation, labels = self._family
        return CounterMetricFamily(name, documentation, labels=labels)


HOOKS = Counters(lua.PLUGINS, "memlane_hooks", "Results of users' hooks in workers.", ["hook", "result"])
TOKENS = Counters(
    lua.MODEL_TOKENS,
    "memlane_model_tokens",
    "Tokens given to a model (in) and answered (out).",
    ["group", "stage", "way"],
)


def register() -> None:
    """Have them read with the others."""
    REGISTRY.register(HOOKS)
    REGISTRY.register(TOKENS)
