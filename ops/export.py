"""A group as JSONL, out and in: each event on a line, with all its attributes, in the order of the ledger."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from memory.events import MAX_EVENT_BYTES, Event, EventInvalid, json_object, parse, redacted
from memory.ledger import Ledger, books, cursors
from memory.ledger.log import pages
from ops.imports import Imported, Sending

#: Events that are read at once: each may have 256 KiB.
AT_ONCE = 200
#: A file whose first so many lines are no events is none of ours.
FOREIGN_LINES = 100
#: What files begin with: gzip's magic number (RFC 1952), SQLite's header, and byte order marks, which are no content.
GZIP, SQLITE, BOM, UTF_16 = b"\x1f\x8b", b"SQLite format 3\0", b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


class ExportUnwritable(Exception):
    """The file can't be written; the message says why."""


class NotAnExport(Exception):
    """The file can't be read, or holds no events; the message says why, and of which line."""


@dataclass
class Exported:
    """What was written: events, and how many of the group's are forgotten, and so are not in it."""

    group: str
    events: int = 0
    forgotten: int = 0
    bytes: int = 0
    skipped: list[str] = field(default_factory=list)


def export(
    ledger: Ledger, group: str, path: Path | None, progress: Callable[[int, int], object] = lambda done, total: None
) -> Exported:
    """Write all events of a group that are in the ledger now.

    Args:
        path: a file, gzipped where its name ends in .gz; it is there once it is whole. Or a pipe or device, which is
            written into. None: stdout.
        progress: told the seq that was written, and the last one.

    Raises:
        NoSuchGroup, ExportUnwritable, LedgerUnavailable
    """
    with ledger.read() as connection:
        books.exists(connection, group)
        head = cursors.position(connection, "record", group)
    result = Exported(group)
    with _written(path) as file:
        for found in pages(ledger, group, upto=head, limit=AT_ONCE):
            for event in found.events:
                try:
                    line = event.encode() + b"\n"
                except EventInvalid as error:
                    result.skipped.append(f"event {event.id}: {error}")
                    continue
                file.write(line)
                result.events += 1
                result.bytes += len(line)
            result.forgotten += len(found.forgotten)
            progress(found.upto, head)
    return result


@contextmanager
def _written(path: Path | None) -> Iterator[IO[bytes]]:
    """What events are written into. A file is there once it is whole, in the place of the one before, also behind a
    link; a device or a pipe is written into as it is."""
    if path is None or is_stdout(path):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream, _packed(stream, path) as file:
                yield file
            return
        with _replaced(path.resolve()) as whole, _packed(whole, path) as file:
            yield file
    except OSError as error:
        folder = path.resolve().parent
        if path.is_dir():
            remedy = f": it is a folder, name a file in it, such as {path / 'memory.jsonl.gz'}"
        elif isinstance(error, FileNotFoundError) and not folder.is_dir():
            remedy = f": there is no folder {folder}; make it (`mkdir -p {shlex.quote(str(folder))}`), or name another"
        else:
            remedy = f": {error.strerror or error}"
        raise ExportUnwritable(f"{path} can't be written{remedy}") from None


def is_stdout(path: Path) -> bool:
    """Whether this names what stdout is, such as /dev/stdout."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    return False


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes this place once it is whole. Only its owner may read it, as the ledger."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            yield cast("IO[bytes]", file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def _packed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """What packs into the file, if its name says so."""
    if path.suffix != ".gz":
        yield file
        return
    # Without name and time: the same events make the same bytes.
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        yield cast("IO[bytes]", packed)


def import_lines(
    path: Path,
    ledger: Ledger,
    group: str | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Imported:
    """Publish the events of an export, as they are, but for secrets. Those that the ledger has are left out.

    Args:
        group: for all events; default: the one that each names.
        progress: told how many bytes of the file were read, and how many there are.

    Raises:
        NotAnExport: also where the first `FOREIGN_LINES` lines, or all, are no events. Then nothing was published.
        QueueUnknown: no queue server is known.
        ImportStopped: import again; what was published is known then.
    """
    result = Imported(str(path))
    whole = 0
    begins: list[bytes] = []
    with Sending(result, "import", ledger, only_new=True) as sending:
        for number, line in _lines(path, progress):
            try:
                if isinstance(line, str):
                    raise EventInvalid(line)
                event = _event(line, group)
            except EventInvalid as error:
                result.skipped.append(f"line {number}: {error}")
                if not whole:
                    begins += [line] if isinstance(line, bytes) else []
                    if len(result.skipped) == FOREIGN_LINES:
                        break
            else:
                whole += 1
                sending.add(event, event.encode())
        if result.skipped and not whole:
            reason = _seems(path, begins) or f"{result.skipped[0]}; `memlane export --output FILE` writes one"
            raise NotAnExport(f"{path} is no export of Memlane's: {reason}")
    return result


def _event(line: bytes, group: str | None) -> Event:
    """The event of a line.

    Raises:
        EventInvalid: it is none.
    """
    fields = redacted(json_object(line))
    return parse({**fields, "group": group} if group else fields)


def _seems(path: Path, lines: Sequence[bytes]) -> str:
    """What a file that holds no events seems to be, by its first lines, and what can be done with it; else empty."""
    if lines and lines[0].startswith(SQLITE):
        return f"it is a database; if it is OpenCode's, `memlane import opencode {shlex.quote(str(path))}` reads it"
    if lines and lines[0].startswith(UTF_16):
        return "its text is UTF-16, as some shells write it: convert it to UTF-8"
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and row.keys() >= {"sessionId", "type"}:
                return (
                    "it seems to be a transcript of Claude Code's, which "
                    f"`memlane import claude-code {shlex.quote(str(path))}` reads"
                )
    return ""


def _lines(path: Path, progress: Callable[[int, int | None], None]) -> Iterator[tuple[int, bytes | str]]:
    """Lines that hold something, by number; or what is wrong with one."""
    number = 1
    try:
        total = path.stat().st_size
        with path.open("rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(GZIP) else raw
            while line := file.readline(MAX_EVENT_BYTES + 2):
                if number == 1:
                    line = line.removeprefix(BOM)
                if len(line) > MAX_EVENT_BYTES + 1:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_EVENT_BYTES)
                    yield number, f"longer than an event may be ({MAX_EVENT_BYTES:,} bytes)"
                elif line.strip():
                    yield number, line
                number += 1
                progress(raw.tell(), total)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if number == 1:
            raise NotAnExport(f"{path} is gzipped, but torn at its beginning: copy it again") from None
        yield number, f"the file is torn here, the rest of it can't be read ({type(error).__name__})"
    except IsADirectoryError:
        raise NotAnExport(f"{path} is a folder: name a file, as `memlane export --output FILE` writes it") from None
    except OSError as error:
        raise NotAnExport(f"{path} can't be read: {error.strerror or error}") from None
