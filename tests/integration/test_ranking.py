"""Recall over a real ledger: what makes an event come first, what limits do, what is never recalled."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from memory.graph.reader import GraphReader
from memory.graph.writer import GraphWriter
from memory.injected import HEADING
from memory.ledger import Ledger
from memory.ledger.search import forget
from memory.recall.packing import Fact
from tests.remembered import GROUP, ask, committed, found, minute, remember, said, wrote


def test_an_answer_is_found_by_what_it_answers(ledger: Ledger) -> None:
    """Given a question and, after it, an answer without any of its words; and small talk. I expect the answer among what
    is found, before what was said elsewhere."""
    remember(
        ledger,
        [
            said("which database do the carts live in?"),
            said("postgres, since last spring", agent="plan"),
            *[said(f"something else {n}", f"s{n}") for n in range(2, 9)],
        ],
    )
    assert found(ledger, "database of the carts")[:2] == ["e1", "e2"]


def test_what_was_done_between_does_not_part_question_and_answer(ledger: Ledger) -> None:
    drafts = [said("which database do the carts live in?")]
    drafts += [wrote(f"x{n}.py") for n in range(5)]
    remember(ledger, [*drafts, said("postgres")])
    features = {item.match.id: item.features for item in ask(ledger, "database carts", explain=True).items}
    assert features[f"{GROUP}-e7"]["before"] > 0
    assert "before" not in features.get(f"{GROUP}-e2", {})


def test_the_session_that_is_about_it_comes_first(ledger: Ledger) -> None:
    """Given the same sentence in two sessions, one of which is about the question. I expect that one first, though it is
    the older one."""
    talk = [said(f"the limiter and its window {n}", "about") for n in range(5)]
    remember(
        ledger,
        [
            *talk,
            said("small talk", "about"),
            said("more", "about"),
            said("we changed the clock", "about"),
            said("we", "x"),
        ]
        + [said("nothing to see", f"n{n}") for n in range(5)]
        + [said("a clock on the far wall of the old house was changed, too", "other", agent="y")],
    )
    items = ask(ledger, "limiter window: who changed the clock?", explain=True).items
    clocks = [item for item in items if "clock" in item.match.text]
    assert [item.match.session for item in clocks] == ["about", "other"]
    assert clocks[0].features["session"] > clocks[1].features["session"]


def test_a_session_alone_brings_nothing_in(ledger: Ledger) -> None:
    """Given a session that is about the question, with an event far from what says so. I expect that one not to be
    recalled for its session, unless the session itself asks."""
    remember(ledger, [said("deploys go out on Tuesdays"), *(said(f"thing {n}") for n in range(8)), said("x", "s2")])
    assert found(ledger, "when do deploys go out?") == ["e1", "e2", "e3"]
    assert set(found(ledger, "when do deploys go out?", session="s1")) == {f"e{n}" for n in range(1, 10)}


def test_who_is_named_comes_first(ledger: Ledger) -> None:
    """Given two agents of whom each says the same words. I expect those of the one that the question names; but not of
    an agent whose name is an ordinary word in it."""
    remember(
        ledger,
        [
            said("I painted a lake", agent="Caroline"),
            said("I painted a sunrise", "s2", agent="Melanie Ann"),
            said("x", "s3"),
        ],
    )
    assert found(ledger, "What did Caroline paint?")[0] == "e1"
    assert found(ledger, "What did Melanie Ann paint?")[0] == "e2"
    by_first_name = ask(ledger, "What did Melanie paint?", explain=True).items
    assert all("agent" not in item.features for item in by_first_name)
    assert all("agent" not in item.features for item in ask(ledger, "who could build a lake?", explain=True).items)


def test_what_somebody_did(ledger: Ledger) -> None:
    """Given a question that asks for nothing but an agent, I expect all of its events, newest first, before those that
    only mention it; with another word in it, those that hold the word."""
    remember(
        ledger,
        [
            said("I painted a lake", agent="Caroline"),
            said("Caroline paints well", "s2", agent="Melanie Ann"),
            said("she sells it", "s3", agent="Caroline"),
        ],
    )
    assert found(ledger, "What did Caroline do?") == ["e3", "e1", "e2"]
    assert found(ledger, "What did Caroline sell?")[0] == "e3"
    assert "e3" not in found(ledger, "What did Caroline paint?")


def test_the_file_being_edited(ledger: Ledger) -> None:
    """Given commits with like messages, I expect the one first that touched the question's path, then its neighbours in
    the same folder."""
    remember(
        ledger,
        [
            committed("fix leak of buffers", ["drivers/net/e1000/rx.c"]),
            committed("fix leak of mbufs", ["drivers/net/ixgbe/rxtx.c"]),
            committed("fix leak of memory", ["drivers/net/ixgbe/tm.c"]),
            committed("a better readme", ["README"]),
        ],
    )
    items = ask(ledger, "fix a leak", paths=("drivers/net/ixgbe/rxtx.c",), explain=True).items
    assert [item.match.id for item in items] == [f"{GROUP}-e{n}" for n in (2, 3, 1)]
    assert set(items[0].features) == {"words", "path_words", "same_path"}
    assert found(ledger, "", paths=("README",)) == ["e4"]
    assert found(ledger, "readme")[0] == "e4"


def test_statements_come_before_questions(ledger: Ledger) -> None:
    remember(ledger, [said("the limiter counts in UTC", "s1"), said("the limiter counts in UTC, right?", "s2")] * 1)
    assert found(ledger, "limiter UTC")[0] == "e1"


def test_the_last_of_the_session_that_asks(ledger: Ledger) -> None:
    """Given two sessions, I expect what one did last to be recalled to it, even where no word is in common."""
    remember(ledger, [said("one thing", "s1"), said("another", "s2"), said("a third", "s1")])
    assert found(ledger, "zanzibar", session="s1") == ["e3", "e1"]
    assert found(ledger, "zanzibar", session="s9") == []


def test_limits(ledger: Ledger) -> None:
    remember(
        ledger, [said("the cart", agent="build"), said("a cart", agent="plan"), wrote("cart"), said("cart!", "s2")]
    )
    assert set(found(ledger, "cart", kinds=("file.write",))) == {"e3"}
    assert set(found(ledger, "cart", agent="plan")) == {"e2"}
    assert found(ledger, "cart", agent="pla") == []
    assert {item.match.seq for item in ask(ledger, "cart", since=minute(2), until=minute(3)).items} == {2, 3}
    assert {item.match.seq for item in ask(ledger, "cart", as_of=minute(1)).items} == {1}
    assert {item.match.seq for item in ask(ledger, "cart", as_of=minute(3), until=minute(1)).items} == {1}
    assert found(ledger, "cart", until=minute(0)) == []


def test_limits_of_time_find_what_many_others_hide(ledger: Ledger) -> None:
    """Given a thousand events that match better, outside of the time. I expect the ones within."""
    remember(ledger, [said(f"cart limiter {n}") for n in range(1_000)] + [said("cart " + "and more things " * 9)])
    assert found(ledger, "cart limiter", since=minute(1_001)) == ["e1001"]


def test_what_contradicts_is_newest_first_and_as_it_was(ledger: Ledger) -> None:
    """Given a decision and its revision, I expect the revision first; as of before it, the decision alone."""
    remember(ledger, [said("deploys go out on Tuesdays"), said("lunch"), said("deploys go out on Thursdays")])
    question = "Tuesdays: do deploys go out?"
    answers = [one for one in found(ledger, question) if one != "e2"]
    assert answers == ["e3", "e1"]
    assert found(ledger, question, as_of=minute(2))[0] == "e1"
    assert "Thursdays" not in ask(ledger, question, as_of=minute(2)).context


def test_what_is_never_recalled(ledger: Ledger) -> None:
    """Given recalled context that an agent's hook told of, a hidden part, a hidden message, one that is shown again, and
    a forgotten event. I expect none of them but the one that is shown again."""
    injected = f"{HEADING}\n- carts are priced by the server (s1)"
    remember(
        ledger,
        [
            said(injected),
            {
                "type": "tool.call",
                "session": "s1",
                "data": {"tool": "price", "status": "error", "part": "prt_1", "summary": "carts"},
            },
            {
                "type": "chat.message",
                "session": "s1",
                "data": {"role": "user", "text": "carts hidden", "message": "msg_1"},
            },
            {
                "type": "chat.message",
                "session": "s1",
                "data": {"role": "user", "text": "carts shown", "message": "msg_2"},
            },
            {
                "type": "chat.message",
                "session": "s2",
                "data": {"role": "user", "text": "carts of s2", "message": "msg_1"},
            },
            said("carts forgotten"),
            *[{"type": "part.hidden", "session": "s1", "data": {"part": part}} for part in ("prt_1", "msg_1", "msg_2")],
            {"type": "part.shown", "session": "s1", "data": {"part": "msg_2"}},
        ],
    )
    with ledger.write() as connection:
        forget(connection, GROUP, [6])
        connection.execute(text("UPDATE events SET text = '', data = '{}' WHERE seq = 6"))
    assert sorted(found(ledger, "how are carts priced?")) == ["e4", "e5"]
    assert found(ledger, "carts", kinds=("tool.call",)) == []


def test_nothing_is_known(ledger: Ledger) -> None:
    answer = ask(ledger, "anything?")
    assert (answer.context, answer.items, answer.tokens, answer.paths) == ("", [], 0, set())
    remember(ledger, [said("the cart")])
    assert ask(ledger, "zanzibar").context == ask(ledger, "").context == ""


def test_an_answer_depends_on_its_files_and_sessions(ledger: Ledger) -> None:
    remember(ledger, [wrote("src/cart.py", "prices"), wrote("src/tax.py", "x", "s2")])
    answer = ask(ledger, "prices", paths=("docs/new.md",))
    assert answer.paths == {"src/cart.py", "docs/new.md", "session:s1"}
    assert "- Modified: src/cart.py prices (s1, build, 2026-11-01 10:01, src/cart.py)" in answer.context


def test_a_score_is_the_sum_of_its_features(ledger: Ledger) -> None:
    remember(
        ledger,
        [said("What is the cart?"), said("the cart is full", agent="Dana"), wrote("src/cart.py"), said("x", "s2")],
    )
    items = ask(ledger, "What is Dana's cart?", paths=("src/cart.py",), session="s1", explain=True).items
    assert items
    for item in items:
        assert sum(item.features.values()) == pytest.approx(item.match.score, rel=1e-4)
    names = {name for item in items for name in item.features}
    assert names >= {
        "words",
        "asking",
        "words_in_paths",
        "path_words",
        "same_path",
        "before",
        "after",
        "agent",
        "recent",
    }


# The graph


def test_facts_of_the_files_in_question(ledger: Ledger, graph_url: str, group: str) -> None:
    """Given edits in the graph. I expect facts on the question's file and the best events' files, each once, newest
    first; as of an earlier time only what was known then; and none of another group."""
    events = remember(
        ledger,
        [
            wrote("src/cart.py", agent="dana"),
            wrote("src/cart.py", agent="dana"),
            wrote("src/cart.py", agent="eve"),
            wrote("x", session="s9"),
        ],
        group,
    )
    writer, reader = GraphWriter(graph_url), GraphReader(graph_url, timeout=10)
    assert ask(ledger, "cart", group=group, graph=reader).graph == "asked"
    writer.write(group, events)
    answer = ask(ledger, "nothing", group=group, paths=("src/cart.py",), graph=reader)
    facts = [
        Fact(f"{who} modified src/cart.py", minute(n), None, "src/cart.py") for who, n in (("eve", 3), ("dana", 2))
    ]
    assert (answer.facts, answer.graph) == (facts, "asked")
    assert "- eve modified src/cart.py (since 2026-11-01 10:03)" in answer.context
    assert ask(ledger, "cart", group=group, graph=reader).facts == facts
    then = ask(ledger, "cart", group=group, graph=reader, as_of=minute(1))
    assert then.facts == [Fact("dana modified src/cart.py", minute(1), None, "src/cart.py")]
    assert ask(ledger, "cart", group=f"{group}-x", paths=("src/cart.py",), graph=reader).facts == []
    writer.close()
    reader.close()


def test_facts_of_what_the_question_names(ledger: Ledger, graph_url: str, group: str) -> None:
    """Given an error that two agents hit, and a list of tasks of which one is done. I expect the facts on what the
    question names, by whatever session they come, and with it what led to each; not those on the other tasks."""
    broken = {"message": "TypeError: discount is undefined\n  at cart.py:12", "name": "TypeError"}
    todos = [{"content": "Round the discount", "status": "completed"}, {"content": "Write docs", "status": "pending"}]
    events = remember(
        ledger,
        [
            {"type": "error", "session": "s1", "agent": "dana", "data": broken},
            {"type": "error", "session": "s2", "agent": "eve", "data": broken},
            {"type": "todo.updated", "session": "s1", "agent": "dana", "data": {"todos": todos}},
        ],
        group,
    )
    writer, reader = GraphWriter(graph_url), GraphReader(graph_url, timeout=10)
    writer.write(group, events)
    name = "TypeError: discount is undefined"
    done = Fact("dana completed Round the discount", minute(3), None, "Round the discount")
    hit = [Fact(f"{who} hit error {name}", minute(n), None, name) for who, n in (("eve", 2), ("dana", 1))]
    assert ask(ledger, "why are discounts undefined?", group=group, graph=reader).facts == [done, *hit]
    assert ask(ledger, "TypeError", group=group, graph=reader, as_of=minute(1)).facts == hit[1:]
    assert ask(ledger, "what did dana do?", group=group, graph=reader).facts == []
    writer.close()
    reader.close()


def test_a_graph_that_is_away_does_not_fail_an_answer(ledger: Ledger, tmp_path: Path) -> None:
    """Given no graph server, I expect the answer without facts, and to be told so."""
    remember(ledger, [wrote("src/cart.py")])
    reader = GraphReader(f"unix://{tmp_path / 'none'}")
    for _ in range(2):
        answer = ask(ledger, "cart", graph=reader)
        assert (answer.graph, answer.facts, len(answer.items)) == ("away", [], 1)
    assert ask(ledger, "cart").graph == "none"
