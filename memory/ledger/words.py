"""Words by which events are found: split, folded and stemmed alike on every database.

Identifiers and paths are split (`parseHTTPDate`, `rate_limiter`, `src/cart.py`), and found whole as well. Stemming is
Snowball's English (Porter2). Scripts without spaces between words are taken two characters at a time.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import Stemmer

#: Function words of English: too common to find anything by. Question words are among them.
STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are as at be because been before being between both but by can could did
    do does doing down during each few for from further had has have having he her here hers him his how i if in into
    is it its itself just me more most my no nor not now of off on once only or other our out over own same she should
    so some such than that the their them then there these they this those through to too under until up us very was we
    were what when where which while who whom why will with would you your
    """.split()  # noqa: SIM905 - a list would be two hundred lines
)
#: A longer word is known by its beginning: nobody types more of a token or an encoded file.
MAX_WORD = 40

_WORD = re.compile(r"[^\W_]+")
#: Parts of an identifier: ABCDef -> ABC Def, v2 -> v 2.
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
#: Han, kana and Thai: written without spaces.
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_NAME = re.compile(r"[^\W_][\w.@-]*")
_stemmer = Stemmer.Stemmer("english")


def words_of(text: str) -> list[str]:
    """The words of a text in its order, stemmed, without stop words; of an identifier also its parts."""
    found: list[str] = []
    for word in _WORD.findall(text):
        found.extend(_terms(word))
    return found


def question_words(text: str) -> list[str]:
    """`words_of`, each once; of a question that has nothing but stop words, these."""
    return list(dict.fromkeys(words_of(text))) or list(dict.fromkeys(_stemmed(w) for w in _WORD.findall(text)))


def name_words(name: str) -> list[str]:
    """The words of somebody's name, each once; as they are, since names have no endings."""
    return list(dict.fromkeys(folded(word)[:MAX_WORD] for word in _WORD.findall(name)))


def named_in(text: str) -> set[str]:
    """Words of a text that may be of somebody's name: those with a capital, and those of a compound (`agent-7`)."""
    found: set[str] = set()
    for name in _NAME.findall(text):
        words = _WORD.findall(name)
        if len(words) > 1 or name[:1].isupper():
            found.update(folded(word)[:MAX_WORD] for word in words)
    return found - STOP_WORDS


@lru_cache(maxsize=65_536)
def _terms(word: str) -> tuple[str, ...]:
    plain = folded(word)
    if plain in STOP_WORDS:
        return ()
    if not word.isascii() and _UNSPACED.search(plain):
        return tuple(_unspaced(plain))
    whole = _stemmed(word)
    if (word.islower() and word.isalpha()) or (word[1:].islower() and word[1:].isalpha()):
        return (whole,)
    parts = _PART.findall(word)
    if len(parts) < 2:
        return (whole,)
    split = (part.lower() for part in parts if len(part) > 1)
    return (whole, *(_stemmed(part) for part in split if part not in STOP_WORDS))


def _unspaced(word: str) -> list[str]:
    """Pairs of characters of each stretch that has no spaces, and the rest as words."""
    found, end = [], 0
    for stretch in _UNSPACED.finditer(word):
        found += [word[end : stretch.start()]]
        run, end = stretch.group(), stretch.end()
        found += [run[at : at + 2] for at in range(max(1, len(run) - 1))]
    return [part[:MAX_WORD] for part in [*found, word[end:]] if part]


@lru_cache(maxsize=65_536)
def _stemmed(word: str) -> str:
    stem: str = _stemmer.stemWord(folded(word)[:MAX_WORD])
    return stem


def folded(word: str) -> str:
    """Lower case, without accents."""
    if word.isascii():
        return word.lower()
    parts = unicodedata.normalize("NFKD", word.casefold())
    return "".join(character for character in parts if not unicodedata.combining(character))
