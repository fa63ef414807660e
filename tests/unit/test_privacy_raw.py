"""Privacy of what was found in a lane and is no event: JSON is looked through, and so are escapes in what is none."""

from __future__ import annotations

import json

import pytest

from memory.privacy.raw import redact_raw

#: In two parts, lest this file be taken for one that leaks.
TOKEN = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
PLAIN = f"push with {TOKEN} <private>my salary</private> now"
CLEAN = "push with [redacted:github-token] [private] now"


def escaped(text: str) -> str:
    """Each character as JSON may write it."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({"text": PLAIN}),
        json.dumps({"text": PLAIN}).replace("<", "\\u003c").replace(">", "\\u003E"),
        f'{{"text": "{escaped(PLAIN)}"}}',
        json.dumps([1, {"deep": [PLAIN]}]),
        json.dumps({PLAIN: 1}),
        f'{{"{escaped(PLAIN)}": null}}',
        json.dumps(PLAIN),
        f'{{"text": "{escaped(PLAIN)}", "text": "x"}}',
        f'{{"broken": "{PLAIN}"',
        f'{{"broken": "{escaped(PLAIN)}"',
        json.dumps(json.dumps({"text": PLAIN}))[:-1].replace("<", "\\\\u003c"),
        f"payload {escaped(PLAIN)}",
        f"{escaped(PLAIN)}\\ud800 and a\x00NUL",
        f'{{"lone": "\\ud800 {PLAIN}"}}',
        "[" * 100_000 + escaped(PLAIN),
    ],
)
def test_neither_secret_nor_private_text_is_left(raw: str) -> None:
    """Given a token and private text in JSON or in what is none, escaped or not, I expect their labels in their place,
    the rest, text that every database takes, and no change if it is done again."""
    found = redact_raw(raw.encode())

    assert TOKEN not in found
    assert "salary" not in found
    assert "[redacted:github-token] [private]" in found
    assert "push with" in found
    found.encode("utf-8")
    assert "\x00" not in found
    assert redact_raw(found.encode()) == found


def test_an_escaped_slash_hides_no_password() -> None:
    """Given an address as PHP encodes it, whole and torn off, I expect the password in neither."""
    password = "hunter2" + "xyz"
    raw = '{"url": "postgres:\\/\\/shop:' + password + '@db\\/shop"}'

    assert json.loads(redact_raw(raw.encode())) == {"url": "postgres://shop:[redacted:url-password]@db/shop"}
    assert redact_raw(raw[:-2].encode()) == '{"url": "postgres://shop:[redacted:url-password]@db/shop'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"path": "src\\/cart.py",  "id": "01JD8XQ4ZK3V9M2N7P5R6S8T0W", "na\\u00efve": 1.50}',
        b'{"twice": 1, "twice": 2}',
        b'{"type": "file.write", \x1b[2J',
        b"C:\\users\\u00e9 \\u003c not private",
        "naïve".encode(),
        b"",
    ],
)
def test_what_holds_neither_stays_as_it_was_found(raw: bytes) -> None:
    assert redact_raw(raw) == raw.decode()


def test_what_is_not_text_is_replaced() -> None:
    assert redact_raw(b"a\x00b\xff") == "a\ufffdb\ufffd"
    assert (
        redact_raw(b'{"password": "swordfish", "\\ud800": "\\u0000"}')
        == '{"password":"[redacted:password]","\ufffd":"\\u0000"}'
    )
