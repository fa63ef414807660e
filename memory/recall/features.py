"""What speaks for each event of a group: a sum of a few weighted figures, each an array over all events.

Everything is computed for all events at once, by numpy, from the postings of the question's terms.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory.ledger.embeddings import Vector, nearest
from memory.ledger.postings import ASKS, INDEXED, Events, Postings
from memory.ledger.search import MAX_WORDS, B, bm25, first_of, named, path_term, rarity, within_budget
from memory.ledger.words import named_in, question_words, words_of
from memory.recall import weights
from memory.recall.question import Question

type Figures = NDArray[np.float32]

#: How much a session's length (in events) is held against it.
SESSION_B, SESSION_K1 = 0.75, 1.2


def features(
    connection: Connection,
    group: str,
    question: Question,
    known: Events,
    allowed: NDArray[np.bool_],
    vector: Callable[[], Vector | None] = lambda: None,
) -> dict[str, Figures]:
    """Each feature's part of the score, weighted, by seq. Those that say nothing are left out.

    Args:
        allowed: which events may be found, by seq.
        vector: the question's, once there is one; asked for as late as can be.
    """
    words = question_words(question.text)[:MAX_WORDS]
    importance = {word: min(1.0, weights.FULL_WORDS / n) for n, word in enumerate(words, start=1)}
    path_words = dict.fromkeys(f"/{word}" for path in question.paths for word in words_of(path))
    same_path = [path_term(path) for path in question.paths]
    terms = [*words, *(f"/{word}" for word in words), *path_words, *same_path]
    found = within_budget(connection, group, known, list(dict.fromkeys(terms)))

    of_words = _sum(known, ((importance[word], found.get(word)) for word in words), known.words)
    in_paths = _sum(known, ((importance[word], found.get(f"/{word}")) for word in words), known.path_words)
    of_path_words = _sum(known, ((1.0, found.get(word)) for word in path_words), known.path_words)
    of_paths = _sum(known, ((1.0, found.get(term)) for term in same_path), None)
    before, after = _neighbours(known, of_words)
    parts = {
        "words": weights.WORDS * of_words,
        "asking": -weights.ASKING * of_words * ((known.flags & ASKS) > 0),
        "words_in_paths": weights.WORDS_IN_PATHS * in_paths,
        "path_words": weights.PATH_WORDS * of_path_words,
        "same_path": weights.SAME_PATH * of_paths,
        "before": before,
        "after": after,
        "session": weights.SESSION * _sessions(known, importance, found),
    }
    if question.session:
        parts["recent"] = _recent(connection, group, known, question.session)
    if (of_question := vector()) is not None:
        parts["similar"] = _similar(connection, group, known, allowed, of_question)
    theirs = _agent(connection, group, known, question.text)
    spoken_for = sum(part for name, part in parts.items() if name != "session") > 0
    # Who is asked for all that somebody has done is given that, newest first.
    named_only = _only_names(question.text, words)
    parts["agent"] = theirs if named_only else theirs * (spoken_for | (parts["session"] > 0))
    # What was done in a session that is about the question need not be: something else must speak for it.
    parts["session"] *= spoken_for | (parts["agent"] > 0)
    return {name: part for name, part in parts.items() if part.any()}


def _sum(known: Events, terms: Iterable[tuple[float, Postings | None]], total_length: int | None) -> Figures:
    """BM25 over terms with their importance; `total_length` of the field, None where length does not count."""
    scores = np.zeros(known.size, np.float32)
    for importance, found in terms:
        if found is not None:
            b = 0.0 if total_length is None else B
            scores[found.seqs] += np.float32(importance) * bm25(found, known.events, total_length or 0, b=b)
    return scores


def _neighbours(known: Events, of_words: Figures) -> tuple[Figures, Figures]:
    """What the two events before each one, and the two after it, say to the question."""
    one = known.previous
    two = one.take(one)
    before = np.float32(weights.BEFORE[0]) * of_words.take(one) + np.float32(weights.BEFORE[1]) * of_words.take(two)
    after = np.zeros(known.size, np.float32)
    said = np.flatnonzero(of_words)
    for weight, previous in zip(weights.AFTER, (one, two), strict=True):
        # Each event follows on another one, so no place is added to twice but 0, which is no event.
        after[previous.take(said)] += np.float32(weight) * of_words.take(said)
    before[:1] = after[:1] = 0
    return before, after


def _sessions(known: Events, importance: Mapping[str, float], found: Mapping[str, Postings]) -> Figures:
    """BM25 with sessions for documents: how much each one is about the question, for all of its events."""
    used = np.zeros(known.size, bool)
    used[known.session] = True
    used[:1] = False
    # Sessions are known by their first seq; here they are numbered from 1, and 0 is none.
    number = np.cumsum(used)
    number[~used] = 0
    of_event = number[known.session]
    sessions = int(used.sum())
    if sessions < 2:
        return np.zeros(known.size, np.float32)
    sizes = np.bincount(of_event, weights=(known.flags & INDEXED) > 0, minlength=sessions + 1)
    norm = SESSION_K1 * (1 - SESSION_B + SESSION_B * sizes / max(sizes[1:].mean(), 1.0))
    scores = np.zeros(sessions + 1)
    for word, weight in importance.items():
        if (of_word := found.get(word)) is None:
            continue
        counts = np.bincount(of_event[of_word.seqs], weights=of_word.counts, minlength=sessions + 1)
        counts[0] = 0
        rare = rarity(int(np.count_nonzero(counts)), sessions)
        scores += weight * rare * (SESSION_K1 + 1) * counts / (counts + norm)
    figures: Figures = scores.astype(np.float32)[of_event]
    return figures


def _agent(connection: Connection, group: str, known: Events, text: str) -> Figures:
    """Events of an agent that is named in the question, with all words of its name."""
    theirs = named(connection, group, known, named_in(text)) > 0.99
    share = np.count_nonzero(theirs) / max(known.events, 1)
    return np.float32(weights.AGENT * (1 - share)) * theirs


def _only_names(text: str, words: Collection[str]) -> bool:
    """Whether a question asks for nothing but somebody."""
    return set(words) <= set(question_words(" ".join(named_in(text))))


def _similar(connection: Connection, group: str, known: Events, allowed: NDArray[np.bool_], vector: Vector) -> Figures:
    """How much nearer events are to the question than the group's events are on average: 1 for the same direction.
    Models differ much in what cosine any two texts have."""
    scores = np.zeros(known.size, np.float32)
    found = nearest(connection, group, vector, allowed, weights.SIMILAR_EVENTS)
    if found is not None:
        nearer = (found.cosines - found.mean) / max(1 - found.mean, 0.01)
        scores[found.seqs] = weights.SIMILAR * np.maximum(nearer, 0)
    return scores


def _recent(connection: Connection, group: str, known: Events, session: str) -> Figures:
    """The last events of a session."""
    scores = np.zeros(known.size, np.float32)
    first = first_of(connection, group, session)
    if first:
        last = np.flatnonzero((known.session == first) & ((known.flags & INDEXED) > 0))[-weights.RECENT_EVENTS :]
        scores[last] = weights.RECENT * np.arange(weights.RECENT_EVENTS - len(last) + 1, weights.RECENT_EVENTS + 1)
    return scores / np.float32(weights.RECENT_EVENTS)
