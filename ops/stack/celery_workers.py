"""The Celery workers: which there are, what they serve, and how they are started."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Collection
from pathlib import Path

import ops
from memory.lua import PREFIX
from ops.stack import users
from ops.stack.process import Program

#: Name -> (queues, processes in the pool). The graph and recall have workers of their own, so that neither a slow graph
#: nor a full lane makes questions wait; users' hooks too, since nobody knows how long they take; and compaction, which
#: may wait for a model.
WORKERS = {
    "lanes": (("record", "index", "cache", "telemetry"), 2),
    "graph": (("episodes",), 1),
    "plugins": (("plugins",), 1),
    "compaction": (("compaction",), 1),
    "extraction": (("extraction",), 1),
    "embedding": (("embedding",), 1),
    "recall": (("recall",), 1),
}
#: Those that may ask a model, and where its key is; nobody else gets that.
ASKING = {
    "compaction": "MEMLANE_LLM_API_KEY",
    "extraction": "MEMLANE_LLM_API_KEY",
    "embedding": "MEMLANE_EMBEDDING_API_KEY",
    "recall": "MEMLANE_EMBEDDING_API_KEY",
}
#: Those that have nothing to do without a model, and the setting that names it.
NEEDING = {"extraction": "llm_model", "embedding": "embedding_model"}
#: How long a worker may take to start, seconds.
START_SECONDS = 120.0
#: How long the tasks in hand may go on after SIGTERM, seconds. A drain gives way after `turn_seconds` (2), and one that
#: is killed loses nothing.
STOP_SECONDS = 15.0
#: How long a worker may take to answer whether it is up, seconds.
PING_SECONDS = 0.5

#: Variables that celery's command line reads besides CELERY_*, and with which another project's broker, app or settings
#: would get into our workers.
_CELERY_VARIABLES = {"APP", "BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE", "SKIP_CHECKS"}
#: They would lead elsewhere than to this stack, whose addresses are in its stack.json.
_ADDRESS_VARIABLES = {"MEMLANE_VALKEY_URL", "MEMLANE_VALKEY_USER", "MEMLANE_GRAPH_URL"}


def environment(home: Path) -> dict[str, str]:
    """The environment of every process of the stack: it leads to this home, and holds no password of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _CELERY_VARIABLES | _ADDRESS_VARIABLES | set(ASKING.values()) and not name.startswith("CELERY_")
    }
    kept["MEMLANE_HOME"] = str(home)
    # FalkorDB's matrix library would keep compiled code in the user's home.
    kept["GRAPHBLAS_CACHE_PATH"] = str(home / "graph" / "compiled")
    root = Path(ops.__file__).parents[1]
    # Processes run in a folder of the home, lest `-A workers.app` finds a package `workers` in the user's project. So a
    # source tree must be named; an installed package is found anyway.
    if root.name not in ("site-packages", "dist-packages"):
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), kept.get("PYTHONPATH")]))
    return kept


def programs(queue_url: str, lanes: int, models: Collection[str] = ()) -> list[Program]:
    """All workers.

    Args:
        queue_url: where readiness is asked for; the workers themselves read it from stack.json.
        lanes: how many workers serve the lanes.
        models: names of the settings by which there are models.
    """
    others = [name for name in WORKERS if name != "lanes" and NEEDING.get(name) in (None, *models)]
    names = ["lanes", *(f"lanes-{number}" for number in range(2, lanes + 1)), *others]
    return [_program(name, *WORKERS[name if name in WORKERS else "lanes"], queue_url) for name in names]


def celery(*arguments: str) -> list[str]:
    """Command line of a celery command for Memlane's app."""
    return [sys.executable, "-m", "celery", "-A", "workers.app", *arguments]


def _program(name: str, queues: tuple[str, ...], processes: int, queue_url: str) -> Program:
    node = f"{name}@{socket.gethostname()}"
    return Program(
        name=name,
        purpose=", ".join(queues),
        command=celery(
            "worker",
            f"--hostname={node}",
            f"--queues={','.join(queues)}",
            f"--concurrency={processes}",
            "--pool=prefork",
            "--task-events",
            # Workers have nothing to say to each other: what they share is in the lanes.
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ),
        ready=lambda: _answers(queue_url, node),
        # Without its broker a worker can't finish anything, so it isn't asked to; its pool dies with it.
        death_signal=signal.SIGKILL,
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
        environment={"MEMLANE_VALKEY_USER": users.WORKER, **_key(name)},
    )


def _key(name: str) -> dict[str, str]:
    key = ASKING.get(name, "")
    return {key: os.environ[key]} if os.environ.get(key) else {}


def _answers(queue_url: str, node: str) -> bool:
    """Does the worker take commands, and so tasks?"""
    # Not by a Celery app, which would ask the broker in CELERY_BROKER_URL where somebody has set that.
    from kombu.connection import Connection
    from kombu.exceptions import OperationalError
    from kombu.pidbox import Mailbox

    options = {"global_keyprefix": PREFIX, "socket_timeout": 5, "socket_connect_timeout": 1}
    try:
        with Connection(queue_url, transport_options=options) as connection:  # type: ignore[no-untyped-call]
            mailbox = Mailbox("celery", type="fanout", accept=["json"])(connection)  # type: ignore[no-untyped-call]
            return bool(mailbox.call([node], "ping", timeout=PING_SECONDS))
    except OperationalError:
        return False
