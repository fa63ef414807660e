"""Workers that are stopped (SIGSTOP), as by a machine that sleeps or a container that is frozen.

stopped ──▶ lease, token … ■ ─────────────────────────────▶ goes on: fenced, writes nothing
heir                        └─ lease over ─▶ does the work
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import redis

from memory import lua
from tests import servers
from tests.faults.numbered import Sent
from tests.faults.oracle import recovered, settle
from tests.faults.orders import order, taken
from tests.faults.programs import ARMED, LANES, ROOT, Graph, Worker
from tests.faults.rig import groups, rig

#: Where Celery keeps the wake-ups of stage `record`.
QUEUE = lua.PREFIX + "record"
#: Where a process of the pool is stopped; each of them holds a lease then.
STEPS = (
    "after read record",
    "before ack record",
    "after read index",
    "before wake_followers cache",
)


def test_who_was_stopped_past_its_lease_changes_nothing(graph: Graph, tmp_path: Path) -> None:
    """Given processes that were stopped with a lease in their hands, and another worker that did their work meanwhile, If
    they go on, I expect them to be fenced: nothing doubled, nothing lost, also not of what was published meanwhile."""
    sent = Sent(groups(len(STEPS)), 150)
    with rig(tmp_path, graph) as system:
        system.launched("graph", queues="episodes")
        stopped = system.worker("stopped", queues=LANES, processes=len(STEPS), app=ARMED)
        for group, step in zip(sent.groups, STEPS, strict=True):
            order(system.folder, step, group, number=signal.SIGSTOP)
        system.publish(sent, range(100))
        processes = [taken(system.folder, group) for group in sent.groups]
        system.worker("heir", queues=LANES)
        recovered(system, Sent(sent.groups, 100), seconds=30)
        system.publish(sent, range(100, 150))
        for process in processes:
            os.kill(process, signal.SIGCONT)
        settle(system, sent)
        said = stopped.log.read_text()
        for group, step in zip(sent.groups, STEPS, strict=True):
            if "read" in step:
                assert f"fenced stage={step.split()[-1]} group={group}" in said


def test_what_an_idle_worker_was_handed_as_it_stopped_is_not_lost(graph: Graph, tmp_path: Path) -> None:
    """Given a worker that waits for a wake-up, and for a ring of the bell, when it is stopped, If the server hands it one
    of each, and it is then killed, I expect both to be gone from the server, and the sweep to heal that."""
    sent = Sent(groups(2), 50)
    rung, woken = sent.groups
    with rig(tmp_path, graph) as system:
        queue = system.broker.client
        system.publish(Sent((woken,), 50))
        _send_wake_up(woken, system.environ)
        queue.rename(QUEUE, "kept")
        # So that the sweep does not see to it before the worker is stopped.
        queue.delete(lua.BELL, lua.PENDING)

        idle = system.worker("idle", queues=LANES)
        servers.wait_until(lambda: _stopped_while_waiting(idle, queue), "the worker to be stopped in mid-wait")
        queue.lmove("kept", QUEUE)
        queue.zadd(lua.PENDING, {woken: int(time.time() * 1000)})
        system.publish(Sent((rung,), 50))
        servers.wait_until(lambda: not queue.exists(QUEUE, lua.BELL), "ring and wake-up to be handed over", 2)
        assert not queue.exists(lua.PREFIX + "unacked"), "it could not note what it was handed"
        idle.kill()
        died = time.monotonic()
        system.worker("heir")
        settle(system, sent, since=died)


def _send_wake_up(group: str, environ: dict[str, str]) -> None:
    script = "import sys; from workers.wake import wake; assert wake('record', sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, group], env={**os.environ, **environ}, cwd=ROOT, check=True)


def _stopped_while_waiting(worker: Worker, queue: redis.Redis) -> bool:
    """Stop the worker; let it go on if not all of its BRPOPs (bell, Celery's queues) were under way."""
    worker.freeze()
    if queue.info("clients")["blocked_clients"] >= 2:
        return True
    worker.thaw()
    return False
