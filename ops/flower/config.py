"""Flower's configuration: `celery -A workers.app flower --conf=ops/flower/config.py --address=… --port=…`.

Flower executes this file and takes every global name that is one of its options (`flower/options.py`,
`tornado.options.parse_config_file`); so no name here may be one by accident: `logging`, for instance. Broker and home
come from Memlane's settings, and passwords from the home, so that neither is in a command line.
"""

from __future__ import annotations

import ast
from typing import Any

from memory.settings import settings
from ops.flower import metrics
from ops.stack.flower import USER, password
from ops.stack.home import secret
from workers.stages import STAGES

_home = settings().home
(_home / "flower").mkdir(mode=0o700, parents=True, exist_ok=True)
metrics.register()
_stage_tasks = {f"memlane.{stage}" for stage in STAGES}

basic_auth = [f"{USER}:{password(_home)}"]
#: Kept, so that a restart of Flower signs nobody out.
cookie_secret = secret(_home, "flower-cookie")

persistent = True
db = str(_home / "flower" / "state")
#: How much is lost if Flower is killed, ms. Saving takes as long as there are tasks: 10,000 take about 0.2 s.
state_save_interval = 30_000
max_tasks = 10_000
#: Seconds. Workers that scale down or restart under another name would pile up.
purge_offline_workers = 300
#: Workers send events from their start (`-E`): there is no need to ask them every 5 s.
enable_events = False
natural_time = True
tasks_columns = "name,args,state,received,runtime,worker"


def format_task(task: Any) -> Any:
    """Show of a task's arguments the group, and nothing else; `task` is a copy."""
    task.args = _group(task.args) if task.name in _stage_tasks else ""
    task.kwargs = ""
    return task


def _group(arguments: str | None) -> str:
    """The group of a wake-up.

    Args:
        arguments: as the worker's event has them: the repr of a tuple, maybe cut short.
    """
    try:
        match ast.literal_eval(arguments or ""):
            case (str(group),) | [str(group)]:
                return group
    except (SyntaxError, ValueError):
        pass
    return ""
