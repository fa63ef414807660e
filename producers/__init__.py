"""How events get in: `Publisher` puts hook events into a group's lane and returns at once."""

import logging

from producers.publisher import AsyncPublisher, Publisher, QueueFull, QueueUnavailable
from producers.spool import SpoolFull

# Python would print what an agent's program has not asked for into its terminal.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = ["AsyncPublisher", "Publisher", "QueueFull", "QueueUnavailable", "SpoolFull"]
