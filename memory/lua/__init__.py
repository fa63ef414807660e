"""Valkey keys and the scripts that work on them.

Each script is a file of its own in this folder and begins with a table of its keys and arguments.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

#: Every key begins with this; Celery's own keys get it through kombu's `global_keyprefix`.
PREFIX = "memlane:"

#: zset: groups with a non-empty lane, scored by the server time (ms) of their oldest event.
PENDING = PREFIX + "pending"
#: list: groups just become pending, and questions asked.
BELL = PREFIX + "bell"
#: string with a TTL: 1 while the server's memory is above its mark, and publish answers `full`; 0 while it is below.
FULL = PREFIX + "full"
#: string with a TTL: who sweeps now.
SWEEP = PREFIX + "sweep"
#: hash: where the next round of the sweep goes on, by what it goes through.
SWEPT = PREFIX + "swept"
#: string: random; tells one life of the server, between two starts, failovers or wipes, from the others.
GENERATION = PREFIX + "generation"
#: string: the run of the server's process in which the generation was last looked at.
RUN = PREFIX + "run"
#: set: groups that the ledger may not know, since events of theirs were refused.
GROUPS = PREFIX + "groups"
#: hash: results of users' hooks, `NAME:done` and `NAME:failed`.
PLUGINS = PREFIX + "plugins-ran"
#: hash: recoveries of the sweep, by kind.
RECOVERED = PREFIX + "recovered"
#: hash: messages in Celery's lists that were no wake-ups and were discarded, by queue.
DISCARDED = PREFIX + "discarded"

#: string with a TTL: why the model is not asked for now; and counter with a TTL: its failures in a row.
MODEL_AWAY, MODEL_FAILURES = PREFIX + "model-away", PREFIX + "model-failures"
#: the same of the embedding model, for events; and for questions, which wait for it much less long.
EMBEDDING_AWAY, EMBEDDING_FAILURES = PREFIX + "embedding-away", PREFIX + "embedding-failures"
QUESTION_AWAY, QUESTION_FAILURES = PREFIX + "embedding-question-away", PREFIX + "embedding-question-failures"

#: hash: tokens given to models, and answered, `GROUP:STAGE:in` and `…:out`, for metrics: SQL has them by day.
MODEL_TOKENS = PREFIX + "model-tokens"

#: Share of the server's maxmemory above which nothing more is published. At maxmemory Celery itself loses messages.
MEMORY_SHARE = 0.75
#: How long a path stays marked as dropped, s: longer than any cached answer lives.
DROPPED_SECONDS = 3600
#: Path that stands for the whole group among `dropped:` marks: every answer depends on it.
WHOLE_GROUP = "*"


def lane(group: str) -> str:
    """Stream of a group's events that are not yet in the ledger; field `e` holds the JSON."""
    return f"{PREFIX}lane:{group}"


def lease(stage: str, group: str) -> str:
    """String with a TTL: who drains this stage of this group; `queued` while a wake-up is under way."""
    return f"{PREFIX}lease:{stage}:{group}"


def trial(stage: str, group: str) -> str:
    """Hash with a TTL: how often a stage of a group was tried without success; see `workers/trial.py`."""
    return f"{PREFIX}trial:{stage}:{group}"


def captured(group: str) -> str:
    """Hash of counters for the books: `refused`, and by generation how many events the lane has accepted."""
    return f"{PREFIX}captured:{group}"


def spools(group: str) -> str:
    """Hash of what producers' machines have told of their spools: `SPOOL:sent` and `SPOOL:waiting`, in events."""
    return f"{PREFIX}spools:{group}"


def recall_counters(group: str) -> str:
    """Hash of counters: `hits`, `misses`, and what of them was already sent to Datadog."""
    return f"{PREFIX}recall:{group}"


def context(group: str, digest: str) -> str:
    """Hash with a TTL: a cached answer, the paths it depends on, and when its making started."""
    return f"{PREFIX}context:{group}:{digest}"


def answers(group: str) -> str:
    """Zset: keys of a group's answers, cached and handed over, scored by when (ms) they expire."""
    return f"{PREFIX}answers:{group}"


def filling(group: str, digest: str) -> str:
    """String with a TTL: id of the question that is filling this answer now."""
    return f"{PREFIX}filling:{group}:{digest}"


def dropped(group: str, path: str) -> str:
    """String with a TTL: server time (µs) of the last invalidation of a path or pseudo-path."""
    return f"{PREFIX}dropped:{group}:{path}"


def paths(group: str) -> str:
    """Zset, lexical: paths that living answers depend on."""
    return f"{PREFIX}paths:{group}"


def paths_due(group: str) -> str:
    """Zset: the same paths, scored by when (ms) the last answer that depends on them has expired."""
    return f"{PREFIX}paths-due:{group}"


def globs(group: str) -> str:
    """Zset: globs invalidated of late as `id pattern`, scored by server time (µs)."""
    return f"{PREFIX}globs:{group}"


def ask(question: str) -> str:
    """String with a TTL: a question, as JSON."""
    return f"{PREFIX}ask:{question}"


def reply(question: str) -> str:
    """List of one, with a TTL: the answer to a question, as JSON. Readers rotate it (BLMOVE onto itself)."""
    return f"{PREFIX}reply:{question}"


def brief(session: str) -> str:
    """String with a TTL: what a session must still know after a compaction, as Markdown. Workers write it."""
    return f"{PREFIX}brief:{session}"


def publish_keys(group: str, written: Iterable[str]) -> list[str]:
    """Keys of publish.lua; `written` are the paths that the events write to."""
    fixed = [lane(group), PENDING, BELL, captured(group), spools(group), FULL, GENERATION, RUN]
    return [*fixed, *(dropped(group, path) for path in written)]


def run(client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
    """Run the script `name`.lua: by its SHA-1, or by its text where the server does not know it yet. That is so after
    each of its starts, so it is then looked whether this is another life of the server: see generation.lua.

    Raises:
        redis.RedisError
    """
    try:
        return client.evalsha(_sha(name), len(keys), *keys, *arguments)
    except NoScriptError:
        client.eval(source("generation"), *_generation())
        return client.eval(source(name), len(keys), *keys, *arguments)


async def run_async(client: redis.asyncio.Redis, name: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
    """`run` for asyncio."""
    try:
        return await client.evalsha(_sha(name), len(keys), *keys, *arguments)
    except NoScriptError:
        await client.eval(source("generation"), *_generation())
        return await client.eval(source(name), len(keys), *keys, *arguments)


def generation(client: redis.Redis) -> str:
    """This life of the server.

    Raises:
        redis.RedisError
    """
    found: bytes = run(client, "generation", [GENERATION, RUN], [secrets.token_hex(8)])
    return found.decode()


def _generation() -> tuple[int, str, str, str]:
    """Keys and arguments of generation.lua."""
    return 2, GENERATION, RUN, secrets.token_hex(8)


@cache
def source(name: str) -> str:
    """Text of the script `name`.lua."""
    return (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")


@cache
def _sha(name: str) -> str:
    """SHA-1 of the script, by which the server knows it."""
    return hashlib.sha1(source(name).encode("utf-8"), usedforsecurity=False).hexdigest()
