"""Clocks that are wrong: of events, and of the queue server.

A lane is ordered by when Valkey accepted an event, not by when it says it happened. Stream ids are made of the server's
clock, so after a failover to one whose clock is behind, new entries have lower ids than those that the ledger knows.
"""

from __future__ import annotations

import time

import pytest

from memory import lua
from producers import Publisher
from tests.faults.numbered import Sent, numbered
from tests.faults.oracle import recovered, settle
from tests.faults.orders import order, taken
from tests.faults.programs import Broker
from tests.faults.rig import Rig, groups

YEAR_MS = 365 * 24 * 3600 * 1000


def test_times_of_events_are_not_believed(system: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given events that say they happened in 1971, in 2199 and now, by turns, I expect them in the order in which they were
    published."""
    sent = Sent(groups(), 90)
    events = numbered(sent.groups[0], "p0", range(sent.count))
    for number, event in enumerate(events):
        if number % 3 < 2:
            event["time"] = ("1971-01-01T00:00:00Z", "2199-12-31T23:59:59Z")[number % 3]
    monkeypatch.setenv("MEMLANE_HOME", str(system.home))
    with Publisher(system.broker.url, source="faults", group=sent.groups[0]) as publisher:
        publisher.publish_many(events)
    settle(system, sent)


def test_a_server_whose_clock_is_behind_takes_over(system: Rig) -> None:
    """Given a server whose clock is a year ahead, and events that were recorded from it, If a server with the right time
    takes its place and knows nothing of the lanes, I expect what is published from then on to be recorded, though its
    stream ids are lower."""
    sent = Sent(groups(2), 200)
    for group in sent.groups:
        ahead(system.broker, group)
    system.publish(sent, range(100))
    recovered(system, Sent(sent.groups, 100), seconds=30)
    system.broker.client.delete(*(lua.lane(group) for group in sent.groups))
    system.publish(sent, range(100, 200))
    settle(system, sent)


def test_a_lane_of_the_future_does_not_sleep(system: Rig) -> None:
    """Given a lane whose entries were accepted by a server with a clock a year ahead, If the one who worked on it dies when
    it has deleted a batch and has woken nobody, I expect the sweep to find the rest, though it seems to be of the future."""
    sent = Sent(groups(), 200)
    group = sent.groups[0]
    ahead(system.broker, group)
    order(system.folder, "after ack record", group)
    with system.watch(sent) as watch:
        system.publish(sent, batch=sent.count)
        taken(system.folder, group)
        settle(system, sent, since=time.monotonic(), watch=watch)


def ahead(broker: Broker, group: str) -> None:
    """Make a lane whose newest id is a year ahead: the next ones are above it, whatever the clock says."""
    lane = lua.lane(group)
    newest = f"{int(time.time() * 1000) + YEAR_MS}-0"
    broker.client.xadd(lane, {"x": "y"}, id=newest)
    broker.client.xdel(lane, newest)
