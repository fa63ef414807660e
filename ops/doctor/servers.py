"""The servers: graph, queue, and the ledger's database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import RedisError

from memory import lua
from memory.ledger import Ledger, books, forgettings
from memory.ledger.dead import letters
from memory.settings import NotConfigured, settings
from ops.doctor.finding import Finding, failure, ok, warning
from ops.text import counted
from producers.address import without_password

#: How long a server may take to answer, s.
ANSWER_SECONDS = 3.0
#: Dead letters are counted up to this.
MOST_LETTERS = 1_000


def graph() -> Iterator[Finding]:
    """Does a FalkorDB answer?"""
    check, waits = "graph server", "stage episodes waits until it is back"
    try:
        url = settings().graph.replace("falkor://", "redis://").replace("falkors://", "rediss://")
        with redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS) as client:
            loaded = any(b"graph" in module.values() for module in client.module_list())
    except NotConfigured as error:
        yield failure(check, str(error), waits)
    except ValueError:
        yield failure(check, "its address can't be understood", "correct MEMLANE_GRAPH_URL: redis://host:port")
    except RedisError as error:
        message = f"the graph server at {without_password(url)} can't be used: {error or type(error).__name__}"
        yield failure(check, message, f"{waits}: start it, or correct MEMLANE_GRAPH_URL")
    else:
        if loaded:
            yield ok(check, f"answers at {without_password(url)}")
        else:
            message = f"the server at {without_password(url)} is not FalkorDB: the graph module is not loaded"
            yield failure(check, message, "set MEMLANE_GRAPH_URL to a FalkorDB")


def queue(client: redis.Redis) -> Iterator[Finding]:
    """Does it keep what it takes, and has it room?

    Raises:
        redis.RedisError
    """
    check = "queue server"
    info: dict[str, Any] = client.info()
    used, most = int(info["used_memory"]), int(info["maxmemory"])
    version = info.get("valkey_version") or info.get("redis_version")
    yield ok(check, f"answers, version {version}, {used / 2**20:,.1f} MiB used")
    if info.get("cluster_enabled"):
        yield failure(check, "it is a Cluster", "use one primary; replicas and Sentinel are fine")
    if info.get("role") == "slave":
        yield failure(check, "it is a replica, which takes no events", "set MEMLANE_VALKEY_URL to the primary")
    if (policy := info.get("maxmemory_policy")) != "noeviction":
        yield failure(check, f"maxmemory-policy is {policy}: events may be evicted", "set maxmemory-policy noeviction")
    if not info.get("aof_enabled"):
        message = "the append-only file is off: a restart loses what is not yet recorded"
        yield warning(check, message, "set appendonly yes")
    elif info.get("aof_last_write_status") != "ok":
        yield failure(check, "it can't write its append-only file, and takes no events", "see its disk, and its log")
    if most and used > most * lua.MEMORY_SHARE:
        message = f"{used / most:.0%} of its memory are used: nothing more can be published"
        yield failure(check, message, "have more workers drain it, or raise maxmemory")


def ledger(opened: Ledger) -> Iterator[Finding]:
    """Is it readable, and what did it have to give up?

    Raises:
        LedgerUnavailable: it isn't.
    """
    with opened.read() as connection:
        groups = books.groups(connection)
        dead = letters(connection, group=None, stage=None, limit=MOST_LETTERS)
        unfinished = forgettings.unfinished(connection)
    yield ok("ledger", f"{opened.address}, {counted(len(groups), 'group')}")
    for begun in unfinished:
        message = (
            f"forgetting in group {begun.group} has not come to its end: graph or files may hold what was forgotten"
        )
        remedy = f"if no `memlane forget` is at work, `memlane rebuild graph --group {begun.group}` finishes it"
        yield warning("forgetting", message, remedy)
    if dead:
        more = "+" if len(dead) == MOST_LETTERS else ""
        message = f"{counted(len(dead), 'event')}{more} could not be dealt with; the newest: {dead[0].error}"
        yield warning("dead letters", message, "`memlane dead list` shows them")
