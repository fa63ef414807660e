"""Reads Claude Code's transcripts: what its sessions did before Memlane was there, as events.

    files = transcripts(transcripts_folder())
    for fields in read_events(files, group_for=lambda folder: group_of(Path(folder))):
        publisher.publish(fields)

A session is a file of rows, each a JSON object on a line of its own: `projects/FOLDER/SESSION.jsonl`; those of its
subagents are `agent-ID.jsonl` beside it or in `SESSION/subagents/`. They are only read, file after file in the order in
which they began, also while Claude Code goes on writing them. The format has no specification: what a row says is the
subject of `producers.claude_code_rows`, and what it can't make sense of is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from producers.claude_code_rows import Conversation, Row

#: Longest line that is read, in bytes: pictures stand in rows. A longer one is left out.
LINE_BYTES = 64 * 1024 * 1024


class TranscriptsNotFound(Exception):
    """There are no transcripts where they were looked for; the message says where that is."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A file of rows, and how many bytes it has."""

    path: Path
    size: int


def transcripts_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Claude Code has its transcripts: `CLAUDE_CONFIG_DIR`, else ~/.claude, and in there `projects`."""
    return Path(environ.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser() / "projects"


def transcripts(path: Path) -> list[Transcript]:
    """The transcripts in a folder, or the one that the path names, in the order in which they began.

    Raises:
        TranscriptsNotFound: there are none.
    """
    if path.is_file():
        found = [path]
    else:
        within = path / "projects" if (path / "projects").is_dir() else path
        found = sorted(within.rglob("*.jsonl"))
    if not found:
        raise TranscriptsNotFound(
            f"no Claude Code transcripts at {path}: name the folder (CLAUDE_CONFIG_DIR/projects), or one .jsonl file"
        )
    begun = [(_begun(file), str(file), Transcript(file, _size(file))) for file in found]
    return [transcript for _, _, transcript in sorted(begun, key=lambda one: one[:2])]


def read_events(
    found: Iterable[Transcript],
    *,
    group_for: Callable[[str], str],
    on_skipped: Callable[[str], object] = lambda line: None,
    on_progress: Callable[[int], object] = lambda done: None,
) -> Iterator[tuple[dict[str, Any], str]]:
    """Fields of each event, and the row that it was read from. Memory use grows with the number of rows alone.

    Args:
        found: see `transcripts`.
        group_for: group of a session, by the folder that it was begun in; called once for each folder.
        on_skipped: told of each row that is left out, in a line that holds nothing of it.
        on_progress: told how many bytes have been read.
    """
    group_of_folder = cache(group_for)
    conversations: dict[str, Conversation] = {}
    # A session that is resumed may begin with copies of the rows of the one before.
    seen: set[str] = set()
    before = 0
    for transcript in found:
        for where, raw, end in _lines(transcript.path, on_skipped):
            on_progress(before + end)
            row = _row(raw)
            if row is None:
                on_skipped(f"{where}: no JSON object")
                continue
            if not row.session or row.uuid in seen:
                continue
            if row.uuid:
                seen.add(row.uuid)
            if row.session not in conversations:
                if not row.cwd:
                    continue
                group = group_of_folder(row.cwd)
                conversations[row.session] = Conversation(row.session, group, row.cwd, _root(row.cwd), row.parent)
            for fields in conversations[row.session].read(row):
                yield fields, where
        before += transcript.size


def _lines(path: Path, on_skipped: Callable[[str], object]) -> Iterator[tuple[str, bytes, int]]:
    """Whole lines of a file that aren't empty: where each is, what it holds, and where in the file it ends."""
    try:
        with path.open("rb") as file:
            number, end = 0, 0
            while line := file.readline(LINE_BYTES):
                number += 1
                end += len(line)
                where = f"{path.name} line {number}"
                if not line.endswith(b"\n"):
                    if len(line) < LINE_BYTES and _row(line) is None:
                        return  # it is being written now
                    if len(line) >= LINE_BYTES:
                        on_skipped(f"{where}: longer than {LINE_BYTES:,} bytes")
                        while (line := file.readline(LINE_BYTES)) and not line.endswith(b"\n"):
                            end += len(line)
                        continue
                if line.strip():
                    yield where, line, end
    except OSError as error:
        on_skipped(f"{path.name}: can't be read: {error.strerror}")


def _row(raw: bytes) -> Row | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return Row(found) if isinstance(found, dict) else None


def _size(path: Path) -> int:
    """Bytes of a file; of one that is gone again, none: that it can't be read is told when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _begun(path: Path) -> str:
    """The first time in a file, as text that sorts; the first rows may have none."""
    for _, raw, _ in _lines(path, lambda line: None):
        if (row := _row(raw)) and row.time:
            return row.time.isoformat()
    return ""


@cache
def _root(folder: str) -> str:
    """Top of the working tree that a folder is in, as far as it is still there; else the folder itself."""
    here = Path(folder)
    try:
        return next((str(one) for one in (here, *here.parents) if (one / ".git").exists()), folder)
    except OSError:
        return folder
