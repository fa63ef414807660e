"""How events get in: `Publisher` puts hook events into a group's lane and returns at once."""

from producers.publisher import AsyncPublisher, Publisher, QueueFull, QueueUnavailable
from producers.spool import SpoolFull

__all__ = ["AsyncPublisher", "Publisher", "QueueFull", "QueueUnavailable", "SpoolFull"]
