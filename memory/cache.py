"""The cache of answers, as workers see it: filling it, dropping paths, globs.

An answer is valid if none of the paths it depends on was dropped since its making started. So dropping a path is one
SET whatever the number of answers, and an answer begun before an edit and written after it is never served: the
"stale set" that leases solve in Nishtala et al., "Scaling Memcache at Facebook" (NSDI 2013).
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import redis
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from memory import lua

#: Longest that an answer is served, s: below the life of a mark by more than an answer is in the making.
MOST_SECONDS = 3000
#: How long an answer waits for those who asked, s.
REPLY_SECONDS = 30
#: How long it is known, at least, which keys hold answers, s: longer than any of them lives.
ANSWERS_SECONDS = 2 * MOST_SECONDS
#: How long an invalidated glob is remembered, s: longer than any answer is in the making.
GLOB_SECONDS = 600
#: Keys that one command may touch: more would hold up the server's other clients.
CHUNK = 500


class GlobInvalid(ValueError):
    """The pattern can't be understood; the message says why."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern of paths in gitignore's dialect, without negation."""

    pattern: str

    def __post_init__(self) -> None:
        if not self.pattern.strip() or self.pattern.startswith(("!", "#")) or "\n" in self.pattern:
            raise GlobInvalid(f"{self.pattern!r} is not a glob: give a path pattern such as 'src/**/*.py'")
        if self.matcher().include is None:
            raise GlobInvalid(f"{self.pattern!r} is not a glob: it would match nothing")

    def matcher(self) -> GitIgnoreSpecPattern:
        """The pattern, compiled.

        Raises:
            GlobInvalid: see there.
        """
        try:
            with warnings.catch_warnings():
                # Python's `re` warns of `[[]`, which is well in a glob.
                warnings.simplefilter("ignore", FutureWarning)
                return GitIgnoreSpecPattern(self.pattern)
        except (ValueError, re.error) as error:
            raise GlobInvalid(f"{self.pattern!r} is not a glob: {error}") from None

    def matches(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that it matches. An absolute path (outside of the project) is matched by a pattern that
        begins with its slash, or that isn't anchored."""
        pattern, absolute = self.matcher(), not self.prefix
        return [
            path
            for path in paths
            if (absolute or not path.startswith("/")) and pattern.match_file(path.lstrip("/")) is not None
        ]

    @property
    def prefix(self) -> str:
        """The literal beginning that every matching path has; empty where a match may begin with anything."""
        pattern = self.pattern.rstrip()
        if "/" not in pattern.rstrip("/"):
            return ""  # gitignore: without a slash it matches at any depth
        if pattern.startswith("/"):
            return ""  # anchored: below the project, and as an absolute path
        literal = ""
        for letter in pattern:
            if letter in "*?[\\":
                break
            literal += letter
        return literal.rstrip("/") if literal == pattern else literal


class Cache:
    """The cached answers of one group."""

    def __init__(self, client: redis.Redis, group: str) -> None:
        self._client = client
        self._group = group

    def now(self) -> int:
        """The server's time, µs: what `started` of an answer must be taken from, before anything is read for it."""
        seconds, microseconds = self._client.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def fill(
        self, question: str, digest: str, answer: str, paths: Collection[str], started: int, ttl_seconds: int
    ) -> bool:
        """Hand an answer to all who wait for it, and cache it unless it was overtaken.

        Args:
            question: id of the question.
            digest: of the question, under which the answer is cached.
            answer: as JSON.
            paths: what it depends on, pseudo-paths included.
            started: `now()` before its making began.
            ttl_seconds: how long it may be served; 0: not at all.

        Returns:
            Whether it was cached.
        """
        depends = sorted({*paths, lua.WHOLE_GROUP})
        ttl_seconds = min(ttl_seconds, MOST_SECONDS)
        if ttl_seconds:
            # First the paths are made known, then globs are looked at: a glob invalidated meanwhile either finds
            # the paths or is found here.
            self._know(depends, ttl_seconds)
            if self._overtaken(depends, started):
                ttl_seconds = 0
        keys = [
            lua.reply(question),
            lua.ask(question),
            lua.filling(self._group, digest),
            lua.context(self._group, digest),
            lua.answers(self._group),
            *(lua.dropped(self._group, path) for path in depends),
        ]
        arguments = [question, answer, json.dumps(depends, ensure_ascii=False), started]
        arguments += [ttl_seconds, REPLY_SECONDS, ANSWERS_SECONDS]
        return bool(lua.run(self._client, "fill", keys, arguments))

    def delete(self) -> None:
        """Delete all answers of the group, cached ones and those that wait for who asked."""
        self.drop([lua.WHOLE_GROUP])
        while found := self._client.zrange(lua.answers(self._group), 0, CHUNK - 1):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.unlink(*found)
                pipeline.zrem(lua.answers(self._group), *found)
                pipeline.execute()

    def drop(self, paths: Iterable[str]) -> int:
        """Make every answer void that depends on one of the paths and was begun before now.

        Returns:
            How many paths were dropped.
        """
        count = 0
        for chunk in _chunks(paths):
            keys = [lua.dropped(self._group, path) for path in chunk]
            lua.run(self._client, "drop", keys, [lua.DROPPED_SECONDS])
            count += len(chunk)
        return count

    def invalidate(self, glob: Glob) -> int:
        """Drop every path that living answers depend on and that the glob matches.

        The glob's literal prefix selects a range of the known paths; only that is read. Answers that are in the
        making are refused when they are filled.

        Returns:
            How many paths were dropped.
        """
        now = self.now()
        key = lua.globs(self._group)
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.zadd(key, {f"{now} {glob.pattern}": now})
            pipeline.zremrangebyscore(key, 0, now - GLOB_SECONDS * 1_000_000)
            pipeline.expire(key, GLOB_SECONDS)
            pipeline.execute()
        return self.drop(path for chunk in self._known(glob.prefix) for path in glob.matches(chunk))

    def prune(self) -> int:
        """Forget the paths on which no living answer depends any more. Called after each fill.

        Returns:
            How many were forgotten.
        """
        keys = [lua.paths(self._group), lua.paths_due(self._group)]
        forgotten = 0
        while count := int(lua.run(self._client, "prune", keys, [CHUNK])):
            forgotten += count
        return forgotten

    def _know(self, paths: Collection[str], ttl_seconds: int) -> None:
        # Twice the time: the answer's life begins a little later than this.
        due = self.now() // 1000 + ttl_seconds * 2000
        keys = lua.paths(self._group), lua.paths_due(self._group)
        for chunk in _chunks(path for path in paths if path != lua.WHOLE_GROUP):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.zadd(keys[0], dict.fromkeys(chunk, 0))
                pipeline.zadd(keys[1], dict.fromkeys(chunk, due), gt=True)
                for key in keys:
                    # A group that is asked no more leaves nothing behind.
                    pipeline.expire(key, MOST_SECONDS * 2)
                pipeline.execute()

    def _overtaken(self, paths: Collection[str], started: int) -> bool:
        recent = self._client.zrangebyscore(lua.globs(self._group), started, "+inf")
        patterns = {member.decode().partition(" ")[2] for member in recent}
        return any(Glob(pattern).matches(paths) for pattern in patterns)

    def _known(self, prefix: str) -> Iterator[list[str]]:
        """Known paths that begin with the prefix, in chunks."""
        start, end = (f"[{prefix}", b"(" + _after(prefix.encode())) if prefix else ("-", "+")
        while True:
            chunk = self._client.zrangebylex(lua.paths(self._group), start, end, start=0, num=CHUNK)
            if not chunk:
                return
            yield [path.decode() for path in chunk]
            start = b"(" + chunk[-1]


def _after(prefix: bytes) -> bytes:
    """The first byte string behind all that begin with the prefix (valid UTF-8 never ends in 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _chunks(paths: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for path in paths:
        chunk.append(path)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
