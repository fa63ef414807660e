"""The long form: many events, many groups, processes that die at random moments, a broker that is killed and restarted.

    python -m tests.faults.soak [--seed N] [--events 100000] …

Everything random comes from one seed, which is printed; faults strike when a share of the events has been recorded, so
that they come in the midst of work on a machine of any speed. All settings are the defaults. It ends with the oracle,
and exits 1 if anything is off.
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import servers
from tests.faults import oracle
from tests.faults.numbered import Sent
from tests.faults.oracle import MOST_ASLEEP, judge, left_to_do, recorded, tell
from tests.faults.programs import Graph, Program, Worker
from tests.faults.rig import DEFAULTS, Rig, rig
from tests.faults.supervisor import Supervisor
from tests.faults.watch import Watch

#: Pause between two looks at how far it is, s; and between two lines that tell it.
EVERY_SECONDS = 0.1
TELL_SECONDS = 5.0
#: How long the broker stays down, s.
DOWN_SECONDS = 1.0


@dataclass(frozen=True)
class Strike:
    """A fault, and the share of events at which it strikes."""

    at: float
    kind: str
    victim: int


def plan(chance: random.Random, kills: int, restarts: int, workers: int) -> list[Strike]:
    """What is struck when. The last tenth is left alone, so that there is an end to recover to."""
    strikes = [
        Strike(chance.uniform(0.02, 0.9), chance.choice(["worker", "pool process"]), chance.randrange(workers))
        for _ in range(kills)
    ]
    strikes += [Strike(chance.uniform(0.1, 0.8), "broker", 0) for _ in range(restarts)]
    return sorted(strikes, key=lambda strike: strike.at)


class Soak:
    """One run."""

    def __init__(self, given: argparse.Namespace, system: Rig, watch: Watch, sent: Sent) -> None:
        self._given, self._system, self._watch, self._sent = given, system, watch, sent
        chance = random.Random(given.seed)
        self._strikes = plan(chance, given.kills, given.restarts, given.workers)
        self._chance = chance
        self._struck: Counter[str] = Counter()
        self._begun = self._told = time.monotonic()
        self._deadline = self._begun + given.minutes * 60
        self._workers = [system.worker(f"worker{n}") for n in range(given.workers)]
        self._supervisor = Supervisor(self._workers)

    def run(self) -> bool:
        """True if nothing is off."""
        with self._supervisor:
            done = self._ran()
        return done and self._verdict()

    def _ran(self) -> bool:
        """True if all is done in time."""
        publishers = [
            self._system.publisher(self._sent, name, batch=20, seconds=self._given.seconds)
            for name in self._sent.publishers
        ]
        begun = time.monotonic()
        self._strike_on_the_way(publishers)
        last = time.monotonic()
        while (left := left_to_do(self._system, self._sent)) and time.monotonic() < self._deadline:
            self._tell(publishers, left)
            time.sleep(EVERY_SECONDS)
        done = time.monotonic()
        for publisher in publishers:
            tell(_last_line(publisher.log))
        if left:
            self._diagnose(publishers, left)
            return False
        tell(
            f"all done in {done - begun:.0f} s ({self._sent.total / (done - begun):,.0f} events/s), "
            f"{done - last:.1f} s after the last strike and the last event"
        )
        return True

    def _strike_on_the_way(self, publishers: list[Program]) -> None:
        """Strike when it is time, until all is struck and published."""
        strikes = list(self._strikes)
        while (strikes or any(publisher.alive for publisher in publishers)) and time.monotonic() < self._deadline:
            share = self._recorded() / self._sent.total
            while strikes and strikes[0].at <= share:
                self._strike(strikes.pop(0))
            self._tell(publishers, [])
            time.sleep(EVERY_SECONDS)

    def _strike(self, strike: Strike) -> None:
        self._struck[strike.kind] += 1
        if strike.kind == "broker":
            self._system.broker.kill()
            time.sleep(DOWN_SECONDS)
            self._system.broker.start()
            self._watch.fault("broker")
            return
        worker = self._workers[strike.victim]
        if strike.kind == "worker":
            with suppress(psutil.NoSuchProcess, AssertionError):
                worker.kill()
        elif pool := worker.pool():
            with suppress(psutil.NoSuchProcess):
                self._chance.choice(pool).kill()
        self._watch.fault(strike.kind)

    def _recorded(self) -> int:
        with suppress(Exception):
            return recorded(self._system.ledger, self._sent)
        return 0

    def _tell(self, publishers: list[Program], left: list[str]) -> None:
        if time.monotonic() - self._told < TELL_SECONDS:
            return
        self._told = time.monotonic()
        struck = ", ".join(f"{count} {kind}" for kind, count in sorted(self._struck.items())) or "nothing"
        publishing = sum(publisher.alive for publisher in publishers)
        tell(
            f"[{self._told - self._begun:4.0f} s] recorded {self._recorded():,} of {self._sent.total:,}; "
            f"{publishing} publishing; struck: {struck}" + (f"; left: {'; '.join(left[:3])}" if left else "")
        )

    def _verdict(self) -> bool:
        found, watch = judge(self._system, self._sent), self._watch
        tell(f"verdict: {oracle.told(found)}")
        tell(
            f"longest sleep {watch.longest:.1f} s ({watch.lane}): a lane held events, no worker held its lease, and no "
            f"wake-up for it waited in Celery's list or was announced less than 5 s ago; must be below {MOST_ASLEEP:.0f} s"
        )
        tell(
            f"the same, a lease that was not renewed not counted as held: {watch.longest_alone:.1f} s ({watch.alone}); "
            f"longest wait of an event for its turn {watch.longest_wait:.1f} s ({watch.waiting})"
        )
        for line in watch.story if watch.longest >= MOST_ASLEEP else []:
            tell(f"  {line}")
        for kind in ("worker", "pool process", "broker"):
            times = sorted(fault.recovered or 0.0 for fault in watch.faults if fault.what == kind)
            if times:
                middle = times[len(times) // 2]
                tell(f"recovered from {len(times)} x {kind}: median {middle:.1f} s, longest {times[-1]:.1f} s")
        tell(f"workers started again: {self._supervisor.restarts}; {_complaints(self._workers)}")
        return found.clean and watch.longest < MOST_ASLEEP

    def _diagnose(self, publishers: list[Program], left: list[str]) -> None:
        tell(f"NOT DONE after {self._given.minutes} minutes; still to be done:")
        for line in left[:40]:
            tell(f"  {line}")
        for program in (*self._workers, *publishers, self._system.broker, self._system.graph):
            tell(f"  {program.name}: {'alive' if program.alive else 'dead'}; {_last_line(program.log)}")
        with suppress(Exception):
            for key in sorted(self._system.broker.client.scan_iter("memlane:lease:*")):
                tell(f"  {key.decode()}: {self._system.broker.client.get(key)}")
        tell(f"  {_complaints(self._workers)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "(no log)"


def _complaints(workers: list[Worker]) -> str:
    """What workers' logs complain of, by kind."""
    kinds: Counter[str] = Counter()
    for worker in workers:
        for line in worker.log.read_text(errors="replace").splitlines():
            if found := re.search(r"level=(ERROR|CRITICAL) .*?logger=(\S+) (.*)", line):
                kinds[re.sub(r"[0-9a-f-]{8,}|g\d+-\w+", "…", f"{found[2]}: {found[3]}")[:110]] += 1
    return "workers' errors: " + ("; ".join(f"{count} x {kind}" for kind, count in kinds.most_common(8)) or "none")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--publishers", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=16)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=100.0, help="over which publishing is spread")
    parser.add_argument("--minutes", type=float, default=15.0, help="after which it is given up")
    parser.add_argument("--postgresql", action="store_true", help="keep the ledger there; default: SQLite")
    parser.add_argument("--keep", action="store_true", help="keep logs and data")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    each = -(-given.events // (given.groups * given.publishers))
    names = tuple(f"g{n}-soak" for n in range(given.groups))
    sent = Sent(names, each, tuple(f"p{n}" for n in range(given.publishers)))
    tell(
        f"seed {given.seed}: {sent.total:,} events, {given.groups} groups, {given.publishers} publishers, "
        f"{given.workers} workers, {given.kills} kills, {given.restarts} restarts of the broker; "
        f"{'PostgreSQL' if given.postgresql else 'SQLite'}"
    )
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        if not given.keep:
            import shutil

            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        graph = Graph()
        stack.callback(graph.end)
        graph.start()
        url = None
        if given.postgresql:
            url = servers.new_database(stack.enter_context(servers.postgres(folder / "postgres")))
        system = stack.enter_context(rig(folder, graph, url, **DEFAULTS))
        watch = stack.enter_context(system.watch(sent))
        good = Soak(given, system, watch, sent).run()
        tell(f"seed {given.seed}: {'GOOD' if good else 'BAD'}" + (f"; see {folder}" if given.keep else ""))
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
