"""Celery tasks: one a stage, `memlane.STAGE(group)`; and those for questions, globs and gauges."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import setup_logging, worker_init, worker_process_shutdown

from memory.ledger import LedgerUnavailable
from workers import dispatcher, resources, telemetry
from workers.app import app
from workers.invalidate import invalidate
from workers.logs import configure
from workers.stage import Stage, drain
from workers.stages import STAGES

log = logging.getLogger(__name__)


def _register(stage: Stage) -> None:
    @app.task(name=f"memlane.{stage.name}")
    def work_off(group: str) -> None:
        drain(stage, group)


for _stage in STAGES.values():
    _register(_stage)


@app.task(name="memlane.recall")
def _reply(id: str) -> None:
    # Here, since ranking needs numpy, which workers of other queues need not load.
    from workers.recall import reply

    reply(id)


app.task(telemetry.gauges, name="memlane.gauges")
app.task(invalidate, name="memlane.invalidate")


@setup_logging.connect
def _logging(**options: Any) -> None:
    configure(**options)


@worker_init.connect
def _migrate(**_: Any) -> None:
    """Bring the ledger's schema up to date before the first wake-up; or with it, where the database is away now."""
    try:
        resources.ledger()
    except LedgerUnavailable as error:
        log.warning("the worker starts without its ledger: %s", error)


@worker_process_shutdown.connect
def _close(**_: Any) -> None:
    """Leave nothing half open: SQLite then folds its log into the database."""
    resources.close()


__all__ = ["dispatcher"]
