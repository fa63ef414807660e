"""Logging of workers: key=value, one line, quiet, without event content."""

from __future__ import annotations

import logging
import sys
from typing import Any

FORMAT = "%(asctime)s level=%(levelname)s process=%(processName)s logger=%(name)s %(message)s"


def configure(loglevel: int | str = logging.WARNING, **_: Any) -> None:
    """Log to stderr. Celery's own lines about received and finished wake-ups are left out."""
    logging.basicConfig(level=loglevel or logging.WARNING, format=FORMAT, stream=sys.stderr, force=True)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    for name in ("alembic", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Where no Datadog agent listens it would say so every few seconds, for ever.
    logging.getLogger("datadog.dogstatsd").setLevel(logging.ERROR)
