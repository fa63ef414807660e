"""Python and TypeScript make the same events, byte for byte: of the shared vectors, of recorded sessions, of what
chance makes; and they remove the same secrets."""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from memory.events import EventInvalid, create_encoded, native_id
from memory.privacy import redact, redact_text
from memory.privacy.rules import load
from producers.group import group_of
from producers.opencode_events import native_of_todos
from tests.opencode_databases import read, recorded
from tests.planted import KINDS, SURROUNDINGS, nested
from tests.typescript import PACKAGE, answers, as_seen_there
from tests.unit.test_events import CASES, IDS, VALID, built, some_event
from tests.unit.test_privacy import ADVERSARIES, RECORDED, text_of
from tests.unit.test_privacy import VECTORS as PRIVACY

DEFAULTS = {"source": "opencode", "group": "shop"}


def created(fields: dict[str, Any]) -> dict[str, Any]:
    """What Python makes of them."""
    try:
        return {"value": create_encoded(fields, **DEFAULTS)[1].decode()}
    except EventInvalid as refused:
        return {"error": str(refused)}


def same(events: list[dict[str, Any]]) -> tuple[int, int]:
    """Check that both languages make the same of each. How many they accept and refuse."""
    # What is made anew each time, if it is left out: the id and the time.
    fixed = {"id": "e1", "time": "2026-11-21T10:00:00Z"}
    given = [{name: value for name, value in event.items() if value is not None} for event in events]
    events = [as_seen_there(json.loads(json.dumps({**fixed, **event}))) for event in given]
    found = answers(("create", event, DEFAULTS) for event in events)
    assert len(found) == len(events)
    refused = 0
    for event, there in zip(events, found, strict=True):
        here = created(event)
        if "error" in here:
            refused += 1
            here["error"], there["error"] = _comparable(here["error"]), _comparable(there.get("error", str(there)))
        assert there == here, event
    return len(events) - refused, refused


def _comparable(message: str) -> str:
    """What pydantic says of the parts of a time is its own."""
    return re.sub(r"(time: Input should be a valid datetime)[^;]*", r"\1", message)


class TestEvents:
    def test_vectors(self) -> None:
        accepted, refused = same([built(case["input"]) for case in CASES])

        assert accepted > 80
        assert refused > 60

    @pytest.mark.parametrize("name", ["single-session", "two-sessions"])
    def test_recorded_sessions(self, name: str, tmp_path: Path) -> None:
        events = [event.model_dump(mode="json", exclude_none=True) for event in read(recorded(name, tmp_path))]

        assert same(events) == (len(events), 0)

    @pytest.mark.parametrize("path", [path for path in RECORDED if path.suffix == ".jsonl"], ids=lambda path: path.name)
    def test_all_that_hooks_were_given(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        accepted, refused = same(
            [{"type": "hook.fired", "data": line, "project": "/home/dev/limiter"} for line in lines]
        )

        assert accepted > 100
        assert refused == 0

    @pytest.mark.parametrize("seed", range(2))
    def test_events_by_chance(self, seed: int) -> None:
        rng = random.Random(seed)
        events = [_written(some_event(rng)) for _ in range(400)]
        for event in events:
            event["data"]["more"] = _numbers(rng)
        accepted, _ = same(events)

        assert accepted > 200

    def test_wrong_events_by_chance(self) -> None:
        rng = random.Random(5)
        valid = [built(case["input"]) for case in CASES if "event" in case["outcome"]]
        wrong: list[Any] = [
            "",
            "x" * 300,
            7,
            -1,
            1.5,
            True,
            None,
            [],
            {},
            ["a", 7],
            [{}],
            "2026-13-01T00:00:00Z",
            2**53,
        ]
        events = []
        for _ in range(800):
            event = json.loads(json.dumps(rng.choice(valid)))
            for _ in range(rng.randrange(1, 4)):
                where = rng.choice([event, event["data"]]) if isinstance(event.get("data"), dict) else event
                where[rng.choice([*where, "path", "session", "tokens"])] = copy.deepcopy(rng.choice(wrong))
            events.append(event)
        accepted, refused = same(events)

        assert accepted > 50
        assert refused > 300

    def test_times(self) -> None:
        rng = random.Random(6)
        times = [f"2026-11-21T10:00:00.{'1' * digits}Z" for digits in range(1, 12)]
        for _ in range(1500):
            year, month, day = rng.choice([0, 1, 1900, 2024, 2026, 9999]), rng.randrange(14), rng.randrange(33)
            clock = f"{rng.randrange(26):02}:{rng.randrange(62):02}:{rng.randrange(62):02}"
            zone = rng.choice(
                ["Z", "z", "", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+01:60", "-0:30", "+0130"]
            )
            times.append(
                f"{year:04}-{month:02}-{day:02}{rng.choice('Tt ')}{clock}{rng.choice(['', '.9', '.1239'])}{zone}"
            )
        accepted, refused = same([{**VALID, "time": time} for time in times])

        assert accepted > 100
        assert refused > 500

    def test_long_text_is_clipped_at_the_same_place(self) -> None:
        rng = random.Random(7)
        events = []
        for _ in range(30):
            unit = rng.choice(["a", "é", "日", "👍", "a日", "x👍é", "a\x00", "\ud800"])
            text = unit * rng.choice([8193, 10_923, 16_385, 32_767, 32_768, 32_769, 40_000])
            data = {
                "path": "a",
                "x": [{"y": text}],
                rng.choice(["path", "z", "__proto__"]): text[:40_000],
                "clipped": {"w": 1},
            }
            events.append({**VALID, "type": "x.y", "data": data})
        accepted, _ = same(events)

        assert accepted > 20

    def test_secrets_in_events(self) -> None:
        rng = random.Random(8)
        events = []
        for _, kind in KINDS.values():
            value: Any = rng.choice(SURROUNDINGS)(kind(rng)[0])
            events.append(
                {**VALID, "type": "x.y", "note": value, "data": {"x": nested(rng, value), "password": value[:20]}}
            )

        assert same(events) == (len(events), 0)


def _written(event: dict[str, Any]) -> dict[str, Any]:
    time = event["time"]
    return {**event, "time": time.isoformat() if isinstance(time, datetime) else time}


def _numbers(rng: random.Random) -> list[float]:
    return [
        *(rng.choice([-1, 1]) * rng.random() * 10 ** rng.randrange(-30, 30) for _ in range(20)),
        *(10.0**exponent for exponent in (-7, -6, -5, -4, 15, 16, 17, 20, 21, 22)),
        *(
            9.9999e-6,
            1.5e-5,
            2.0**53,
            2.0**53 - 1,
            -(2.0**53),
            2.0**63,
            5e-324,
            1.7976931348623157e308,
            0.1,
            -0.0,
            123456.789,
        ),
        *(rng.randrange(-(2**60), 2**60) for _ in range(5)),
    ]


class TestIdsAndGroups:
    def test_ids(self) -> None:
        named = [
            [case[name] for name in ("source", "session", "type", "native", "status") if name in case]
            for case in IDS["ids"]
        ]
        named.append(["s", "\ud800", "x.y", "a\udfffb"])
        todos = [case["todos"] for case in IDS["todos"]]

        found = answers([*(("nativeId", *names) for names in named), *(("nativeOfTodos", todo) for todo in todos)])
        assert [answer["value"] for answer in found] == [
            *(native_id(*names) for names in named),
            *map(native_of_todos, todos),
        ]

    def test_groups_of_real_folders(self, tmp_path: Path) -> None:
        shop = tmp_path / "Shop API"
        (shop / "src").mkdir(parents=True)
        subprocess.run(["git", "init", "-q", shop], check=True)
        git = ["git", "-C", str(shop), "-c", "user.name=dev", "-c", "user.email=dev@example.org"]
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
        subprocess.run([*git, "worktree", "add", "-q", str(tmp_path / "tree")], check=True)
        subprocess.run(["git", "clone", "-q", "--bare", shop, tmp_path / "served.git"], check=True)
        (tmp_path / "link").symlink_to(shop / "src")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "x")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        (tmp_path / "lost").mkdir()
        (tmp_path / "lost" / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n")
        (tmp_path / "日本 👍").mkdir()
        folders = [shop, shop / "src", shop / ".git", shop / ".git" / "worktrees" / "tree", tmp_path / "tree"]
        folders += [tmp_path / "served.git", tmp_path / "link", tmp_path / "dangling", tmp_path / "dangling" / "y"]
        folders += [tmp_path / "lost", tmp_path / "日本 👍", tmp_path / "none" / "at" / "all", tmp_path, Path("/")]

        found = answers(("groupOf", str(folder), {}) for folder in folders)
        assert [answer["value"] for answer in found] == [group_of(folder, {}) for folder in folders]


class TestPrivacy:
    def test_vectors(self) -> None:
        texts = [text_of(case["text"]) for case in PRIVACY]

        assert [answer["value"] for answer in answers(("redactText", text) for text in texts)] == [
            text_of(case["redacted"]) for case in PRIVACY
        ]

    def test_planted_secrets(self) -> None:
        rng = random.Random(1)
        texts = [surround(kind(rng)[0]) for _, kind in KINDS.values() for surround in SURROUNDINGS for _ in range(2)]
        values = [nested(rng, nested(rng, text)) for text in texts]

        _same_text(texts)
        _same_value(values)

    def test_recorded_sessions_and_this_projects_code(self) -> None:
        root = PACKAGE.parents[1]
        files = [
            *RECORDED,
            *(root / "docs").rglob("*.md"),
            *(root / "memory").rglob("*.py"),
            *(root / "tests").rglob("*.py"),
        ]

        _same_text([path.read_text("utf-8") for path in files])

    @pytest.mark.parametrize("seed", range(2))
    def test_texts_by_chance(self, seed: int) -> None:
        rng = random.Random(seed)
        pieces = list(_pieces(rng))
        texts = ["".join(rng.choices(pieces, k=rng.randrange(1, 30))) for _ in range(1500)]
        names = [
            "password",
            "dbPassword",
            "api_key",
            "x",
            "auth",
            "_auth",
            "token",
            "tokens",
            "client-secret",
            "👍" * 40 + "token",
        ]
        values: list[Any] = [
            {rng.choice(names): rng.choice([text, [text], {"x": text}, 12345678, 4111_1111_1111_1111, 7]), text[:20]: 1}
            for text in texts[:500]
        ]
        changed = _same_text(texts)
        changed_values = _same_value(values)

        assert changed > 300
        assert changed_values > 200

    def test_long_texts_made_to_be_slow(self) -> None:
        _same_text([(unit * (32_768 // len(unit) + 1))[:32_768] for unit in ADVERSARIES.values()])


def _pieces(rng: random.Random) -> Iterator[str]:
    """What secrets, their names and their surroundings are made of, and characters that languages see differently."""
    yield from {keyword for rule in load().rules for keyword in rule.keywords}
    yield from {keyword.upper() for rule in load().rules for keyword in rule.keywords}
    for _, kind in KINDS.values():
        planted = kind(rng)[0]
        yield planted
        yield planted[rng.randrange(len(planted)) :]
        yield planted[: rng.randrange(len(planted))]
    yield from [
        *" \t\r\n\"'`=:,;.-_/\\@&<>()[]{}$!%0123aZ",
        "\\n",
        '\\"',
        "\u2028",
        "\x85",
        "\xa0",
        "\ufeff",
        "\x1c",
        "\x00",
    ]
    yield from [
        "👍",
        "𝐀𝐁",
        "\ud800",
        "\ue000",
        "日本",
        "ſ",
        "\u212a",
        "İ",
        "é",
        "<private>",
        "</private>",
        "< PRIVATE a>",
        "is",
        "api",
    ]
    yield from [
        "Zk3v9Qw1Lm",
        "aB3dE5gH7jK9",
        "correct",
        "=== ",
        "://",
        "user:",
        "@host",
        "x" * 300,
        "1" * 20,
        "4111 1111 1111 1111",
    ]


def _same_text(texts: list[str]) -> int:
    """Check that both languages leave the same of each text. How many they changed."""
    found = answers(("redactText", text) for text in texts)
    for text, there in zip(texts, found, strict=True):
        assert there["value"] == redact_text(text), text
    return sum(there["value"] != text for text, there in zip(texts, found, strict=True))


def _same_value(values: list[Any]) -> int:
    values = [as_seen_there(value) for value in values]
    found = answers(("redact", value) for value in values)
    for value, there in zip(values, found, strict=True):
        assert there["value"] == redact(value), value
    return sum(there["value"] != value for value, there in zip(values, found, strict=True))
