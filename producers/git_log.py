"""Reads the history of a git repository: its commits as `vcs.commit` events, oldest first.

    repository = Repository.at(Path("~/shop"))
    for fields in read_commits(repository, group="shop"):
        publisher.publish(fields)

One `git log` process is streamed, its fields and paths separated by NUL, so that no message or path can be taken for
something else. A repository may come from anywhere, so nothing that its configuration names is run: no pager, no
hooks, no signature check, no external diff or text conversion, no fetching of what a partial clone lacks.

A commit's native id is its sha, and where a session would stand in the id stands the group: git knows no sessions, and
two clones that are different memories each have their history. An agent that sees the commit being made says the same.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from memory.events import native_id
from producers.group import group_of

SOURCE = "git"
#: Most paths of a commit, and bytes of them; how many are left out is told in `data.more_paths`.
MOST_PATHS, MOST_PATHS_BYTES = 1_000, 48 * 1024
#: Bytes of one field that are looked at; an event's own limits are well below.
FIELD_BYTES = 128 * 1024
#: Longest agent or user, in characters, as an event may have it.
NAME_LIMIT = 256

#: Whatever the repository's configuration says. `diff.orderFile` and `mailmap.file` may name a device that never ends.
_SAFE = (
    *("--no-pager", "--no-replace-objects", "--literal-pathspecs"),
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "log.showSignature=false"),
    *("-c", "log.showRoot=true", "-c", "diff.orderFile=/dev/null", "-c", "mailmap.file=", "-c", "mailmap.blob="),
)
#: Begins a commit: no path can be this.
_MARK = b"//"
#: The mark and the fields of a commit, each between NULs, as each path behind them is.
_FORMAT = "tformat:" + "".join(f"%x00{field}" for field in ("//", "%H", "%P", "%aN", "%aE", "%ct", "%B")) + "%x00"
_LOG = (
    *("log", "-z", "--reverse", "--date-order", f"--format={_FORMAT}", "--encoding=UTF-8", "--no-color", "--no-notes"),
    # Of a merge only what it has made different from all its parents: the rest is in the commits that are merged.
    *("-c", "--name-only", "--no-renames", "--no-relative", "--no-ext-diff", "--no-textconv", "--no-show-signature"),
    *("--ignore-submodules=none", "--no-decorate", "--no-follow"),
)
_CHUNK = 256 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GitFailed(Exception):
    """A repository's history can't be read. The message says what git said, and what to do."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on this machine. `worktree` is the top of its working tree; None if it is bare."""

    path: Path
    worktree: Path | None
    #: Whether older commits are missing: it was cloned with a depth.
    shallow: bool

    @classmethod
    def at(cls, path: Path) -> Repository:
        """The repository that a folder is in.

        Raises:
            GitFailed: git is not there, or the folder is in none that it would read.
        """
        if not path.is_dir():
            raise GitFailed(f"there is no folder {path}: name a git repository")
        # One question each: in a bare repository the last one fails.
        shallow = _said(path, "rev-parse", "--is-shallow-repository") == "true"
        bare = _said(path, "rev-parse", "--is-inside-work-tree") != "true"
        worktree = None if bare else Path(_said(path, "rev-parse", "--show-toplevel"))
        return cls(path, worktree, shallow)

    @property
    def group(self) -> str:
        """Group of the repository, shared by all its worktrees.

        Raises:
            producers.group.GroupInvalid: MEMLANE_GROUP is no name of a group.
        """
        return group_of(self.path)


@dataclass(frozen=True, slots=True)
class Range:
    """Which commits: the newest `limit` that a branch (or any revision) has since a time."""

    branch: str = "HEAD"
    since: datetime | None = None
    limit: int | None = None

    def arguments(self) -> list[str]:
        """As git takes them."""
        chosen = [f"--since={int(self.since.timestamp())}"] if self.since else []
        chosen += [f"--max-count={self.limit}"] if self.limit is not None else []
        return [*chosen, "--end-of-options", self.branch, "--"]


def count(repository: Repository, chosen: Range) -> int:
    """How many commits `read_commits` reads.

    Raises:
        GitFailed: there is no such branch, or no commit at all.
    """
    _checked(repository, chosen.branch)
    return int(_said(repository.path, "rev-list", "--count", *chosen.arguments()))


def read_commits(
    repository: Repository,
    chosen: Range,
    *,
    group: str,
    on_skipped: Callable[[str], object] = lambda line: None,
) -> Iterator[dict[str, Any]]:
    """Fields of a `vcs.commit` for each commit, parents before children. Memory use doesn't grow with the history.

    Args:
        group: that the events are for; it is part of their ids.
        on_skipped: told of each commit that no event can be made of, and why; in a line that holds nothing of it.

    Raises:
        GitFailed: git failed, also in the middle.
    """
    _checked(repository, chosen.branch)
    with _running(repository.path, *_LOG, *chosen.arguments()) as output:
        fields = _Fields(output)
        while (sha := fields.begun()) is not None:
            try:
                yield _event(fields, sha, group, repository.worktree)
            except (OverflowError, ValueError):
                on_skipped(f"commit {sha}: its time is none that an event can have")


def id_of(sha: str, group: str) -> str:
    """Id of a commit's event in a group, the same for all who tell of it. Vectors: tests/vectors/ids.json."""
    return native_id(SOURCE, group, "vcs.commit", sha)


def _event(fields: _Fields, sha: str, group: str, worktree: Path | None) -> dict[str, Any]:
    parents, author, email, seconds, message = (fields.next() for _ in range(5))
    paths, more = fields.paths(is_merge=" " in parents)
    return {
        "id": id_of(sha, group),
        "source": SOURCE,
        "type": "vcs.commit",
        "time": _EPOCH + timedelta(seconds=int(seconds)),
        "group": group,
        "agent": author.strip()[:NAME_LIMIT] or None,
        "user": email.strip()[:NAME_LIMIT] or None,
        "project": str(worktree) if worktree else None,
        "data": {
            "sha": sha,
            "message": message.strip(),
            **({"author": author.strip()} if author.strip() else {}),
            "paths": paths,
            **({"more_paths": more} if more else {}),
        },
    }


class _Fields:
    """What `git log` prints, field by field: for each commit `_MARK`, its fields, and its paths among empty ones."""

    def __init__(self, output: IO[bytes]) -> None:
        self._fields = _split(output)
        self._begun = any(field == _MARK for field in self._fields)

    def begun(self) -> str | None:
        """The sha of the next commit; None behind the last one."""
        return self.next() if self._begun else None

    def next(self) -> str:
        """The next field of the commit."""
        return next(self._fields, b"").decode("utf-8", "replace")

    def paths(self, is_merge: bool) -> tuple[list[str], int]:
        """The commit's paths, and how many more there are; then the next commit is begun."""
        found: list[str] = []
        size = more = 0
        first = not is_merge
        for field in self._fields:
            if field == _MARK:
                return found, more
            if first and field:
                # Where git would begin a line for the differences.
                field, first = field.removeprefix(b"\n"), False
            if not field:
                continue
            if len(found) < MOST_PATHS and size + len(field) <= MOST_PATHS_BYTES:
                found.append(field.decode("utf-8", "replace"))
                size += len(field)
            else:
                more += 1
        self._begun = False
        return found, more


def _split(output: IO[bytes]) -> Iterator[bytes]:
    """Pieces between NULs, each cut to `FIELD_BYTES`."""
    rest = b""
    while chunk := output.read(_CHUNK):
        first, *others = chunk.split(b"\0")
        rest = (rest + first)[:FIELD_BYTES]
        if others:
            yield rest
            yield from (piece[:FIELD_BYTES] for piece in others[:-1])
            rest = others[-1]
    if rest:
        yield rest


def _checked(repository: Repository, branch: str) -> None:
    """
    Raises:
        GitFailed: there is no such branch, or no commit at all.
    """
    try:
        _said(repository.path, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{branch}^{{commit}}")
    except GitFailed:
        if branch == "HEAD":
            raise GitFailed(f"{repository.path} has no commit yet: there is nothing to import") from None
        raise GitFailed(f"{repository.path} has no branch or revision {branch[:80]!r}: `git branch -a` lists") from None


def _said(path: Path, *arguments: str) -> str:
    """What a short git command prints.

    Raises:
        GitFailed
    """
    with _running(path, *arguments) as output:
        return os.fsdecode(output.read()).strip()


@contextmanager
def _running(path: Path, *arguments: str) -> Iterator[IO[bytes]]:
    """What a git command prints, while it prints it; it is ended with the block.

    Raises:
        GitFailed: git is not there, or ended with an error.
    """
    with tempfile.TemporaryFile() as errors:
        command = ["git", "-C", str(path), *_SAFE, *arguments]
        try:
            running = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        except FileNotFoundError:
            raise GitFailed("there is no program `git`: install it to import a repository's history") from None
        assert running.stdout is not None
        try:
            yield running.stdout
            # What is left would fill the pipe.
            while running.stdout.read(_CHUNK):
                pass
            code = running.wait()
        finally:
            running.stdout.close()
            if running.poll() is None:
                running.kill()
                running.wait()
        if code:
            errors.seek(0)
            said = errors.read(4096).decode("utf-8", "replace").strip().partition("\n")[0]
            raise GitFailed(f"git can't read {path}: {said or f'exit code {code}'}")


def _environment() -> dict[str, str]:
    """The caller's, without what would lead git elsewhere (a hook's environment does), and without questions."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "LC_ALL": "C.UTF-8"}
    return {**kept, **quiet, "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
