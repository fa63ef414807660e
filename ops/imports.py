"""Importing what was before Memlane was there, through the lanes like everything else. Again changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from memory.events import Event, EventInvalid, create_encoded
from producers import Publisher, claude_code, git_log, opencode_db
from producers.claude_code_rows import SOURCE as CLAUDE_CODE
from producers.group import group_of
from producers.publisher import QueueFull

#: Events published in one round trip, and how long it may take, s.
CHUNK = 500
DEADLINE_SECONDS = 10.0
#: A lane that is over its mark is waited for so long, s, looking again this often, s.
FULL_SECONDS, FULL_PAUSE = 120.0, 0.5

type Progress = Callable[[int, int | None], None]


@dataclass
class Imported:
    """What was published, by type, into which groups; and what no event could be made of, and why."""

    source: str
    types: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)
    #: What the operator should know of the source.
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What `memlane import --json` prints."""
        return {
            "source": self.source,
            "groups": sorted(self.groups),
            "sessions": len(self.sessions),
            "published": self.types.total(),
            "types": dict(sorted(self.types.items())),
            "skipped": self.skipped,
            "notes": self.notes,
        }


class Sending:
    """Publishes what an importer reads, in chunks, in its order, without the spool: it can be read again."""

    def __init__(self, result: Imported, source: str) -> None:
        self._result = result
        self._chunk: list[tuple[Event, bytes]] = []
        # Each event names its group.
        self._publisher = Publisher(source=source, group="none", spool=False, deadline=DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._send()
        finally:
            self._publisher.close()

    def create(self, fields: dict[str, Any], what: str) -> None:
        """Publish the event that these fields make. `what` names it, if it can't be one."""
        try:
            event, raw = create_encoded(fields, source=fields["source"], group=fields["group"])
        except EventInvalid as error:
            self._result.skipped.append(f"{what}: {error}")
        else:
            self.add(event, raw)

    def add(self, event: Event, raw: bytes) -> None:
        """Publish an event, given with its JSON.

        Raises:
            QueueUnavailable, QueueFull: import again later; what was published before changes nothing.
        """
        self._chunk.append((event, raw))
        if len(self._chunk) >= CHUNK:
            self._send()

    def _send(self) -> None:
        end = time.monotonic() + FULL_SECONDS
        while self._chunk:
            try:
                self._publisher.publish_encoded(self._chunk)
                break
            except QueueFull:
                # Workers make room.
                if time.monotonic() > end:
                    raise
                time.sleep(FULL_PAUSE)
        for event, _ in self._chunk:
            self._result.types[event.type] += 1
            self._result.groups.add(event.group)
            if event.session:
                self._result.sessions.add(event.session)
        self._chunk.clear()


def import_opencode(
    path: Path | None = None, group: str | None = None, progress: Progress = lambda done, total: None
) -> Imported:
    """Publish all events of an OpenCode database, which is only read.

    Args:
        path: of the database; default: where OpenCode keeps it.
        group: for all events; default: that of each session's folder.
        progress: told how many messages were read, and how many there are.

    Raises:
        OpenCodeDatabaseError: it is not there, or not OpenCode's.
        QueueUnavailable, QueueFull, QueueUnknown: import again later; what was published before changes nothing.
    """
    path = path or opencode_db.database_path()
    total = opencode_db.count(path)
    result = Imported(str(path))
    found = opencode_db.read_events(
        path,
        group_for=lambda folder: group or group_of(Path(folder)),
        on_skipped=lambda row: result.skipped.append(str(row)),
        on_progress=lambda done: progress(done, total),
    )
    with Sending(result, "opencode") as sending:
        for event in found:
            sending.add(event, event.encode())
    return result


def import_git(
    path: Path,
    chosen: git_log.Range,
    group: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Imported:
    """Publish the commits of a git repository, parents before children.

    Args:
        path: a folder of the repository, or a bare one.
        group: for all commits; default: the repository's.
        progress: told how many commits were read, and how many there are.

    Raises:
        GitFailed: git can't read it.
        QueueUnavailable, QueueFull, QueueUnknown: as `import_opencode`.
    """
    repository = git_log.Repository.at(path.expanduser().absolute())
    total = git_log.count(repository, chosen)
    result = Imported(str(repository.worktree or repository.path))
    if repository.shallow:
        result.notes.append("the clone is shallow: older commits are missing; `git fetch --unshallow` gets them")
    name = group or repository.group
    commits = git_log.read_commits(repository, chosen, group=name, on_skipped=result.skipped.append)
    with Sending(result, git_log.SOURCE) as sending:
        for done, fields in enumerate(commits, 1):
            sending.create(fields, f"commit {fields['data']['sha']}")
            progress(done, total)
    return result


def import_claude_code(
    path: Path | None = None, group: str | None = None, progress: Progress = lambda done, total: None
) -> Imported:
    """Publish what Claude Code's transcripts tell; they are only read.

    Args:
        path: a folder of transcripts, or one of them; default: where Claude Code keeps them.
        group: for all events; default: that of the folder in which each session began.
        progress: told how many bytes were read, and how many there are.

    Raises:
        TranscriptsNotFound: there are none.
        QueueUnavailable, QueueFull, QueueUnknown: as `import_opencode`.
    """
    path = path or claude_code.transcripts_folder()
    files = claude_code.transcripts(path)
    total = sum(file.size for file in files)
    result = Imported(str(path))
    found = claude_code.read_events(
        files,
        group_for=lambda folder: group or group_of(Path(folder)),
        on_skipped=result.skipped.append,
        on_progress=lambda done: progress(done, total),
    )
    with Sending(result, CLAUDE_CODE) as sending:
        for fields, where in found:
            sending.create(fields, where)
    return result
