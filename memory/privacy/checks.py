"""What tells a secret from a word, a name, a path or a reference, where a rule's pattern alone can't.

The same checks, by the same names, are in every language: rules.json names them, NOTICE.md tells them in words.
"""

from __future__ import annotations

import binascii
import math
import re
from collections import Counter
from functools import lru_cache

#: Patterns are compiled when they are first used: hooks mostly need none of them. `re` keeps them too, but takes longer
#: to find them again than most of them take to match.
_compiled = lru_cache(maxsize=None)(re.compile)

#: Pieces of which names are put together: `getUserToken2` has four.
_PIECES = "[A-Z]?[a-z]+|[A-Z]+|[0-9]+"
_DIGITS = "[0-9]+"
_HEX = "[0-9a-fA-F]+"
_PATH = r"~?[./\\]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://"
_CALL = r"[A-Za-z_.][A-Za-z0-9_.]*[(\[]"
_DOTTED = r"[A-Za-z_$][A-Za-z0-9_]*(?:\??\.[A-Za-z_$][A-Za-z0-9_]*)+"
_SLASHED = r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.@-]+)+/?"
_VARIABLE = r"\$[A-Za-z_][A-Za-z0-9_]*"
#: What passwords that people must make hold, one of each.
_STRONG = ("[a-z]", "[A-Z]", "[0-9]", "[!@#$%^&*+=?~]")
_LETTER = "[A-Za-z\u0080-\U0010ffff]"
_DIGIT_OR_STRONG = "[0-9!@#$%^&*+=?~]"
_SPACE = "[ \t\r\n]"
_PLACEHOLDER_FLAGS = re.ASCII | re.IGNORECASE
_ISSUERS = (
    r"4[0-9]{15}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}"
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
)

#: Placeholders are shorter than this many characters.
LONGEST_PLACEHOLDER = 80
#: From this many letters and digits on, chance makes pieces no longer that words would be.
LONG = 12
#: Characters by which a value is judged; more would cost time and change nothing.
JUDGED = 256
#: `[redacted:label]` and `[private]`, in which a value has been dealt with.
_DONE = ("[redacted:", "[private]")


class Checks:
    """Checks of a value; what counts as placeholder and as identifier is in rules.json."""

    def __init__(self, placeholders: list[str], words: list[str], identifiers: list[str]) -> None:
        self._placeholder = "|".join(placeholders)
        self._words = tuple(words)
        self._identifier = "|".join(identifiers)

    def given(self, value: str) -> bool:
        """Whether a value stands here at all: not a placeholder, not a reference to where the value is."""
        if not value.strip(" \t\r\n") or any(mark in value for mark in (*_DONE, "${", "$(", "{{")):
            return False
        if _compiled(_VARIABLE).fullmatch(value) and not self.mixed(value):
            return False
        if len(value) < LONGEST_PLACEHOLDER:
            low = value.lower()
            for word in self._words:
                if word in low:
                    return False
            return _compiled(self._placeholder, _PLACEHOLDER_FLAGS).fullmatch(value) is None
        return True

    def literal(self, value: str) -> bool:
        """Whether it is a value rather than a word, a sentence, a name, a path, an identifier or a piece of code."""
        if (
            not (_compiled(_LETTER).search(value) and _compiled(_DIGIT_OR_STRONG).search(value))
            or _compiled(_SPACE).search(value)
            or not self.given(value)
        ):
            return False
        if self._identifies(value) or _compiled(_PATH).match(value) or _compiled(_CALL).match(value):
            return False
        return not (_compiled(_DOTTED).fullmatch(value) or _compiled(_SLASHED).fullmatch(value)) or self.mixed(value)

    def password(self, value: str) -> bool:
        """As `literal`, or at least four digits and nothing else."""
        return self.literal(value) or (
            len(value) >= 4 and _compiled(_DIGITS).fullmatch(value) is not None and self.given(value)
        )

    def random(self, value: str) -> bool:
        """As `literal`, and not put together of words as names are."""
        if not self.literal(value):
            return value.isalpha() and self.mixed(value) and self.given(value)
        return self.mixed(value) or (_strong(value) and _compiled(_CALL).search(value) is None)

    def opaque(self, value: str) -> bool:
        """As `literal`, or random letters alone."""
        return self.literal(value) or self.random(value)

    def whole(self, value: str) -> bool:
        """For the value of a key whose name says that it is a secret."""
        if len(value) < 6 or not self.given(value) or self._identifies(value):
            return False
        return self.literal(value) or any(map(self.random, value.split()))

    def _identifies(self, value: str) -> bool:
        return _compiled(self._identifier, re.ASCII).fullmatch(value) is not None

    @staticmethod
    def mixed(value: str) -> bool:
        """Whether letters of both cases and digits alternate as in random text, not as in names made of words."""
        value = value[:JUDGED]
        pieces: list[str] = _compiled(_PIECES).findall(value)
        length = sum(map(len, pieces))
        digits = len(_compiled(_DIGITS).findall(value))
        if digits >= 3 and length >= 8 and len(pieces) > digits:
            return True
        if digits:
            if len(pieces) >= 4 and length < (2.7 if length < LONG else 3.4) * len(pieces):
                return True
            return len(value) >= 32 and _compiled(_HEX).fullmatch(value) is not None
        return length >= 12 and length < 2.4 * len(pieces)

    @staticmethod
    def basic(value: str) -> bool:
        """Whether it is `name:password` in base64."""
        value = value.replace("-", "+").replace("_", "/").rstrip("=")
        try:
            raw = binascii.a2b_base64(value + "=" * (-len(value) % 4))
        except ValueError:  # not base64, or not ASCII
            return False
        _, colon, password = raw.partition(b":")
        return bool(colon and password) and all(byte >= 32 and byte != 127 for byte in raw)

    @staticmethod
    def luhn(value: str) -> bool:
        """Whether it is a card number: an issuer's prefix and length, and the check digit."""
        digits = value.replace(" ", "").replace("-", "")
        if not _compiled(_ISSUERS).fullmatch(digits):
            return False
        total = 0
        for place, digit in enumerate(reversed(digits)):
            number = int(digit)
            if place % 2:
                number = number * 2 - 9 if number > 4 else number * 2
            total += number
        return total % 10 == 0


def entropy(value: str) -> float:
    """Shannon entropy, in bits a character."""
    value = value[:JUDGED]
    length = len(value)
    return -sum(count / length * math.log2(count / length) for count in Counter(value).values())


def _strong(value: str) -> bool:
    """Whether it has lower and upper case, a digit and a symbol, as passwords that people must make."""
    return all(_compiled(kind).search(value) for kind in _STRONG)
