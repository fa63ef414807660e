"""What events say: texts, things, facts, and identities that a replay doesn't change."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from memory.events import DATA, Event, parse
from memory.graph.facts import LINK_LIMIT, NAME_LIMIT, NAMESPACE, Memory, entity_uuid, episode_uuid, remember
from memory.graph.kinds import KINDS, TYPES, text_of

#: What Graphiti keeps of its own in these places; an attribute of such a name would overwrite it.
OF_ENTITIES = {"uuid", "name", "group_id", "name_embedding", "summary", "created_at", "labels"}
OF_FACTS = {"uuid", "source_node_uuid", "target_node_uuid", "fact", "fact_embedding", "name", "group_id"} | {
    "episodes", "created_at", "expired_at", "valid_at", "invalid_at", "reference_time"
}  # fmt: skip
OF_EPISODES = {"uuid", "name", "group_id", "source", "source_description", "content", "valid_at", "created_at"} | {
    "entity_edges", "labels"
}  # fmt: skip

#: One event of each type with every field filled, its text, and its facts as `source -RELATION-> target`.
EXAMPLES: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    "session.start": (
        {"parent": "ses_0", "title": "Fix the cart", "model": "gpt-5"},
        "Session started: Fix the cart",
        {"Session ses_1 -CHILD_OF-> Session ses_0"},
    ),
    "session.end": ({"reason": "done", "messages": 12}, "Session ended: done", set()),
    "user.request": ({"request": "Prices are in cents.", "action": "remember"}, "Prices are in cents.", set()),
    "chat.start": ({"query": "Where are prices rounded?"}, "user: Where are prices rounded?", set()),
    "chat.message": (
        {"role": "assistant", "text": "In cart.py.", "message": "msg_1", "tokens": 4}, "assistant: In cart.py.", set()
    ),
    "file.write": (
        {"path": "src/cart.py", "tool": "edit", "additions": 4, "deletions": 1},
        "Modified: src/cart.py",
        {"Session ses_1 -MODIFIED-> File src/cart.py"},
    ),
    "tool.call": (
        {"tool": "bash", "status": "error", "duration_ms": 3.5, "path": "src/cart.py", "summary": "exit code 1"},
        "Failed: bash on src/cart.py\nexit code 1",
        {"Session ses_1 -FAILED_CALL-> Tool bash", "Tool bash -FAILED_ON-> File src/cart.py"},
    ),
    "todo.updated": (
        {"todos": [{"content": "Round", "status": "completed"}, {"content": "Test", "priority": "high"}]},
        "Todos:\n[completed] Round\n[pending] Test",
        {"Session ses_1 -COMPLETED-> Task Round", "Session ses_1 -PLANNED-> Task Test"},
    ),
    "vcs.commit": (
        {"sha": "0123456789abcdef", "message": "Round once\n\nNot twice.", "author": "Ann", "paths": ["src/cart.py"]},
        "Commit 0123456789ab: Round once\n\nNot twice.",
        {
            "Session ses_1 -COMMITTED-> Commit 0123456789ab Round once",
            "Commit 0123456789ab Round once -CHANGED-> File src/cart.py",
        },
    ),
    "error": (
        {"message": "TypeError: x is undefined\n  at cart.ts:3", "name": "TypeError"},
        "Error: TypeError: x is undefined\n  at cart.ts:3",
        {"Session ses_1 -HIT_ERROR-> Error TypeError: x is undefined"},
    ),
    "completion": (
        {"task": "Fix rounding", "duration": 2.5, "tokens": 900},
        "Completed: Fix rounding",
        {"Session ses_1 -COMPLETED-> Task Fix rounding"},
    ),
    "session.compacted": (
        {"summary": "Rounding is fixed.", "tokens_before": 9, "tokens_after": 3},
        "Session compacted: Rounding is fixed.",
        set(),
    ),
    "checkpoint.created": (
        {"checkpoint": "before the refactoring", "tokens_before": 9, "tokens_after": 3},
        "Checkpoint: before the refactoring",
        {"Session ses_1 -REACHED-> Checkpoint before the refactoring"},
    ),
}  # fmt: skip


def event(type: str, data: dict[str, Any], **fields: Any) -> Event:
    envelope = {
        "specversion": "1.0", "id": "e1", "source": "opencode", "time": "2026-11-21T10:00:00.123Z", "group": "shop",
        "session": "ses_1", "agent": "build", "user": "ann", "project": "/home/dev/shop",
    }  # fmt: skip
    return parse(envelope | {"type": type, "data": data} | fields)


def said(type: str, data: dict[str, Any], **fields: Any) -> Memory:
    memory = remember(event(type, data, **fields))
    assert memory is not None
    return memory


def drawn(memory: Memory) -> set[str]:
    """Its facts as `source -RELATION-> target`, without the agent's, which all have."""
    names = {entity.uuid: f"{entity.label} {entity.name}" for entity in memory.entities}
    facts = (f"{names[fact.source]} -{fact.relation}-> {names[fact.target]}" for fact in memory.facts)
    return {fact for fact in facts if "WORKED_IN" not in fact}


def test_every_type_has_an_example_and_is_a_known_type() -> None:
    assert set(EXAMPLES) == TYPES
    assert set(DATA) >= TYPES


@pytest.mark.parametrize("type", sorted(EXAMPLES))
def test_text_entities_and_facts(type: str) -> None:
    data, text, facts = EXAMPLES[type]
    memory = said(type, data)
    assert text_of(event(type, data)) == memory.episode.text == text
    assert drawn(memory) == facts
    assert memory.episode.valid_at == datetime(2026, 11, 21, 10, 0, 0, 123_000, tzinfo=UTC)
    assert {fact.valid_at for fact in memory.facts} == {memory.episode.valid_at}
    assert memory.episode.source == ("message" if type.startswith("chat.") else "text")


@pytest.mark.parametrize("type", sorted(EXAMPLES))
def test_what_is_said_fits_graphitis_schema(type: str) -> None:
    memory = said(type, EXAMPLES[type][0])
    assert not memory.episode.attributes.keys() & OF_EPISODES
    for entity in memory.entities:
        assert not entity.attributes.keys() & OF_ENTITIES
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", entity.label)
    ends = {entity.uuid for entity in memory.entities}
    for fact in memory.facts:
        assert not fact.attributes.keys() & OF_FACTS
        assert {fact.source, fact.target} <= ends
    told = [memory.episode.attributes, *(e.attributes for e in memory.entities), *(f.attributes for f in memory.facts)]
    values = [value for attributes in told for value in attributes.values()]
    assert values
    assert all(isinstance(value, str | int | float | bool) for value in values)


def test_the_drafts_attributes() -> None:
    edit = said("file.write", {"path": "a.py"}).episode
    error = said("error", {"message": "boom"}).episode
    done = said("completion", {"task": "t", "duration": 1.5, "tokens": 7}).episode
    assert edit.attributes["type"] == "file_edit"
    assert (error.attributes["type"], error.attributes["severity"]) == ("error", "high")
    assert [done.attributes[name] for name in ("type", "duration", "tokens")] == ["success", 1.5, 7]


def test_a_replay_says_the_same() -> None:
    for type, (data, _, _) in EXAMPLES.items():
        assert said(type, data) == said(type, data)


def test_identities() -> None:
    memory = said("file.write", {"path": "src/cart.py"})
    assert memory.episode.uuid == episode_uuid("e1") == str(uuid.uuid5(NAMESPACE, "episode/e1"))
    paths = {entity.label: entity.uuid for entity in memory.entities}
    assert paths["File"] == entity_uuid("shop", "File", "src/cart.py") != entity_uuid("shop", "Task", "src/cart.py")
    assert paths["File"] != entity_uuid("other", "File", "src/cart.py")
    # A fact belongs to its event, a lasting one to its group: the agent worked in the session once.
    other = said("file.write", {"path": "src/cart.py"}, id="e2")
    same = {fact.relation for fact in memory.facts if fact.uuid in {known.uuid for known in other.facts}}
    assert same == {"WORKED_IN"}


def test_without_a_session_there_is_none() -> None:
    memory = said("file.write", {"path": "src/cart.py"}, session=None)
    assert [entity.label for entity in memory.entities] == ["File"]
    assert memory.facts == ()
    commit = said("vcs.commit", {"sha": "ab", "message": "m", "paths": ["a.py"]}, session=None, agent=None)
    assert drawn(commit) == {"Commit ab m -CHANGED-> File a.py"}


def test_long_names_are_clipped_and_stay_apart() -> None:
    long = "E" * 300
    one, two = (said("error", {"message": f"{long}{end}\nmore"}) for end in "12")
    errors = [next(e for e in memory.entities if e.label == "Error") for memory in (one, two)]
    assert {len(error.name) for error in errors} == {NAME_LIMIT}
    assert errors[0].name == errors[1].name
    assert errors[0].uuid != errors[1].uuid
    path = "d/" * 300 + "f.py"
    assert f"File {path}" in {f"{e.label} {e.name}" for e in said("file.write", {"path": path}).entities}


def test_one_event_names_a_bounded_number_of_things() -> None:
    paths = [f"f{n}" for n in range(LINK_LIMIT + 5)]
    files = [e for e in said("vcs.commit", {"sha": "a", "message": "", "paths": paths}).entities if e.label == "File"]
    assert len(files) == LINK_LIMIT


@pytest.mark.parametrize("status", ["completed", "running"])
def test_a_tool_call_that_went_well_has_a_text_and_no_episode(status: str) -> None:
    call = event("tool.call", {"tool": "read", "status": status, "path": "a.py"})
    assert text_of(call) == "Called: read on a.py"
    assert remember(call) is None


def test_forgetting_is_not_remembered() -> None:
    request = event("user.request", {"request": "the password is hunter2", "action": "forget"})
    assert text_of(request) == ""
    assert remember(request) is None


def test_unknown_types_say_nothing() -> None:
    unknown = event("weather.changed", {"message": "rain"})
    assert text_of(unknown) == ""
    assert remember(unknown) is None


@pytest.mark.parametrize("type", sorted(KINDS))
@pytest.mark.parametrize(
    "value", [None, 7, True, ["x", 1], [{"content": ["x"], "status": []}], {"a": {"b": 1}}, "", "\ud800\x00"]
)
def test_no_data_is_too_strange(type: str, value: object) -> None:
    """Events from the ledger may be older than the model: any value in any field is told somehow."""
    known = event(type, EXAMPLES[type][0])
    strange = known.model_copy(update={"data": dict.fromkeys([*EXAMPLES[type][0], "summary"], value)})
    assert isinstance(text_of(strange), str)
    memory = remember(strange)
    assert memory is None or all(entity.name for entity in memory.entities)
    empty = known.model_copy(update={"data": {}})
    assert isinstance(text_of(empty), str)


def test_texts_and_writer_are_importable_without_graphiti() -> None:
    code = "import sys, memory.graph.facts, memory.graph.writer; print('graphiti_core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
