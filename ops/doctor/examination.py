"""All checks, in the order in which one thing needs the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from memory.ledger import Ledger, LedgerUnavailable
from memory.settings import NotConfigured, settings
from ops import clients
from ops.doctor import agents, flow, losses, machine, model, plugins, servers
from ops.doctor.finding import Finding, failure
from ops.home import Home
from ops.status import look
from producers.address import QueueUnknown
from producers.publisher import QueueUnavailable


def examine() -> Iterator[Finding]:
    """All checks, one after the other; those that need a server that is away are left out."""
    yield from machine.home()
    yield from machine.stack()
    yield from losses.spools()
    yield from plugins.plugins()
    yield from servers.graph()
    with ExitStack() as opened:
        ledger: Ledger | None = None
        try:
            ledger = opened.enter_context(clients.ledger())
            yield from servers.ledger(ledger)
            yield from agents.opencode(ledger)
        except (LedgerUnavailable, clients.LedgerNotReady) as error:
            yield failure("ledger", str(error), "lanes wait until it is there")
            ledger = None
        try:
            with clients.queue() as queue:
                yield from servers.queue(queue)
                served = yield from flow.workers()
                yield from flow.lanes(queue, ledger, served)
                if ledger is not None:
                    status = look(queue, Home(settings().home, settings().valkey), ledger)
                    yield from flow.stages(queue, ledger, status, served)
                    yield from flow.books(status)
                    yield from losses.lost(status)
                    yield from plugins.hooks(status)
                    yield from model.model(status.model)
                    yield from model.embedding(status.embedding)
        except (NotConfigured, QueueUnknown) as error:
            yield failure("queue server", str(error), "nothing can be published, recorded or asked without it")
        except QueueUnavailable as error:
            yield failure("queue server", str(error), "start it with `memlane up`, or correct MEMLANE_VALKEY_URL")
        except LedgerUnavailable as error:
            yield failure("ledger", str(error), "it went away during these checks: lanes wait until it is back")
