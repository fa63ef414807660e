"""The event model: the shared vectors, the JSON Schema, and what holds for any event."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from memory.events import (
    ALIASES,
    DATA,
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_TEXT_BYTES,
    Event,
    EventInvalid,
    clip,
    create,
    native_id,
    normal_path,
    parse,
    schema,
)

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
CASES = json.loads((VECTORS / "events.json").read_text("utf-8"))
IDS = json.loads((VECTORS / "ids.json").read_text("utf-8"))
VALID = {
    "id": "e1",
    "source": "test",
    "type": "file.write",
    "time": "2026-11-21T10:00:00.123Z",
    "group": "shop",
    "data": {"path": "a.py"},
}


def built(value: Any) -> Any:
    """The value with what the vectors only describe: long texts, deep lists."""
    if isinstance(value, list):
        return [built(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        return value["$repeat"] * value["times"]
    if "$nest" in value:
        nested: Any = 0
        for _ in range(value["$nest"]):
            nested = [nested]
        return nested
    return {name: built(item) for name, item in value.items()}


def bytes_of(fields: Any) -> bytes:
    return json.dumps(fields).encode()


def processed(source: dict[str, Any] | bytes) -> Any:
    """What a producer does with an event, and what arrives."""
    event = parse(source)
    clip(event)
    return json.loads(event.encode())


def refusal(source: Any) -> str:
    """Message with which an event is refused."""
    with pytest.raises(EventInvalid) as refused:
        processed(source)
    return str(refused.value)


class TestVectors:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
    def test_outcome(self, case: dict[str, Any]) -> None:
        given = built(case["input"])
        raw = bytes_of(given)
        # The same as a dictionary and as JSON, whose size is limited before it is clipped.
        sources = [given, raw] if len(raw) <= MAX_EVENT_BYTES else [given]
        for source in sources:
            if "event" in case["outcome"]:
                assert processed(source) == built(case["outcome"]["event"])
            else:
                assert refusal(source).startswith(case["outcome"]["error"] + ":")

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
    def test_the_schema_says_the_same(self, case: dict[str, Any]) -> None:
        accepted = jsonschema.Draft202012Validator(schema()).is_valid(built(case["input"]))
        assert accepted == ("event" in case["outcome"] or case["outcome"].get("schema_accepts", False))

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
    def test_the_outcome_is_an_event_too(self, case: dict[str, Any]) -> None:
        event = built(case["outcome"].get("event", VALID))
        assert processed(event) == processed(processed(event))
        assert jsonschema.Draft202012Validator(schema()).is_valid(event)

    def test_every_type_alias_and_required_field_is_covered(self) -> None:
        given = {case["input"].get("type") for case in CASES if isinstance(case["input"].get("type"), str)}
        refused = {case["name"] for case in CASES if "error" in case["outcome"]}
        required = {f"{type}: without {name}" for type, shape in DATA.items() for name in _required(shape)}

        assert {*DATA, *ALIASES} <= given
        assert required | {f"without {name}" for name in _required(Event)} <= refused

    @pytest.mark.parametrize("case", IDS["ids"], ids=lambda case: f"{case['type']} {case['native'][:8]}")
    def test_native_ids(self, case: dict[str, str]) -> None:
        named = (case["source"], case["session"], case["type"], case["native"])
        assert native_id(*named, case.get("status")) == case["id"]


def _required(model: Any) -> set[str]:
    return {name for name, field in model.model_fields.items() if field.is_required()}


def test_the_schema_in_docs_is_the_one_of_the_models() -> None:
    # If not: python -m memory.events > docs/event.schema.json
    assert json.loads((ROOT / "docs" / "event.schema.json").read_text("utf-8")) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())


def some_event(chance: random.Random) -> dict[str, Any]:
    """A valid event by chance, with odd but possible content."""
    texts = ["", "plain", "größe 日本 👍", "a\x00b", "\ud800", "tab\t\x1b", "'; --", '"\\', "{}", "x" * 5000]
    parts = ["src", "a.py", ".", "..", "", "C:\\x", "日本", " ", "a\\b", "C:"]

    def value(depth: int) -> Any:
        kinds: list[Any] = [chance.choice(texts), chance.randint(-(2**70), 2**70), chance.uniform(-1, 1), True, None]
        if depth < 4:
            kinds.append([value(depth + 1) for _ in range(chance.randint(0, 3))])
            kinds.append({chance.choice(texts) + str(n): value(depth + 1) for n in range(chance.randint(0, 3))})
        return chance.choice(kinds)

    data = {"x": value(0), "y": value(0), "path": "/".join(chance.choices(parts, k=chance.randint(1, 6))) or "."}
    projects = [None, "/home/dev/shop", "/", "C:\\dev\\shop", "shop", "//x/..//y/"]
    return {
        **VALID,
        "type": chance.choice(["x.y", "file.write", "file:write"]),
        "time": datetime(2026, 1, 1, tzinfo=timezone(timedelta(minutes=chance.randint(-700, 700))))
        + timedelta(microseconds=chance.randint(0, 10**13)),
        "project": chance.choice(projects),
        "session": chance.choice([None, "ses_1", "日本"]),
        "trace": value(2),
        "data": data,
    }


@pytest.mark.parametrize("seed", range(300))
def test_an_event_that_was_sent_equals_the_one_that_arrives(seed: int) -> None:
    sent = create(some_event(random.Random(seed)), source="test", group="shop")
    raw = sent.encode()
    arrived = parse(raw)

    assert arrived == sent
    assert arrived.encode() == raw
    raw.decode("utf-8")
    assert b"\n" not in raw


def test_encoding_has_one_form_whatever_the_order_of_attributes() -> None:
    attributes = list(VALID.items())
    forms = {parse(dict(random.Random(seed).sample(attributes, len(attributes)))).encode() for seed in range(50)}

    assert forms == {
        b'{"specversion":"1.0","id":"e1","source":"test","type":"file.write","time":"2026-11-21T10:00:00.123Z",'
        b'"group":"shop","subject":"a.py","data":{"path":"a.py"}}'
    }


@pytest.mark.parametrize("seed", range(300))
def test_a_normal_path_stays_as_it_is(seed: int) -> None:
    chance = random.Random(seed)
    # A drive stands at the beginning or not at all: no name on Windows may hold a colon.
    path = chance.choice(["", "C:\\", "C:/", "D:\\"])
    path += "".join(chance.choices(["a", "b.py", ".", "..", "/", "//", "\\", "日"], k=chance.randint(1, 8)))
    for project in (None, "/", "/a", "/a/b.py/", "a", "C:\\a", "\\\\a\\b.py", "//a"):
        once = normal_path(path, project)
        assert normal_path(once, project) == once, (path, project)


class TestRefusals:
    SECRET = "hunter2-correct-horse"

    def test_messages_never_hold_the_content(self) -> None:
        messages = []
        for type, shape in DATA.items():
            for name in shape.model_fields:
                for wrong in (self.SECRET, [self.SECRET], {self.SECRET: self.SECRET}, f"9{self.SECRET}", -1):
                    data = {**dict.fromkeys(_required(shape), wrong), name: wrong}
                    messages += _refusals({**VALID, "type": type, "data": data})
        for name in Event.model_fields:
            for wrong in (self.SECRET + " \n", [self.SECRET], {self.SECRET: self.SECRET}, self.SECRET * 500, 7):
                messages += _refusals({**VALID, name: wrong})
        for raw in (f'{{"id": "{self.SECRET}', f'"{self.SECRET}"', f'{{"{self.SECRET}": NaN}}', f"[{self.SECRET}]"):
            messages += _refusals(raw.encode())
        messages += _refusals({**VALID, "data": {"path": "a", "x": {self.SECRET, 1}}})
        messages += _refusals({**VALID, "data": {"path": "a", "x": {7: self.SECRET}}})

        assert len(messages) > 150
        assert [message for message in messages if "hunter2" in message] == []
        assert all(re.match(r"[a-z_0-9.]+: \S", message) and "\n" not in message for message in messages)

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"", "event: not valid JSON (line 1 column 1)"),
            (b"{", "event: not valid JSON (line 1 column 2)"),
            (b"[]", "event: not a JSON object"),
            (b"null", "event: not a JSON object"),
            (b'"x"', "event: not a JSON object"),
            (b"\xff\xfe{}", "event: not valid UTF-8"),
            (b'{"id":"\xed\xa0\x80"}', "event: not valid UTF-8"),
            (json.dumps(VALID).encode("utf-16"), "event: not valid UTF-8"),
            (b"\xef\xbb\xbf{}", "event: not valid JSON (line 1 column 1)"),
            (json.dumps({**VALID, "x": float("nan")}).encode(), "event: NaN is not valid JSON"),
            (json.dumps({**VALID, "x": float("-inf")}).encode(), "event: -Infinity is not valid JSON"),
            (b'{"x":1e999}', "event: holds a number that JSON can't (infinite, or not a number)"),
            (b'{"x":-1e999}', "event: holds a number that JSON can't (infinite, or not a number)"),
            (b'{"x":' + b"9" * 400 + b"}", "event: holds a number that JSON can't (infinite, or not a number)"),
            (b'{"x":' + b"9" * 5000 + b"}", "event: not valid JSON"),
            (b'{"x":' * 100_000, "event: 500000 bytes are above the limit of 262144: shorten the fields of data"),
            (b'{"x":' * 50_000, "event: nested deeper than 64 levels"),
            (b"[" * 200_000, "event: nested deeper than 64 levels"),
        ],
    )
    def test_what_is_no_event_at_all(self, raw: bytes, message: str) -> None:
        assert refusal(raw) == message

    def test_values_that_are_no_json(self) -> None:
        assert refusal({**VALID, "data": {"path": "a", "x": float("nan")}}).startswith("event: holds a number")
        assert refusal({**VALID, "data": {"path": "a", "x": 10**5000}}).startswith("event: holds a number")
        assert refusal({**VALID, "data": {"path": "a", "x": {1, 2}}}).startswith("data: holds something that JSON")
        assert refusal({**VALID, "data": {"path": "a", "x": {7: 1}}}).startswith("event: holds a key")
        assert refusal({**VALID, 7: 1}).startswith("event: holds a key")

    def test_depth_is_a_fixed_number_whatever_the_stack(self) -> None:
        def at_depth(frames: int) -> Event:
            return at_depth(frames - 1) if frames else parse(bytes_of({**VALID, "data": deepest}))

        deepest: Any = {"path": "a.py"}
        for _ in range(MAX_DEPTH - 2):
            deepest = {"path": "a.py", "x": deepest}

        assert at_depth(0) == at_depth(500)
        deepest = {"path": "a.py", "x": deepest}
        with pytest.raises(EventInvalid, match="nested deeper"):
            at_depth(0)

    def test_a_group_that_ends_with_a_line_break(self) -> None:
        assert refusal({**VALID, "group": "shop\n"}).startswith("group:")

    def test_size_is_that_of_the_json(self) -> None:
        largest = parse({**VALID, "x": ""})
        largest.x = "y" * (MAX_EVENT_BYTES - len(largest.encode()))  # type: ignore[attr-defined]
        raw = largest.encode()

        assert len(raw) == MAX_EVENT_BYTES
        assert parse(raw) == largest
        assert refusal(raw + b" ").startswith("event: 262145 bytes are above the limit of 262144")
        assert refusal({**json.loads(raw), "id": "e10"}).startswith("event: 262145 bytes of JSON are above the limit")


def _refusals(source: Any) -> list[str]:
    try:
        processed(source)
    except EventInvalid as error:
        return [str(error)]
    return []


class TestCreate:
    def test_what_a_producer_leaves_out_is_filled_in(self) -> None:
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        events = [create({"type": "x.y", "data": {}}, source="test", group="shop") for _ in range(100)]

        assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", event.id) for event in events)
        assert len({event.id for event in events}) == 100
        assert all(before <= event.time <= datetime.now(UTC) for event in events)
        assert all(a.time <= b.time for a, b in pairwise(events))
        assert {(event.source, event.group) for event in events} == {("test", "shop")}

    def test_what_a_producer_says_counts(self) -> None:
        event = create({**VALID, "group": None, "source": "other"}, source="test", group="mine")

        assert (event.id, event.source, event.group) == ("e1", "other", "mine")

    def test_a_clipped_path_and_its_copy_are_the_same(self) -> None:
        event = create({**VALID, "type": "x.y", "data": {"path": "p" * 40_000}}, source="test", group="shop")

        assert event.subject == event.data["path"]
        assert len(event.data["path"]) == MAX_TEXT_BYTES
        assert parse(event.encode()) == event

    def test_the_callers_dictionary_is_left_alone(self) -> None:
        fields = {**VALID, "project": "/p", "data": {"path": "/p/a.py", "text": "x" * 40_000}}
        copy = json.loads(json.dumps(fields))
        create(fields, source="test", group="shop")

        assert fields == copy


def test_paths_are_each_named_once() -> None:
    data = {"sha": "a", "message": "b", "path": "/p/a.py", "paths": ["a.py", "b.py", "/p/b.py", "/etc/hosts"]}
    event = parse({**VALID, "type": "vcs.commit", "project": "/p", "data": data})

    assert event.paths == ["a.py", "b.py", "/etc/hosts"]
