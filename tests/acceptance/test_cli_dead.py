"""Dead letters by the command line: choosing, retrying and dropping many."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from memory import lua
from memory.ledger import Ledger
from memory.ledger.schema import dead_letters
from tests.acceptance.command import PATIENCE, CommandLine, terminal
from tests.servers import wait_until

HOUR = 3_600_000
#: More than any command takes at once.
MANY = 1_234


@pytest.fixture
def garbage(memlane: CommandLine, group: str) -> list[int]:
    """Three entries of the lane that are no events: one is JSON with an id, one was given up hours ago.

    Returns:
        Their numbers.
    """
    found = (b"{", b'{"id": "A1", "type": 7}', b"not one either")
    with memlane.queue() as queue:
        for raw in found:
            queue.xadd(lua.lane(group), {"e": raw, "g": lua.generation(queue)})
        queue.hincrby(lua.captured(group), lua.generation(queue), len(found))
        queue.lpush(lua.BELL, f"lane {group}")
    wait_until(lambda: len(listed(memlane, group)) == 3, "letters", PATIENCE)
    memlane.books(group)
    numbers = listed(memlane, group)[::-1]
    with closing(Ledger(f"sqlite:///{memlane.home / 'ledger.sqlite3'}")) as ledger, ledger.write() as connection:
        connection.execute(
            dead_letters.update()
            .where(dead_letters.c.n == numbers[2])
            .values(time=dead_letters.c.time - 5 * HOUR, error="ValueError: Ünlike 5% of them")
        )
    return numbers


def listed(memlane: CommandLine, group: str, *options: str) -> list[int]:
    answer = memlane("dead", "list", "--group", group, *options, "--json").json
    assert answer["total"] == len(answer["dead"])
    return [letter["number"] for letter in answer["dead"]]


def test_letters_are_chosen_by_all_that_is_given(memlane: CommandLine, group: str, garbage: list[int]) -> None:
    """Given three letters, I expect each option to choose those that it should, together with others as well."""
    first, second, third = garbage
    assert listed(memlane, group) == [third, second, first]
    assert listed(memlane, group, str(first), str(third)) == [third, first]
    assert listed(memlane, group, "--id", "A1") == [second]
    assert listed(memlane, group, "--error", "valueERROR: Ünlike 5%") == [third]
    assert listed(memlane, group, "--older-than", "4h") == [third]
    assert listed(memlane, group, "--older-than", "0s", "--stage", "record", str(second)) == [second]
    answer = memlane("dead", "list", "--group", group, "--limit", "2", "--json").json
    assert ([letter["number"] for letter in answer["dead"]], answer["total"]) == ([third, second], 3)
    said = memlane("dead", "list", "--group", group, "--limit", "2").out
    assert said.endswith("the newest 2 of 3; --limit shows more\n")


def test_what_cannot_be_chosen_by_is_said(memlane: CommandLine, group: str) -> None:
    for command in ("retry", "drop"):
        said = memlane("dead", command)
        assert (said.code, "--older-than" in said.err) == (2, True), said
        memlane("dead", command, "4711", "--yes" if command == "drop" else "--json").failed("4711", "memlane dead list")
    for age in ("7", "-1d", "1w"):
        said = memlane("dead", "list", "--older-than", age)
        assert (said.code, "7d" in said.err) == (2, True), said
    assert memlane("dead", "list", "0").code == 2


def test_only_what_is_chosen_is_retried(memlane: CommandLine, group: str, garbage: list[int]) -> None:
    """Given three letters that are still no events, If one is retried by its id, I expect it to be refused, and none else
    to be tried; If all are, I expect each to be tried once, and to be as before."""
    again = memlane("dead", "retry", "--group", group, "--id", "A1", "--json")
    assert again.code == 1
    assert [failed["number"] for failed in again.json["failed"]] == [garbage[1]]
    again = memlane("dead", "retry", "--group", group, "--json")
    assert again.json["retried"] == []
    assert [failed["number"] for failed in again.json["failed"]] == garbage
    assert listed(memlane, group) == garbage[::-1]


def test_a_letter_named_by_its_number_is_dropped_at_once(memlane: CommandLine, group: str, garbage: list[int]) -> None:
    """Given three letters, If two are named, I expect these gone, and the books to balance and to count three."""
    said = memlane("dead", "drop", str(garbage[0]), str(garbage[2]), "--json")
    assert (said.code, said.json) == (0, {"dropped": [garbage[0], garbage[2]]})
    assert listed(memlane, group) == [garbage[1]]
    assert memlane.books(group).dead == 3
    memlane("dead", "drop", str(garbage[0])).failed(str(garbage[0]), "memlane dead list")


def test_many_are_dropped_only_if_somebody_said_so(memlane: CommandLine, group: str, garbage: list[int]) -> None:
    """Given letters that are chosen otherwise than by number, If nobody can be asked, I expect the command to refuse and to
    say how to confirm; with that, all of them gone."""
    memlane("dead", "drop", "--group", group).failed("3 dead letters", "--yes")
    memlane("dead", "drop", str(garbage[0]), "--stage", "record", "--json").failed("1 dead letter would", "--yes")
    assert len(listed(memlane, group)) == 3
    said = memlane("dead", "drop", "--group", group, "--older-than", "4h", "--yes")
    assert (said.code, said.out, said.err) == (0, "dropped 1\n", "")
    assert listed(memlane, group) == [garbage[1], garbage[0]]
    assert memlane("dead", "drop", "--group", group, "--stage", "index").out == "dropped 0\n"
    assert memlane.books(group).dead == 3


@pytest.mark.parametrize(("answer", "left"), [("n", 3), ("y", 0)])
def test_on_a_terminal_it_asks(memlane: CommandLine, group: str, garbage: list[int], answer: str, left: int) -> None:
    with (
        terminal() as screen,
        memlane.begun(
            "dead", "drop", "--group", group, stdin=screen.theirs, stdout=screen.theirs, stderr=screen.theirs
        ) as dropping,
    ):
        wait_until(lambda: "delete 3 dead letters for good? [y/N]" in screen.seen, "the question", PATIENCE)
        screen.type(f"{answer}\n")
        assert dropping.wait(PATIENCE) == (1 if left else 0)
    assert ("nothing was dropped" if left else "dropped 3") in screen.seen
    assert len(listed(memlane, group)) == left
    assert memlane.books(group).dead == 3


def test_there_is_no_limit(memlane: CommandLine, group: str) -> None:
    """Given more letters than are worked on at once, I expect one command to retry all, and one to drop all."""
    letter: dict[str, Any] = {
        "group_id": group,
        "stage": "record",
        "error": "?",
        "attempts": 3,
        "event": "{",
        "time": 0,
    }
    with memlane.queue() as queue:
        queue.hincrby(lua.captured(group), lua.generation(queue), MANY)
    with closing(Ledger(f"sqlite:///{memlane.home / 'ledger.sqlite3'}")) as ledger, ledger.write() as connection:
        connection.execute(dead_letters.insert(), [letter] * MANY)
    again = memlane("dead", "retry", "--group", group, "--json")
    assert (len(again.json["failed"]), again.err.count("still no event")) == (MANY, MANY)
    assert len(json.loads(memlane("dead", "drop", "--group", group, "--yes", "--json").out)["dropped"]) == MANY
    assert listed(memlane, group) == []
    assert memlane.books(group).dead == MANY
