"""Datadog's client. A module of its own, loaded on first use: it loads requests, which nothing else needs."""

from __future__ import annotations

from datadog.dogstatsd.base import DogStatsd


class Statsd(DogStatsd):
    """A client that can be closed."""

    def close(self) -> None:
        """Send what is buffered, in at most two seconds, and close."""
        self.stop(timeout=2)
