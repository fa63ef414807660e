"""Forgetting and rebuilding, with the stages' own code, on both databases and a real graph.

What holds each time: after events were forgotten, everything made of the ledger is what it would be had they never been
there; and what is rebuilt is what was there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from sqlalchemy import select, text, update

from memory import lua
from memory.cache import Cache, Glob
from memory.events import parse
from memory.forget import Chosen, Forgetting, Forgotten, GraphBehind, NothingChosen, _empty, forget, matching, remaining
from memory.graph import forgetting
from memory.graph.fingerprint import Fingerprint, fingerprint
from memory.graph.writer import GraphUnavailable, GraphWriter
from memory.ledger import Ledger, books, cursors, postings, sessions
from memory.ledger.cleaning import clean
from memory.ledger.log import Slice, emptied
from memory.ledger.schema import dead_letters, event_paths, events, search_postings
from memory.ledger.search import search
from memory.mechanisms.user_request import UserRequestMechanism
from memory.plugin_adapter import PluginContext
from memory.recall import Question
from memory.recall.rank import rank
from memory.settings import settings
from ops.doctor import servers
from ops.doctor.finding import Finding
from ops.forgetting import Outcome, forget_in
from ops.rebuild import _begin_again
from producers import Publisher
from tests.conftest import System
from tests.graph_server import graph_server
from tests.project import project
from tests.workers_here import workers_here
from workers import resources
from workers.episodes import Episodes
from workers.index import Index
from workers.questions import hand_over
from workers.stage import Follower, drain
from workers.stages import STAGES

EVENTS = 160


@pytest.fixture
def here(system: System) -> Iterator[System]:
    """This process does the workers' work, in small batches, when a test says so."""
    with workers_here({**system.environ, "MEMLANE_BATCH_SIZE": "37", "MEMLANE_REST_SECONDS": "0.1"}):
        yield system


@pytest.fixture
def ledger(here: System) -> Ledger:
    return resources.ledger()


@pytest.fixture
def graph(here: System) -> GraphWriter:
    return resources.graph()


def work(group: str, *names: str) -> None:
    """Have stages work off what there is; by default all that make nothing of their own: see test_compaction.py."""
    for name in names or [name for name, stage in STAGES.items() if stage.on and name != "compaction"]:
        while STAGES[name].has_work(group):
            resources.valkey().delete(lua.lease(name, group))
            drain(STAGES[name], group)


def publish(group: str, found: list[dict[str, Any]], *stages: str) -> None:
    with Publisher(source="test", group=group) as publisher:
        publisher.publish_many(found)
    work(group, *stages)


def made_of(graph: GraphWriter, group: str, found: list[dict[str, Any]]) -> Fingerprint:
    """The fingerprint of the graph that these events alone make, written in one go. The group's own is put aside, since
    its name is part of what things are known by."""
    with redis.Redis(unix_socket_path=graph.address.removeprefix("unix://")) as client:
        client.rename(group, f"{group}-aside")
        try:
            graph.write(group, [parse(given(event)) for event in found])
            return fingerprint(graph, group)
        finally:
            client.delete(group)
            client.rename(f"{group}-aside", group)


def given(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def forgot(ledger: Ledger, group: str, graph: GraphWriter, **chosen: Any) -> Forgotten:
    return forget(ledger, group, Chosen(**chosen), graph=graph, client=resources.valkey())


def balanced(ledger: Ledger, group: str) -> None:
    with ledger.read() as connection:
        for stage in STAGES.values():
            if isinstance(stage, Follower):
                found = books.of_stage(connection, stage.name, group, stage.types)
                assert found.interest == found.done + found.pending + found.dead, found


def sessions_of(ledger: Ledger, group: str) -> list[sessions.Session]:
    with ledger.read() as connection:
        return sorted(sessions.latest(connection, group, 100), key=lambda one: one.session)


CHOICES: list[dict[str, Any]] = [
    {"sessions": ["ses_1", "ses_4"]},
    {"users": ["user-1@example.org"]},
    {"path": Glob("src/m1*.py")},
    {"since": 1_793_494_000_000, "before": 1_793_499_000_000},
    {"sessions": ["ses_2"], "users": ["user-0@example.org", "user-2@example.org"], "path": Glob("README")},
]


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "+".join(chosen))
def test_it_is_as_if_they_had_never_been_there(
    here: System, ledger: Ledger, graph: GraphWriter, group: str, chosen: dict[str, Any]
) -> None:
    every = project(group, EVENTS)
    publish(group, every)
    all_sessions = sessions_of(ledger, group)
    meant = matching(ledger, group, Chosen(**chosen))
    assert 0 < meant.events < EVENTS

    result = forgot(ledger, group, graph, **chosen)
    assert (result.events, result.types) == (meant.events, meant.types)
    assert result.episodes > 0

    with ledger.read() as connection:
        rows = connection.execute(select(events).where(events.c.group_id == group).order_by(events.c.seq)).all()
        gone = [row for row in rows if row.forgotten is not None]
        assert [row.seq for row in rows] == list(range(1, EVENTS + 1))
        assert len(gone) == result.events
        for row in gone:
            assert (row.text, row.data, row.extensions) == ("", "{}", None)
            assert {row.session, row.agent, row.user_id, row.project, row.path} == {None}
        found = books.of_group(connection, group)
        assert (found.recorded, found.forgotten) == (EVENTS, len(gone))
        lost = {row.seq for row in gone}
        paths = connection.execute(select(event_paths.c.seq).where(event_paths.c.group_id == group)).scalars()
        assert not lost & set(paths)
        for row in gone:
            number = int(row.id.rpartition("-")[2])
            for word in (f"word{number}", f"number{number}"):
                assert row.seq not in {match.seq for match in search(ledger, connection, group, word, EVENTS)}
    balanced(ledger, group)

    # As if only the others had been there.
    others = [event for event in every if event["id"] not in {row.id for row in gone}]
    assert fingerprint(graph, group) == made_of(graph, group, others)
    kept = {row.session for row in rows if row.session}
    assert [one.session for one in sessions_of(ledger, group)] == sorted(kept)
    assert result.sessions == len(all_sessions) - len(kept)

    # Nor does anything come back: not by publishing them again, nor by rebuilding.
    before = sessions_of(ledger, group)
    graph_before = fingerprint(graph, group)
    publish(group, every)
    with ledger.read() as connection:
        found = books.of_group(connection, group)
    assert (found.recorded, found.duplicates, found.forgotten) == (EVENTS, EVENTS, len(gone))
    for name in ("index", "episodes"):
        _begin_again(name, group)
    balanced(ledger, group)
    work(group)
    balanced(ledger, group)
    assert fingerprint(graph, group) == graph_before
    assert sessions_of(ledger, group) == before


def commits_of(group: str, count: int) -> list[dict[str, Any]]:
    """Commits of seven authors, who share files."""
    return [
        {
            "id": f"{group}-{n}",
            "source": "git",
            "group": group,
            "type": "vcs.commit",
            "time": f"2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z",
            "agent": f"Dev {n % 7}",
            "user": f"user-{n % 7}@example.org",
            "data": {
                "sha": f"{n:040x}",
                "message": f"Change {n}",
                "paths": [f"src/{n * m % 300}.py" for m in range(1, 9)],
            },
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_goes_chunk_by_chunk_by_the_indices(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    """Given more commits that share files than one chunk holds, I expect what is done to stay done where the graph
    server goes away between two chunks, the next run to take out the rest, and every fact to be found by its index:
    going through all nodes for each fact takes so long in a large group that FalkorDB ends the query, every time."""
    commits = commits_of(group, 1_600)
    publish(group, commits, "record", "episodes")
    with redis.Redis(unix_socket_path=graph.address.removeprefix("unix://"), decode_responses=True) as client:
        for query in (forgetting._FACTS, forgetting._DELETE_FACTS, forgetting._KEEP_FACTS):
            parameters = 'CYPHER some=["a"] rows=[{uuid: "a", episodes: ["b"]}] '
            plan = "\n".join(client.execute_command("GRAPH.EXPLAIN", group, parameters + query))
            assert "Edge By Index Scan" in plan
            assert "Label Scan" not in plan
    gone = {event["id"] for event in commits[::2]}
    others = [event for event in commits if event["id"] not in gone]
    done: list[int] = []

    def away(events: int) -> None:
        done.append(events)
        raise GraphUnavailable(graph.address, "gone")

    with pytest.raises(GraphUnavailable):
        graph.forget(group, gone, remaining(ledger, group), away)
    assert done == [forgetting.CHUNK]
    with ledger.write() as connection:
        connection.execute(update(events).where(events.c.id.in_(gone)).values(emptied(1)))
    removed = graph.forget(group, gone, remaining(ledger, group), done.append)
    assert (removed.episodes, sum(done)) == (800 - forgetting.CHUNK, 800 + forgetting.CHUNK)
    assert fingerprint(graph, group) == made_of(graph, group, others)


class Overtaken:
    """Events of a group are forgotten after a stage has done what it does outside of SQL, before its cursor moves; and
    perhaps another worker takes over."""

    taken_over = False

    def before(self, group: str, found: Slice) -> None:
        super().before(group, found)  # type: ignore[misc]
        forgot(resources.ledger(), group, resources.graph(), sessions=["ses_1"])
        if self.taken_over:
            cursors.take_token(resources.ledger(), self.name, group)  # type: ignore[attr-defined]


class OvertakenEpisodes(Overtaken, Episodes):
    pass


class OvertakenIndex(Overtaken, Index):
    pass


@pytest.mark.parametrize("taken_over", [False, True])
def test_graph_written_while_it_is_forgotten(
    here: System, ledger: Ledger, graph: GraphWriter, group: str, taken_over: bool
) -> None:
    every = project(group, 60)
    publish(group, every, "record")
    stage = OvertakenEpisodes()
    stage.taken_over = taken_over
    token = cursors.take_token(ledger, "episodes", group)
    if taken_over:
        with pytest.raises(cursors.Fenced):
            stage.step(group, token, 500)
    else:
        stage.step(group, token, 500)
    others = [event for event in every if event["session"] != "ses_1"]
    assert fingerprint(graph, group) == made_of(graph, group, others)
    work(group)
    assert fingerprint(graph, group) == made_of(graph, group, others)
    balanced(ledger, group)


def test_index_that_had_read_it_does_not_bring_it_back(
    here: System, ledger: Ledger, graph: GraphWriter, group: str
) -> None:
    every = project(group, 60)
    publish(group, every, "record")
    stage = OvertakenIndex()
    stage.step(group, cursors.take_token(ledger, "index", group), 500)
    work(group)
    balanced(ledger, group)
    assert "ses_1" not in [one.session for one in sessions_of(ledger, group)]
    said = [(event["session"], int(event["id"][-5:])) for event in every if event["type"] == "chat.message"]
    with ledger.read() as connection:
        for session, number in said:
            texts = [match.text for match in search(ledger, connection, group, f"word{number}", 60)]
            assert any(text.endswith(f"word{number}?") for text in texts) == (session != "ses_1")


def test_stages_that_are_behind_find_nothing(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    every = project(group, 60)
    publish(group, every, "record")
    forgot(ledger, group, graph, ids=[event["id"] for event in every[:50]])
    work(group)
    balanced(ledger, group)
    assert fingerprint(graph, group) == made_of(graph, group, every[50:])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_of_it_is_left_in_the_files(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    words = [secrets.token_hex(8) for _ in range(40)]
    path = Path(here.database_url.removeprefix("sqlite:///"))

    def held() -> set[str]:
        raw = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        return {word for word in words if word.encode() in raw}

    said = [
        {
            "id": f"{group}-{n}",
            "type": "chat.message",
            "session": f"s{n % 2}",
            "data": {"role": "user", "text": f"{word} " * 3},
        }
        for n, word in enumerate(words)
    ]
    publish(group, said)
    publish(group, project(group, 100))
    assert held() == set(words)
    forgot(ledger, group, graph, sessions=["s1"])
    assert clean(ledger, 10)
    assert held() == set(words[::2])
    with ledger.read() as connection:
        assert any(words[0] in match.text for match in search(ledger, connection, group, words[0], 5))
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_dead_letters_go_along(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    every = project(group, 40)
    publish(group, every, "record")
    raw = f'{{"id": "broken", "session": "ses_1", "type": "error", "group": "{group}", "data": {{}}}}'
    resources.valkey().xadd(lua.lane(group), {"e": raw})
    work(group, "record")
    token = cursors.take_token(ledger, "episodes", group)
    for _ in range(40):
        if STAGES["episodes"].position(group) is not None:
            STAGES["episodes"].bury(group, token, "broken", 3)
    work(group)
    balanced(ledger, group)
    result = forgot(ledger, group, graph, sessions=["ses_1"])
    buried = [e for e in every if e["session"] == "ses_1" and e["type"] in (STAGES["episodes"].types or ())]
    assert result.dead_letters == len(buried) + 1
    balanced(ledger, group)
    with ledger.read() as connection:
        left = connection.execute(select(dead_letters.c.event).where(dead_letters.c.group_id == group)).scalars().all()
        assert books.of_group(connection, group).dead == 1
    assert left
    assert not [one for one in left if "ses_1" in one]
    # What was given up is tried again.
    _begin_again("episodes", group)
    balanced(ledger, group)
    work(group)
    assert fingerprint(graph, group) == made_of(graph, group, [e for e in every if e["session"] != "ses_1"])


def test_answers_and_briefs_are_void(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    client = resources.valkey()
    publish(group, project(group, 40))
    client.set(f"{lua.PREFIX}brief:ses_1", "what was said")
    before = client.time()[0]
    forgot(ledger, group, graph, sessions=["ses_1"])
    assert int(client.get(lua.dropped(group, lua.WHOLE_GROUP))) >= before * 1_000_000
    assert not client.exists(f"{lua.PREFIX}brief:ses_1")


def test_nothing_is_forgotten_while_the_graph_is_away(here: System, ledger: Ledger, group: str, tmp_path: Path) -> None:
    publish(group, project(group, 10), "record")
    away = GraphWriter(f"unix://{tmp_path}/gone")
    with pytest.raises(GraphUnavailable):
        forgot(ledger, group, away, users=["user-1@example.org"])
    with ledger.read() as connection:
        assert books.of_group(connection, group).forgotten == 0


def test_what_a_killed_run_has_left_is_done_by_the_next(
    here: System, ledger: Ledger, graph: GraphWriter, group: str
) -> None:
    """Given a run that died after it had emptied events, before it came to the graph and counted sessions, I expect the
    next one to do what is left, though it finds nothing to be forgotten."""
    every = project(group, EVENTS)
    publish(group, every)
    gone = [number for number, event in enumerate(every, 1) if event["session"] in ("ses_1", "ses_2") and number > 20]
    _empty(ledger, group, gone, Forgotten(), [])
    assert len(sessions_of(ledger, group)) == 4
    done = forgot(ledger, group, graph, ids=["nothing"])
    assert (done.events, done.episodes > 0) == (0, True)
    others = [event for number, event in enumerate(every, 1) if number not in gone]
    assert fingerprint(graph, group) == made_of(graph, group, others)
    counted = sessions_of(ledger, group)
    assert {one.session for one in counted} == {event["session"] for event in others if event["session"]}
    _begin_again("index", group)
    work(group, "index")
    assert sessions_of(ledger, group) == counted


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_the_graph_goes_away_all_else_is_done_and_the_next_finishes_it(
    here: System, ledger: Ledger, graph: GraphWriter, group: str
) -> None:
    """Given a graph server that ends when the first events have been emptied, I expect the database's files to be
    cleaned, one line that says what is not done, doctor to name it, and the next run to finish it."""
    word = secrets.token_hex(8)
    every = [*project(group, 60)]
    told = {**every[0], "id": f"{group}-told", "type": "chat.message", "data": {"role": "user", "text": word}}
    publish(group, [*every, told])
    path = Path(here.database_url.removeprefix("sqlite:///"))

    def held() -> bool:
        return any(word.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))

    def named() -> list[Finding]:
        return [found for found in servers.ledger(ledger) if found.check == "forgetting"]

    def run(ids: list[str], progress: Callable[[int], object]) -> Outcome:
        outcome = Outcome(group, Forgotten())
        settings.cache_clear()
        forget_in(outcome, resources.valkey(), ledger, Chosen(ids=ids), progress, lambda events, total: None)
        return outcome

    assert held()
    # Not by the fixture, which is undone after `here`, and would leave what `here` has set.
    with (
        graph_server() as url,
        redis.Redis(unix_socket_path=url.removeprefix("unix://")) as ending,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MEMLANE_GRAPH_URL", url)
        with pytest.raises(GraphBehind, match=f"1 events of {group} were forgotten now.*rebuild graph --group {group}"):
            run([told["id"]], lambda events: ending.shutdown(nosave=True))
    assert not held()
    assert len(named()) == 1
    assert fingerprint(graph, group) != made_of(graph, group, every)

    (note,) = run(["nothing"], lambda events: None).notes
    assert "had not come to its end" in note
    assert named() == []
    assert fingerprint(graph, group) == made_of(graph, group, every)
    assert run(["nothing"], lambda events: None).notes == []


def test_answers_are_deleted_by_name(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    """Given an answer that is cached and waits for who asked, I expect neither to be there afterwards."""
    client = resources.valkey()
    cache = Cache(client, group)
    assert cache.fill("q", "digest", "what was said", ["src/m1.py"], cache.now(), 60)
    hand_over(client, "tool", {"text": "what was said"}, group)
    keys = [lua.context(group, "digest"), lua.reply("q"), lua.reply("tool")]
    assert client.exists(*keys) == 3
    cache.delete()
    assert not client.exists(*keys, lua.answers(group))


def test_something_must_be_chosen() -> None:
    with pytest.raises(NothingChosen):
        Chosen()


def test_in_words(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    said = [
        ("remember", "Deploys are on Tuesdays"),
        ("remember", "Deploys are on Mondays, never on Fridays"),
        ("query", "On which day, Tuesdays or Mondays, are deploys?"),
        ("forget", "deploys on tuesdays"),
    ]
    requests = [
        {"id": f"{group}-{n}", "type": "user.request", "session": f"s{n}", "data": {"action": action, "request": words}}
        for n, (action, words) in enumerate(said)
    ]
    publish(group, requests)
    given = Forgetting(ledger, group, graph=graph, client=resources.valkey())
    context = PluginContext(session_id="s9", metadata={"request": "Deploys … Tuesdays", "action": "forget"})
    result = asyncio.run(UserRequestMechanism(forget=given).execute(context))
    assert result.success
    assert result.data["ids"] == [f"{group}-0", f"{group}-3"]
    assert (result.data["events"], result.data["episodes"]) == (2, 1)
    assert given("nothing of the kind")["ids"] == []
    with pytest.raises(NothingChosen):
        given(" … ")
    with ledger.read() as connection:
        assert [found.id for found in search(ledger, connection, group, "Tuesdays", 5)] == [f"{group}-2"]


def indexed(ledger: Ledger, group: str) -> tuple[list[Any], list[tuple[int, int, int, int]], tuple[int, int, int]]:
    """All that full text knows of a group: the postings, what is known of each event that can be found, and totals."""
    with ledger.read() as connection:
        query = select(search_postings.c.block, search_postings.c.term, search_postings.c.data)
        terms = connection.execute(query.where(search_postings.c.group_id == group)).all()
        known = postings.events_of(connection, group)
    seqs = [int(seq) for seq in np.flatnonzero(known.flags)]
    found = [(seq, int(known.session[seq]), int(known.previous[seq]), int(known.flags[seq])) for seq in seqs]
    return (
        sorted((block, term, bytes(data)) for block, term, data in terms),
        found,
        (known.events, known.words, known.path_words),
    )


def test_full_text_is_as_if_it_were_made_anew(here: System, ledger: Ledger, graph: GraphWriter, group: str) -> None:
    """Given sessions that lost their first event, and others that lost some in the middle and at the end, I expect full
    text to know what it would know if it were made of the ledger as it is now."""
    every = project(group, EVENTS)
    publish(group, every)
    first: dict[str, str] = {}
    for event in every:
        first.setdefault(event["session"], event["id"])
    for ids in ([first["ses_1"], first["ses_2"]], [event["id"] for event in every[20:140:7]], [every[-1]["id"]]):
        forgot(ledger, group, graph, ids=ids)
        left = indexed(ledger, group)
        _begin_again("index", group)
        work(group, "index")
        assert left == indexed(ledger, group)


def test_a_session_without_its_first_event_is_still_found_by_name(
    here: System, ledger: Ledger, graph: GraphWriter, group: str
) -> None:
    """Given a session whose first event is forgotten, and then goes on, I expect a search in it to find what was said
    before and after, and recall to know what was its last."""
    said = [
        {
            "id": f"{group}-{n}",
            "type": "chat.message",
            "session": "s1",
            "data": {"role": "user", "text": f"limiter {n}"},
        }
        for n in range(5)
    ]
    publish(group, said[:4])
    forgot(ledger, group, graph, ids=[f"{group}-0"])
    publish(group, said[4:])
    with ledger.read() as connection:
        found = search(ledger, connection, group, "limiter", 10, session="s1")
        recent = rank(connection, group, Question("limiter", 1000, session="s1"))
    assert sorted(match.id for match in found) == [f"{group}-{n}" for n in range(1, 5)]
    assert recent[0].match.id == f"{group}-4"
    assert all("recent" in one.features for one in recent)


def test_a_message_of_nothing_but_memory_stands_in_no_order(
    here: System, ledger: Ledger, graph: GraphWriter, group: str
) -> None:
    """Given a message that holds only what recall put there, at the end of a batch, I expect the next one to follow on
    what was said before it, as if all had been indexed at once."""
    for n, words in enumerate(["limiter", "[Memory Context]\n- limiter", "why?"]):
        data = {"role": "user", "text": words}
        publish(group, [{"id": f"{group}-{n}", "type": "chat.message", "session": "s1", "data": data}])
    in_three = indexed(ledger, group)
    assert [(seq, previous) for seq, _, previous, _ in in_three[1]] == [(1, 0), (3, 1)]
    _begin_again("index", group)
    work(group, "index")
    assert in_three == indexed(ledger, group)
