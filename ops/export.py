"""A group as JSONL, out and in: each event on a line, with all its attributes, in the order of the ledger."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
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
        raise ExportUnwritable(f"{path} can't be written: {error.strerror or error}") from None


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
        NotAnExport
        QueueUnknown: no queue server is known.
        ImportStopped: import again; what was published is known then.
    """
    result = Imported(str(path))
    whole = 0
    with Sending(result, "import", ledger, only_new=True) as sending:
        for where, event_or_error in _events(path, group, progress):
            if isinstance(event_or_error, str):
                result.skipped.append(f"{where}: {event_or_error}")
                if len(result.skipped) == FOREIGN_LINES and not whole:
                    raise NotAnExport(f"{path} is no export of Memlane's: {result.skipped[0]}")
                continue
            whole += 1
            sending.add(event_or_error, event_or_error.encode())
    return result


def _events(
    path: Path, group: str | None, progress: Callable[[int, int | None], None]
) -> Iterator[tuple[str, Event | str]]:
    """Each line's number, and its event or why it is none."""
    for number, line in _lines(path, progress):
        where = f"line {number}"
        if isinstance(line, str):
            yield where, line
            continue
        try:
            fields = redacted(json_object(line))
            yield where, parse({**fields, "group": group} if group else fields)
        except EventInvalid as error:
            yield where, str(error)


def _lines(path: Path, progress: Callable[[int, int | None], None]) -> Iterator[tuple[int, bytes | str]]:
    """Lines that hold something, by number; or what is wrong with one."""
    number = 1
    try:
        total = path.stat().st_size
        with path.open("rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            while line := file.readline(MAX_EVENT_BYTES + 2):
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
            raise NotAnExport(f"{path} is no gzip file, or torn at its beginning") from None
        yield number, f"the file is torn here, the rest of it can't be read ({type(error).__name__})"
    except OSError as error:
        raise NotAnExport(f"{path} can't be read: {error.strerror or error}") from None
