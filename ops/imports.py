"""Importing what was before Memlane was there, through the lanes like everything else. Again changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from memory.events import Event, EventInvalid, clipped_of, create_encoded
from memory.ledger import Ledger, LedgerUnavailable
from memory.ledger.log import Known, known
from producers import Publisher, claude_code, git_log, opencode_db
from producers.claude_code_rows import SOURCE as CLAUDE_CODE
from producers.group import group_of
from producers.publisher import QueueFull, QueueUnavailable

#: Events published in one round trip, and how long it may take, s.
CHUNK = 500
DEADLINE_SECONDS = 10.0
#: A lane that is over its mark is waited for so long, s, looking again this often, s.
FULL_SECONDS, FULL_PAUSE = 120.0, 0.5

type Progress = Callable[[int, int | None], None]


class ImportStopped(Exception):
    """It did not come to its end; the message says why, and how much went in before."""


class NothingToImport(Exception):
    """There is nothing in it of what was to be read; the message says what was expected."""


@dataclass
class Imported:
    """What was published, by type, into which groups; what of it the ledger had before; and what no event could be made
    of, and why."""

    source: str
    types: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    #: Events that the ledger did not have before; None where it could not be asked.
    new: int | None = None
    #: Those that it had, by the group they are in; None where it could not be asked.
    known: Counter[str] | None = None
    #: Those of `known` whose content was forgotten, and stays so; None where it could not be asked.
    forgotten: int | None = None
    #: Texts of which only the beginning was kept.
    clipped: int = 0
    #: Those of `known` that are in another group than they were meant for, by the group they are in and the one meant.
    elsewhere: Counter[tuple[str, str]] = field(default_factory=Counter)
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
            "new": self.new,
            "known": None if self.known is None else dict(sorted(self.known.items())),
            "forgotten": self.forgotten,
            "clipped": self.clipped,
            "skipped": self.skipped,
            "notes": self.notes,
        }


class Sending:
    """Publishes what an importer reads, in chunks, in its order, without the spool: it can be read again."""

    def __init__(self, result: Imported, source: str, ledger: Ledger | None, *, only_new: bool = False) -> None:
        """
        Args:
            ledger: asked what of it is known; None where it can't be asked.
            only_new: leave out what the ledger has. Else that is published, too, and becomes a duplicate: whether the
                ledger is the one that it goes to is not known here.
        """
        self._result, self._ledger, self._only_new = result, ledger, only_new
        self._chunk: list[tuple[Event, bytes]] = []
        # Each event names its group.
        self._publisher = Publisher(source=source, group="none", spool=False, deadline=DEADLINE_SECONDS)
        if ledger:
            result.new, result.known, result.forgotten = 0, Counter(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """
        Raises:
            ImportStopped: see there.
        """
        try:
            if kind is None:
                self._send()
        except (KeyboardInterrupt, QueueUnavailable, QueueFull, LedgerUnavailable) as stopped:
            raise self._stopped(stopped) from stopped
        finally:
            self._publisher.close()
        if isinstance(error, KeyboardInterrupt | QueueUnavailable | QueueFull | LedgerUnavailable):
            raise self._stopped(error) from error
        for (held, wanted), count in sorted(self._result.elsewhere.items()):
            self._result.notes.append(
                f"{count:,} of these events are in group {held} already, and stay there: an event is in one group, "
                f"so they are not in {wanted}"
            )

    def _stopped(self, error: BaseException) -> ImportStopped:
        why = str(error) if isinstance(error, Exception) else "the import was interrupted"
        return ImportStopped(
            f"{why}; {self._result.types.total():,} events went in before that: run the same command again, "
            "what went in changes nothing then"
        )

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
            QueueUnavailable, QueueFull, LedgerUnavailable: `__exit__` makes ImportStopped of it.
        """
        self._chunk.append((event, raw))
        if len(self._chunk) >= CHUNK:
            self._send()

    def _send(self) -> None:
        self._look_up()
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
            self._result.clipped += len(clipped_of(event.data))
            if event.session:
                self._result.sessions.add(event.session)
        self._chunk.clear()

    def _look_up(self) -> None:
        """Count what of the chunk the ledger has, and leave it out if need be."""
        if self._ledger is None or not self._chunk:
            return
        try:
            with self._ledger.read() as connection:
                found = known(connection, [event.id for event, _ in self._chunk])
        except LedgerUnavailable:
            if self._only_new:
                raise
            self._result.new = self._result.known = self._result.forgotten = self._ledger = None
            self._result.elsewhere.clear()
            return
        self._count(found)
        if self._only_new:
            self._chunk = [(event, raw) for event, raw in self._chunk if event.id not in found]

    def _count(self, found: dict[str, Known]) -> None:
        result = self._result
        assert result.new is not None
        assert result.known is not None
        assert result.forgotten is not None
        result.new += len(self._chunk) - len(found)
        result.known.update(one.group for one in found.values())
        result.forgotten += sum(one.forgotten for one in found.values())
        for event, _ in self._chunk:
            held = found.get(event.id)
            # Of what was forgotten it would say that it is there.
            if held and held.group != event.group and not held.forgotten:
                result.elsewhere[held.group, event.group] += 1


def import_opencode(
    path: Path | None = None,
    group: str | None = None,
    progress: Progress = lambda done, total: None,
    ledger: Ledger | None = None,
) -> Imported:
    """Publish all events of an OpenCode database, which is only read.

    Args:
        path: of the database; default: where OpenCode keeps it.
        group: for all events; default: that of each session's folder.
        progress: told how many messages were read, and how many there are.
        ledger: asked which of them are known already.

    Raises:
        OpenCodeDatabaseError: it is not there, or not OpenCode's.
        QueueUnknown: no queue server is known.
        ImportStopped: import again later; what was published before changes nothing.
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
    with Sending(result, "opencode", ledger) as sending:
        for event in found:
            sending.add(event, event.encode())
    return result


def import_git(
    path: Path,
    chosen: git_log.Range,
    group: str | None = None,
    progress: Progress = lambda done, total: None,
    ledger: Ledger | None = None,
) -> Imported:
    """Publish the commits of a git repository, parents before children.

    Args:
        path: a folder of the repository, or a bare one.
        group: for all commits; default: the repository's.
        progress: told how many commits were read, and how many there are.
        ledger: asked which of them are known already.

    Raises:
        GitFailed: git can't read it.
        QueueUnknown, ImportStopped: as `import_opencode`.
    """
    repository = git_log.Repository.at(path.expanduser().absolute())
    total = git_log.count(repository, chosen)
    result = Imported(str(repository.worktree or repository.path))
    if repository.shallow:
        result.notes.append("the clone is shallow: older commits are missing; `git fetch --unshallow` gets them")
    name = group or repository.group
    commits = git_log.read_commits(repository, chosen, group=name, on_skipped=result.skipped.append)
    with Sending(result, git_log.SOURCE, ledger) as sending:
        for done, fields in enumerate(commits, 1):
            sending.create(fields, f"commit {fields['data']['sha']}")
            progress(done, total)
    return result


def import_claude_code(
    path: Path | None = None,
    group: str | None = None,
    progress: Progress = lambda done, total: None,
    ledger: Ledger | None = None,
) -> Imported:
    """Publish what Claude Code's transcripts tell; they are only read.

    Args:
        path: a folder of transcripts, or one of them; default: where Claude Code keeps them.
        group: for all events; default: that of the folder in which each session began.
        progress: told how many bytes were read, and how many there are.
        ledger: asked which of them are known already.

    Raises:
        TranscriptsNotFound: there are none.
        NothingToImport: nothing in them is a transcript's row.
        QueueUnknown, ImportStopped: as `import_opencode`.
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
    with Sending(result, CLAUDE_CODE, ledger) as sending:
        for fields, where in found:
            sending.create(fields, where)
    if result.skipped and not result.types:
        raise NothingToImport(
            f"{path} holds nothing of a transcript of Claude Code's, which are files such as "
            f"~/.claude/projects/-home-dev-shop/SESSION.jsonl, one JSON object a line; {result.skipped[0]}"
        )
    return result
