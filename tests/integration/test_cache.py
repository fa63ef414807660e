"""The cache of answers, from question to answer: hits, drops, globs, and that no answer is served that an edit has
overtaken. Workers' part is done by `workers.recall.reply`, on a real queue server and a real ledger."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import update

from memory import lua
from memory.cache import CHUNK, Cache, Glob, GlobInvalid
from memory.ledger.schema import search_blocks
from memory.settings import settings
from producers.client import NoAnswer
from producers.publisher import Publisher, QueueUnavailable
from producers.recall import Recall, RecallFailed
from tests import servers
from tests.workers_here import workers_here
from workers.recall import PARTIAL_TTL_SECONDS

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "globs.json").read_text("utf-8"))
GROUP = "shop"


@pytest.fixture
def cache(queue: redis.Redis) -> Cache:
    return Cache(queue, GROUP)


@pytest.fixture
def recall(queue_url: str) -> Iterator[Recall]:
    with Recall(queue_url, group=GROUP) as opened:
        yield opened


@pytest.fixture
def publisher(queue_url: str) -> Iterator[Publisher]:
    with Publisher(queue_url, source="test", group=GROUP) as opened:
        yield opened


@pytest.fixture
def worker(queue_url: str, tmp_path: Path) -> Iterator[None]:
    """This process may do a worker's work."""
    environ = {"MEMLANE_VALKEY_URL": queue_url, "MEMLANE_HOME": str(tmp_path), "MEMLANE_DATADOG": "false"}
    with workers_here({**environ, "MEMLANE_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}"}):
        yield


class Asked:
    """A question that waits for its answer, as a worker finds it."""

    def __init__(self, queue: redis.Redis) -> None:
        self._queue = queue
        self.id = ""
        servers.wait_until(self._taken, "a question", 5)
        self.digest = hashlib.sha256(queue.get(lua.ask(self.id)) or b"").hexdigest()

    def _taken(self) -> bool:
        kind, _, name = (self._queue.rpop(lua.BELL) or b"").decode().partition(" ")
        self.id = name if kind == "ask" else ""
        return bool(self.id)

    def fill(self, cache: Cache, started: int, *paths: str, context: str = "answer", ttl: int = 300) -> bool:
        """Answer it, as `workers.recall.reply` does."""
        answer = {"context": context, "tokens": 1, "items": [], "started": started}
        return cache.fill(self.id, self.digest, json.dumps(answer), paths, started, ttl)


def ask(recall: Recall, text: str = "q") -> str | None:
    """What the cache says to a question; None where it says nothing."""
    try:
        return str(recall.ask(text, deadline=0)["context"])
    except NoAnswer:
        return None


def filled(queue: redis.Redis, cache: Cache, recall: Recall, *paths: str, text: str = "q", ttl: int = 300) -> Asked:
    """Have an answer cached that depends on these paths."""
    assert ask(recall, text) is None
    asked = Asked(queue)
    assert asked.fill(cache, cache.now(), *paths, ttl=ttl)
    assert ask(recall, text) == "answer"
    return asked


def waiting(queue: redis.Redis) -> int:
    """How many wait for an answer now."""
    return sum(client["cmd"] == "blmove" for client in queue.client_list())


@contextmanager
def answering(queue: redis.Redis) -> Iterator[list[str]]:
    """A worker that answers questions. Yields the ids of those that it answered."""
    from workers.recall import reply

    answered: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            ring = queue.brpop([lua.BELL], timeout=0.05)
            if ring and ring[1].startswith(b"ask "):
                answered.append(ring[1].decode().removeprefix("ask "))
                reply(answered[-1])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield answered
    finally:
        stop.set()
        thread.join()


def remember(publisher: Publisher, *texts: str, path: str = "src/cart.py") -> None:
    """Have events recorded and indexed."""
    from workers.stage import drain
    from workers.stages import STAGES

    publisher.publish_many(
        [{"type": "file.write", "session": "s1", "data": {"path": path, "summary": t}} for t in texts]
    )
    for stage in ("record", "index", "cache", "cache.index"):
        drain(STAGES[stage], publisher.group)


# Hits, misses, drops


def test_an_answer_is_cached(queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None) -> None:
    """Given events, If a question is asked twice, with other white space, I expect one worker's answer, twice."""
    remember(publisher, "cart totals")
    with answering(queue) as answered:
        first = recall.ask("what about the   cart?\n")
        second = recall.ask(" what about the cart?")

    assert first["cache"] == "miss"
    assert second["cache"] == "hit"
    assert {**first, "cache": ""} == {**second, "cache": ""}
    assert "cart.py" in first["context"]
    assert [item["path"] for item in first["items"]] == ["src/cart.py"]
    assert set(first) == {"context", "tokens", "items", "facts", "graph", "embeddings", "cache"}
    assert len(answered) == 1


def test_another_question_is_another_answer(queue: redis.Redis, cache: Cache, recall: Recall, queue_url: str) -> None:
    """Given two long questions that begin alike, other paths, another budget, another group: I expect a miss each."""
    beginning = "x" * 5_000
    filled(queue, cache, recall, "src/a.py", text=beginning + "1")

    assert ask(recall, beginning + "2") is None
    for options in ({"paths": ["src/b.py"]}, {"tokens": 7}):
        with pytest.raises(NoAnswer):
            recall.ask(beginning + "1", deadline=0, **options)
    with Recall(queue_url, group="other") as other:
        assert ask(other, beginning + "1") is None


def test_a_dropped_path_makes_its_answers_void(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    filled(queue, cache, recall, "src/a.py", "src/b.py", text="both")
    filled(queue, cache, recall, "src/b.py", text="b")
    filled(queue, cache, recall, "src/c.py", text="c")

    assert cache.drop(["src/b.py"]) == 1

    assert ask(recall, "both") is None
    assert ask(recall, "b") is None
    assert ask(recall, "c") == "answer"


def test_a_new_answer_holds_after_a_drop(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    filled(queue, cache, recall, "src/a.py")
    cache.drop(["src/a.py"])

    filled(queue, cache, recall, "src/a.py")


def test_an_edit_makes_answers_void_the_moment_it_is_published(
    queue: redis.Redis, cache: Cache, recall: Recall, publisher: Publisher
) -> None:
    """Given a cached answer and no worker at all, If an agent writes a file and then asks, I expect no stale answer."""
    filled(queue, cache, recall, "src/cart.py")

    publisher.publish({"type": "file.write", "project": "/p", "data": {"path": "/p/src/x/../cart.py"}})

    assert ask(recall) is None


def test_dropping_the_group_drops_all_its_answers(
    queue: redis.Redis, cache: Cache, recall: Recall, queue_url: str
) -> None:
    filled(queue, cache, recall, "src/a.py", text="one")
    filled(queue, cache, recall, text="of nothing")
    with Recall(queue_url, group="other") as other:
        filled(queue, Cache(queue, "other"), other, "src/a.py")

        cache.drop([lua.WHOLE_GROUP])

        assert ask(recall, "one") is None
        assert ask(recall, "of nothing") is None
        assert ask(other) == "answer"


@pytest.mark.parametrize("count", [0, 1, 200, 5_000])
def test_answers_may_depend_on_many_paths(queue: redis.Redis, cache: Cache, recall: Recall, count: int) -> None:
    """Given an answer that depends on up to 5,000 paths, I expect a hit, and the last of them to make it void."""
    paths = [f"src/module {n}/ä.py" for n in range(count)]
    filled(queue, cache, recall, *paths)

    cache.drop(["src/other.py"])
    assert ask(recall) == "answer"
    cache.drop(paths[-1:] or [lua.WHOLE_GROUP])
    assert ask(recall) is None


def test_many_paths_may_be_dropped_at_once(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    filled(queue, cache, recall, "src/4999.py")

    assert cache.drop(f"src/{n}.py" for n in range(5_000)) == 5_000
    assert ask(recall) is None


def test_no_answer_outlives_the_marks_that_make_it_void(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    """Given a life that is longer than that of a mark, I expect the answer to be forgotten before the mark."""
    asked = filled(queue, cache, recall, "src/a.py", ttl=10**6)
    cache.drop(["src/a.py"])

    assert 0 < queue.ttl(lua.context(GROUP, asked.digest)) < queue.ttl(lua.dropped(GROUP, "src/a.py")) - 300


# Answers that an edit overtakes


def test_an_answer_begun_before_an_edit_is_never_served(
    queue: redis.Redis, cache: Cache, recall: Recall, publisher: Publisher
) -> None:
    """Given an answer in the making, If a path that it depends on is edited, I expect it not to be cached."""
    assert ask(recall) is None
    asked = Asked(queue)
    started = cache.now()
    publisher.publish({"type": "file.write", "data": {"path": "src/cart.py"}})

    assert not asked.fill(cache, started, "src/other.py", "src/cart.py")
    assert ask(recall) is None


def test_who_asks_after_an_edit_is_not_given_an_answer_begun_before(
    queue: redis.Redis, cache: Cache, recall: Recall, queue_url: str
) -> None:
    """Given an answer in the making, If a second agent edits and then asks the same, I expect it to wait for that
    answer, but to be given one that was begun after its edit."""
    assert ask(recall) is None
    first, started = Asked(queue), cache.now()
    cache.drop(["src/cart.py"])
    with Recall(queue_url, group=GROUP) as later, ThreadPoolExecutor() as agents:
        given = agents.submit(later.ask, "q", deadline=10)
        servers.wait_until(lambda: waiting(queue) == 1, "the second agent to wait")
        assert queue.llen(lua.BELL) == 0, "one fill is enough"

        first.fill(cache, started, "src/cart.py", context="stale")
        Asked(queue).fill(cache, cache.now(), "src/cart.py", context="fresh")

        assert given.result()["context"] == "fresh"


def test_who_asks_while_an_answer_is_made_gets_it_where_nothing_was_edited(
    queue: redis.Redis, cache: Cache, recall: Recall, queue_url: str
) -> None:
    assert ask(recall) is None
    first, started = Asked(queue), cache.now()
    with Recall(queue_url, group=GROUP) as later, ThreadPoolExecutor() as agents:
        given = agents.submit(later.ask, "q", deadline=10)
        servers.wait_until(lambda: waiting(queue) == 1, "the second agent to wait")
        first.fill(cache, started, "src/cart.py")

        assert given.result()["context"] == "answer"
    assert queue.llen(lua.BELL) == 0


def test_edits_and_questions_at_once(queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None) -> None:
    """Given an agent that edits a file, has it recorded, and asks, again and again, I expect its own edit each time."""
    with answering(queue):
        for n in range(30):
            remember(publisher, f"cart version{n}")
            items = recall.ask("cart", paths=["src/cart.py"])["items"]
            assert any(f"version{n}" in item["text"] or item["seq"] == n + 1 for item in items), n


# Globs


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["pattern"])
def test_globs_match_as_gitignore_does(vector: dict[str, Any]) -> None:
    """Given a pattern, I expect exactly these paths to match, and each of them to begin with its literal prefix."""
    glob = Glob(vector["pattern"])

    assert glob.matches(vector["matches"] + vector["misses"]) == vector["matches"]
    for path in vector["matches"]:
        assert path.startswith(glob.prefix)


@pytest.mark.parametrize("pattern", VECTORS["invalid"])
def test_what_is_no_glob_is_refused(pattern: str) -> None:
    with pytest.raises(GlobInvalid, match="is not a glob"):
        Glob(pattern)


def test_a_literal_prefix_narrows_what_is_read() -> None:
    found = {pattern: Glob(pattern).prefix for pattern in ("src/a/*.py", "src/cart.py", "src/dir/", "*.py", "a/[x]/b")}

    assert found == {
        "src/a/*.py": "src/a/",
        "src/cart.py": "src/cart.py",
        "src/dir/": "src/dir",
        "*.py": "",
        "a/[x]/b": "a/",
    }


def test_invalidation_finds_what_the_glob_matches(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    """Given answers that depend on every path of the vectors, I expect each glob to drop the paths that it matches,
    though only a range of them is read."""
    known = sorted({path for vector in VECTORS["valid"] for path in vector["matches"] + vector["misses"]})
    filled(queue, cache, recall, *known)

    def marks() -> list[bytes | None]:
        found: list[bytes | None] = queue.mget([lua.dropped(GROUP, path) for path in known])
        return found

    for vector in VECTORS["valid"]:
        glob = Glob(vector["pattern"])
        queue.delete(*(lua.dropped(GROUP, path) for path in known))
        assert cache.invalidate(glob) == len(glob.matches(known)) >= len(vector["matches"])
        assert [path for path, mark in zip(known, marks(), strict=True) if mark] == glob.matches(known)


def test_invalidation_drops_only_what_depends_on_a_match(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    filled(queue, cache, recall, "src/a.py", text="src")
    filled(queue, cache, recall, "lib/a.py", text="lib")

    assert cache.invalidate(Glob("src/**/*.py")) == 1
    assert ask(recall, "src") is None
    assert ask(recall, "lib") == "answer"


def test_invalidation_works_in_chunks(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    filled(queue, cache, recall, *(f"src/{n}.py" for n in range(CHUNK * 2 + 1)))

    assert cache.invalidate(Glob("src/*.py")) == CHUNK * 2 + 1
    assert ask(recall) is None


@pytest.mark.parametrize(("glob", "cached"), [("src/**/*.py", False), ("lib/**", True), ("/src/new.py", False)])
def test_a_glob_invalidated_during_a_fill_refuses_it(
    queue: redis.Redis, cache: Cache, recall: Recall, glob: str, cached: bool
) -> None:
    """Given an answer in the making whose paths nobody knows yet, If a glob is invalidated, I expect its fill refused
    where the glob matches one of them."""
    assert ask(recall) is None
    asked, started = Asked(queue), cache.now()
    assert cache.invalidate(Glob(glob)) == 0

    assert asked.fill(cache, started, "src/new.py") is cached


def test_a_glob_invalidated_before_is_none_of_a_later_answers_business(
    queue: redis.Redis, cache: Cache, recall: Recall
) -> None:
    cache.invalidate(Glob("src/**"))

    filled(queue, cache, recall, "src/a.py")


def test_paths_are_forgotten_with_the_answers(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    """Given an answer with thousands of paths that has expired, I expect them to be forgotten all, and those that
    another answer depends on to stay."""
    filled(queue, cache, recall, *(f"src/{n}.py" for n in range(2_000)), text="short", ttl=1)
    filled(queue, cache, recall, "src/0.py", "src/kept.py", text="long")
    assert cache.prune() == 0

    servers.wait_until(lambda: cache.prune() == 1_999, "the paths' time to come", 10)

    assert set(queue.zrange(lua.paths(GROUP), 0, -1)) == {b"src/0.py", b"src/kept.py"}
    assert queue.zcard(lua.paths_due(GROUP)) == 2
    assert cache.invalidate(Glob("src/0.py")) == 1
    assert ask(recall, "long") is None


def test_a_group_that_is_asked_no_more_leaves_nothing(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    """Given answers, drops and globs, I expect every key but the counters to have an end."""
    filled(queue, cache, recall, "src/a.py")
    cache.invalidate(Glob("src/**"))
    ask(recall)

    lasting = {key.decode() for key in queue.keys() if queue.ttl(key) < 0}  # noqa: SIM118 - KEYS, of a test's server
    assert lasting == {lua.recall_counters(GROUP), lua.BELL}


# Waiting for an answer


def test_twenty_who_ask_at_once_are_one_fill(
    queue: redis.Redis, queue_url: str, publisher: Publisher, worker: None
) -> None:
    """Given twenty agents who ask the same at once, I expect one worker to answer once, and all to get it."""
    remember(publisher, "cart")

    def one(_: int) -> dict[str, Any]:
        with Recall(queue_url, group=GROUP) as recall:
            return recall.ask("cart", deadline=20)

    with ThreadPoolExecutor(20) as agents:
        given = agents.map(one, range(20))
        servers.wait_until(lambda: waiting(queue) == 20, "twenty agents to wait")
        with answering(queue) as answered:
            answers = list(given)

    assert len(answered) == 1
    assert answers == [answers[0]] * 20
    assert answers[0]["items"]
    assert lua.run(queue, "unsent", [lua.recall_counters(GROUP)], []) == [0, 20]
    assert queue.ttl(lua.reply(answered[0])) > 0


def test_where_the_filler_dies_another_takes_over(
    queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None
) -> None:
    """Given a worker that took a question and died, I expect it to be asked again once its time is over."""
    remember(publisher, "cart")
    with ThreadPoolExecutor() as agents:
        given = agents.submit(recall.ask, "cart", deadline=20)
        dead = Asked(queue)
        servers.wait_until(lambda: waiting(queue) == 1, "the agent to wait")
        lock = lua.filling(GROUP, dead.digest)
        assert 0 < queue.pttl(lock) <= 5_000
        queue.pexpire(lock, 1)
        with answering(queue):
            assert given.result()["items"]


def test_nobody_answers(recall: Recall) -> None:
    def seconds() -> float:
        start = time.monotonic()
        with pytest.raises(NoAnswer, match="memlane status"):
            recall.ask("cart", deadline=0.3)
        return time.monotonic() - start

    assert 0.3 <= servers.at_best(seconds) < 1.5


def test_the_ledger_is_away(queue: redis.Redis, recall: Recall, queue_url: str) -> None:
    """Given a worker whose database is away, I expect to be told so at once, with its address and without its
    password."""
    port = servers.free_port()
    url = f"postgresql://memlane:s3cret@127.0.0.1:{port}/memlane"
    with (
        workers_here({"MEMLANE_VALKEY_URL": queue_url, "MEMLANE_DATABASE_URL": url}),
        answering(queue) as answered,
        pytest.raises(RecallFailed) as failed,
    ):
        recall.ask("cart")

    assert f"127.0.0.1:{port}" in str(failed.value)
    assert "s3cret" not in str(failed.value)
    assert len(answered) == 1
    assert ask(recall, "cart") is None, "that it failed is not cached"


def test_a_worker_that_fails_says_so(queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None) -> None:
    """Given an index that no worker can read, I expect whoever asks to be told before the deadline."""
    from workers import resources
    from workers.recall import AnswerFailed, reply

    remember(publisher, "cart")
    with resources.ledger().write() as connection:
        connection.execute(update(search_blocks).values(data=b"torn"))
    with ThreadPoolExecutor() as agents:
        given = agents.submit(recall.ask, "cart", deadline=20)
        with pytest.raises(AnswerFailed, match=f"group {GROUP}: ValueError in"):
            reply(Asked(queue).id)
        with pytest.raises(RecallFailed, match="log"):
            given.result()


def test_that_nothing_is_known_is_not_cached(
    queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None
) -> None:
    """Given an empty memory that was asked, If then something is remembered, I expect the next question to find it."""
    with answering(queue):
        assert recall.ask("cart")["context"] == ""
        remember(publisher, "cart")
        assert recall.ask("cart")["items"]


@pytest.mark.parametrize("path", ["src/cart.py", "./src/cart.py", "src/x/../cart.py"])
def test_an_answer_depends_on_the_paths_that_were_asked_about(
    queue: redis.Redis, recall: Recall, publisher: Publisher, cache: Cache, worker: None, path: str
) -> None:
    remember(publisher, "website", path="index.html")
    with answering(queue):
        assert recall.ask("website", paths=[path])["cache"] == "miss"
        assert recall.ask("website", paths=[path])["cache"] == "hit"
        cache.drop(["src/cart.py"])
        assert recall.ask("website", paths=[path])["cache"] == "miss"


@pytest.mark.parametrize("text", ["", "\ud800 cart", "cart\x00", "🛒 cart", '{"cart": "\\"}', "cart " * 20_000])
def test_any_text_may_be_asked(
    queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None, text: str
) -> None:
    remember(publisher, "cart")
    with answering(queue):
        given = recall.ask(text, paths=["\udcff"])

    assert bool(given["items"]) == ("cart" in text)


def test_hits_and_misses_are_counted_once(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    """Given one miss and three hits, I expect them counted, and handed out once."""

    def unsent() -> list[int]:
        found: list[int] = lua.run(queue, "unsent", [lua.recall_counters(GROUP)], [])
        return found

    filled(queue, cache, recall, "src/a.py")
    for _ in range(2):
        assert ask(recall) == "answer"

    assert unsent() == [3, 1]
    assert unsent() == [0, 0]
    ask(recall, "another")
    assert unsent() == [0, 1]


def test_waiting_is_counted_as_one_miss(queue: redis.Redis, cache: Cache, recall: Recall) -> None:
    """Given a question that is looked at again while it waits, I expect one miss."""
    queue.config_resetstat()
    with ThreadPoolExecutor() as agents:
        given = agents.submit(recall.ask, "q", deadline=20)
        asked = Asked(queue)
        servers.wait_until(lambda: queue.info("commandstats")["cmdstat_evalsha"]["calls"] >= 2, "a second look")
        asked.fill(cache, cache.now())
        assert given.result()["cache"] == "miss"

    assert queue.hgetall(lua.recall_counters(GROUP)) == {b"misses": b"1"}


def test_a_queue_server_that_is_away() -> None:
    port = servers.free_port()
    with (
        Recall(f"redis://:s3cret@127.0.0.1:{port}", group=GROUP) as recall,
        pytest.raises(QueueUnavailable) as unavailable,
    ):
        recall.ask("cart")

    assert f"127.0.0.1:{port}" in str(unavailable.value)
    assert "s3cret" not in str(unavailable.value)


def test_the_answers_life_is_that_of_the_settings(
    queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None
) -> None:
    remember(publisher, "cart")
    with answering(queue):
        recall.ask("cart")

    lives: Sequence[int] = [queue.ttl(key) for key in queue.scan_iter(lua.context(GROUP, "*"))]
    assert len(lives) == 1
    assert 0 < lives[0] <= settings().cache_ttl_seconds


def test_an_answer_made_while_events_were_on_their_way_lives_shortly(
    queue: redis.Redis, recall: Recall, publisher: Publisher, worker: None
) -> None:
    remember(publisher, "cart")
    publisher.publish({"type": "chat.message", "session": "late", "data": {"role": "user", "text": "a cart, too"}})
    with answering(queue):
        recall.ask("cart")

    (life,) = [queue.ttl(key) for key in queue.scan_iter(lua.context(GROUP, "*"))]
    assert 0 < life <= PARTIAL_TTL_SECONDS
