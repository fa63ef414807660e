"""Privacy: shared vectors, planted secrets, what must be left alone, and time that grows with the text only."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory.privacy import PRIVATE, may_hold, redact, redact_text
from memory.privacy.rules import load
from tests.planted import KINDS, SURROUNDINGS, nested

ROOT = Path(__file__).parents[2]
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "vectors" / "privacy.json").read_text("utf-8"))["cases"]
RULES = json.loads((ROOT / "memory" / "privacy" / "rules.json").read_text("utf-8"))
RECORDED = [
    *sorted((ROOT / "tests" / "recordings").glob("*.jsonl")),
    *sorted((ROOT / "tests" / "recordings").glob("*.sql")),
    *sorted((ROOT / "ops" / "demo_data").glob("*.sql")),
]


def text_of(parts: str | list[str]) -> str:
    return parts if isinstance(parts, str) else "".join(parts)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    text, redacted = text_of(case["text"]), text_of(case["redacted"])

    assert redact_text(text) == redacted
    assert redact_text(redacted) == redacted
    assert may_hold(json.dumps(text, ensure_ascii=False).encode()) or text == redacted


def test_there_are_enough_vectors() -> None:
    kept = [case for case in VECTORS if text_of(case["text"]) == text_of(case["redacted"])]
    labels = Counter(
        label for case in VECTORS for label in set(re.findall(r"\[redacted:([a-z-]+)\]", text_of(case["redacted"])))
    )

    assert len(VECTORS) >= 150
    assert len(kept) >= 60
    assert {rule["label"] for rule in RULES["rules"]} <= {label for label, count in labels.items() if count >= 3}


def test_no_vector_holds_a_secret_in_one_piece() -> None:
    """So that scanners of this repository stay quiet."""
    source = (ROOT / "tests" / "vectors" / "privacy.json").read_text("utf-8")
    shaped = [rule for rule in load().rules if rule.long]

    assert [rule.id for rule in shaped if rule.patterns[0].search(source)] == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("surround", SURROUNDINGS, ids=lambda surround: surround.__name__)
def test_each_kind_in_each_surrounding(name: str, surround: Callable[[str], str]) -> None:
    label, kind = KINDS[name]
    rng = random.Random(name)
    for _ in range(20):
        planted, secret = kind(rng)
        found: Counter[str] = Counter()
        left = redact_text(surround(planted), found)
        assert secret not in left, (name, surround(planted))
        assert redact_text(left) == left
        assert found[label], (label, found, surround(planted))


@pytest.mark.parametrize("seed", range(3))
def test_of_200_secrets_of_all_kinds_planted_in_nested_data_none_survives(seed: int) -> None:
    rng = random.Random(seed)
    secrets: list[str] = []
    kinds = list(KINDS.values())
    events: list[Any] = []
    for number in range(200):
        planted, secret = kinds[number % len(kinds)][1](rng)
        secrets.append(secret)
        value: Any = rng.choice(SURROUNDINGS)(planted)
        for _ in range(rng.randrange(4)):
            value = nested(rng, value)
        events.append(value)
    found: Counter[str] = Counter()

    left = redact({"data": events}, found)

    text = json.dumps(left, ensure_ascii=False)
    assert [secret for secret in secrets if secret in text or json.dumps(secret)[1:-1] in text] == []
    assert sum(found.values()) >= 200
    assert len(found) >= 25
    assert redact(left) is left


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_recorded_sessions_stay_as_they_are(path: Path) -> None:
    found: Counter[str] = Counter()
    text = path.read_text("utf-8")
    for line in text.splitlines():
        value = json.loads(line) if path.suffix == ".jsonl" else line
        assert redact(value, found) is value

    assert redact_text(text, found) == text
    assert found == Counter()


def test_the_projects_own_code_stays_as_it_is() -> None:
    found: dict[str, Counter[str]] = {}
    for folder in ("memory", "producers", "workers", "ops"):
        for path in (ROOT / folder).rglob("*.py"):
            redact_text(path.read_text("utf-8"), found.setdefault(str(path.relative_to(ROOT)), Counter()))
    # Here it is named, so what follows is private.
    del found["memory/privacy/__init__.py"]

    assert {name: counts for name, counts in found.items() if counts} == {}


def test_nothing_to_remove_leaves_the_very_same_value() -> None:
    value = {"path": "src/cart.py", "todos": [{"content": "count the tokens"}], "tokens": {"input": 3}, "none": None}

    assert redact(value) is value
    assert not may_hold(b'{"path":"src/cart.py","additions":4}')


def test_keys_whose_names_say_that_their_values_are_secret() -> None:
    value = {
        "password": "swordfish",
        "dbPassword": "correct horse battery staple",
        "PGPASSWORD": 12345678,
        "client_secret": "winter-2024-shop",
        "x-api-key": "k3y-of-the-shop",
        "access_token": ["one-1", "abcdef123456"],
        "nested": {"Authorization": "Token 8f14e45fceea167a"},
        "private_key_id": "8f14e45fceea167a" * 2 + "5a36dedd",
        "auths": {"registry.example.org": {"auth": base64.b64encode(b"deploy:hunter2").decode()}},
    }

    assert redact(value) == {
        "password": "[redacted:password]",
        "dbPassword": "[redacted:password]",
        "PGPASSWORD": "[redacted:password]",
        "client_secret": "[redacted:secret]",
        "x-api-key": "[redacted:api-key]",
        "access_token": ["one-1", "[redacted:token]"],
        "nested": {"Authorization": "[redacted:token]"},
        "private_key_id": "[redacted:gcp-service-account]",
        "auths": {"registry.example.org": {"auth": "[redacted:docker-auth]"}},
    }


def test_keys_that_only_sound_secret() -> None:
    value = {
        "password": "${DB_PASSWORD}",
        "passwd": "<your-password>",
        "PGPASSWORD": "",
        "token": "identifier",
        "tokens": 1234,
        "secret": "ses_e0378b67bffe7jKL94WGHJQZLU",
        "api_key": "550e8400-e29b-41d4-a716-446655440000",
        "password_file": "/run/secrets/db2",
        "credentials": "same-origin",
        "key": "a1b2c3d4e5f6a7b8",
        "pass": 1042,
        "auth": "oauth2",
        "_auth": "größer als 4:1",
    }

    assert redact(value) is value


def test_a_secret_as_a_key() -> None:
    planted, secret = KINDS["github classic"][1](random.Random(1))

    left = redact({planted: 1, "[redacted:github-token]": 2})

    assert secret not in str(left)
    assert sorted(left.values()) == [1, 2]


def test_card_numbers_that_are_numbers() -> None:
    assert redact({"n": 4111_1111_1111_1111, "t": 1795238087036, "ns": 1795238087036000123}) == {
        "n": "[redacted:card-number]",
        "t": 1795238087036,
        "ns": 1795238087036000123,
    }


def test_what_was_removed_is_counted_without_its_content() -> None:
    found: Counter[str] = Counter()
    text = "<private>a</private> password='hunter2x' <private>b"

    assert (
        redact({"text": text, "more": [text]}, found)["text"] == f"{PRIVATE} password='[redacted:password]' {PRIVATE}"
    )
    assert found == {"private": 4, "password": 2}


def test_values_nested_beyond_all_measure_are_removed() -> None:
    deep: Any = "ghp_"
    for _ in range(100_000):
        deep = [deep]

    assert "too-deep" in json.dumps(redact({"deep": deep, "password": "swordfish"}))


def test_private_text_stays_in_its_own_field() -> None:
    assert redact({"a": "x <private> y", "b": "z"}) == {"a": f"x {PRIVATE}", "b": "z"}


ADVERSARIES = {
    "letters": "a",
    "digits": "4",
    "cards": "4111111111111111 ",
    "passwords": "password=",
    "passwords in capitals": "PASSWORD=a1",
    "quoted passwords": 'password="',
    "private": "<private>",
    "private, not closed": "<private ",
    "private keys": "-----BEGIN",
    "heads of private keys": "-----BEGIN PRIVATE KEY-----\n",
    "base64": base64.b64encode(bytes(range(256))).decode(),
    "tokens": "eyJhbGciOiJI.",
    "urls": "://a:b",
    "keys": "api_key=",
    "almost runs": "aaaaaaaaaaaaaaaaaaa ",
    "backslashes": "\\",
    "beyond ascii": "Кириллица token=",
    "secrets": "secret_access_key=",
    "authorization": "authorization: bearer basic ",
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_time_grows_with_the_text_and_no_faster(name: str) -> None:
    """Twice the text takes about twice the time; what is quadratic would take four times as long."""
    unit = ADVERSARIES[name]
    small = (unit * (65536 // len(unit) + 1))[:65536]

    def seconds(text: str) -> float:
        start = time.process_time()
        redact_text(text)
        return time.process_time() - start

    seconds(small)
    for _ in range(5):
        ratio = min(seconds(small + small) for _ in range(3)) / max(min(seconds(small) for _ in range(3)), 1e-4)
        if ratio < 3:
            return
    pytest.fail(f"twice the text took {ratio:.1f} times as long")


def test_all_patterns_are_in_the_subset_that_python_and_javascript_share() -> None:
    sources = [source for rule in RULES["rules"] for source in (rule["pattern"], rule.get("end", ""))]
    sources += [name["pattern"] for name in RULES["names"]] + RULES["placeholders"] + RULES["identifiers"]
    for source in sources:
        re.compile(source, re.ASCII)
        outside = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "_", source)
        assert not re.search(r"\(\?P|\(\?[aiLmsux-]|\(\?\(|\(\?>|[*+?}]\+|\\[AZzGKhRpPX]|[*+]", outside), source
        assert not re.search(r"\\[sSwWdDbB](?<!\\s)(?<!\\S)", source), source
        # What these match differs: which characters end a line.
        assert not re.search(r"[.^$]", outside), source


def test_rules_are_whole() -> None:
    fields = {"id", "label", "keywords", "pattern", "flags", "offset", "long", "distinct", "entropy", "check", "end"}
    fields |= {"near", "after_word", "stop"}
    ids = [rule["id"] for rule in RULES["rules"]]

    assert len(set(ids)) == len(ids)
    for rule in RULES["rules"]:
        assert set(rule) <= fields, rule["id"]
        assert all(word == word.lower() and word.isascii() for word in rule["keywords"]), rule["id"]
        assert re.fullmatch("[a-z0-9-]+", rule["label"])
        assert rule["keywords"] or rule["id"] in ("card-number", "discord-bot-token")


def test_only_the_standard_library_is_imported_and_little_of_it() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import memory.privacy as privacy; "
        "privacy.redact({'password': 'swordfish'}); "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", program, ROOT], capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())

    assert imported - set(sys.stdlib_module_names) == {"memory"}
    assert not imported & {"typing", "pathlib", "asyncio", "logging", "dataclasses"}
