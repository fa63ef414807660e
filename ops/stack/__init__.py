"""The embedded stack behind `memlane up`: servers, workers and Flower as processes of one supervisor."""

from ops.stack.errors import (
    AlreadyRunning,
    Interrupted,
    NotReady,
    PortTaken,
    StackError,
    StillEnding,
    public,
)
from ops.stack.home import running
from ops.stack.supervisor import Stack

__all__ = [
    "AlreadyRunning",
    "Interrupted",
    "NotReady",
    "PortTaken",
    "Stack",
    "StackError",
    "StillEnding",
    "public",
    "running",
]
