"""Redacting what was found in a lane and is no event: JSON or not, it is kept in the dead letters.

Not imported with `memory.privacy`: hook processes need none of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from memory.privacy import redact, redact_text

#: What JSON may write a character as, however often it was encoded.
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|/)")


def redact_raw(raw: bytes) -> str:
    """What was found, as text without secrets and private parts.

    JSON is looked through: each of its strings is redacted as it reads when decoded, keys too. Where nothing is to be
    removed it stays as it was found. What is no JSON is redacted as text, and also as it reads with its escapes
    resolved; if that finds something, the resolved text is what is kept. NUL and what is not UTF-8 become U+FFFD.
    """
    text = raw.decode("utf-8", "replace").replace("\x00", "\ufffd")
    try:
        found = json.loads(text, object_pairs_hook=_object)
        clean = redact(found)
        # Lone surrogates, too, can be escaped in JSON; no database takes them.
        written = text if clean is found else _whole(json.dumps(clean, ensure_ascii=False, separators=(",", ":")))
    except (ValueError, RecursionError):
        resolved = _whole(_ESCAPE.sub(_resolved, text))
        without = redact_text(resolved)
        written = text if without == resolved else without
    # And once more as a whole, for names and values that stand beside each other.
    return redact_text(written)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which nothing is lost.

    Raises:
        ValueError: a key stands there twice. Decoded, only one of its values would be looked at.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _resolved(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else "/"


def _whole(text: str) -> str:
    """The text with pairs of surrogates joined, and single ones and NUL as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")
