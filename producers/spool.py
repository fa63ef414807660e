"""The spool: events that the queue server could not take now, on the producer's own disk, until it can.

One a home and group, in `spool/` of the home. While it holds events, newer ones go behind them, so that they are sent
in order, by whoever comes next. Its files:

    GROUP.jsonl    the events, one a line; appended to by every producer, cut to nothing when all are sent
    GROUP.state    which spool this is, how many events it has sent, and how far into the file that is
    GROUP.lock     held by the one process that sends
    away           its time is when the queue server was last found to be away: nobody tries again at once

Appending is one write of whole lines, which survives the process. Each process flushes the file to the disk with the
first event that it spools and then at most once a second, as the queue server does with its own log: a power cut may
take what was spooled in its last second.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from producers.environment import SPOOL_BYTES, private_folder
from producers.locks import locked

#: Most bytes, and most events, that are sent at once.
CHUNK_BYTES = 1024 * 1024
CHUNK_EVENTS = 500
#: After the queue server was found to be away, nobody tries again for this long, s.
PAUSE_SECONDS = 1.0
#: How often a process flushes what it has appended to the disk, s.
SYNC_SECONDS = 1.0
#: Bytes of the state's file, padded.
WIDTH = 128


class SpoolFull(Exception):
    """The queue server is away, and the spool can't take more: the event is not accepted. The message says why."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one spool. Its id is empty where nothing was ever sent from it."""

    group: str
    id: str
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events to be sent at once: their JSON, how many were sent before, and how many wait behind them."""

    events: list[bytes]
    before: int
    behind: int
    lines: int
    upto: int


@dataclass(slots=True)
class _State:
    id: str
    sent: int
    offset: int


class Spool:
    """The spool of one group in one home. It opens its files when it is used."""

    def __init__(self, home: Path, group: str, most_bytes: int = SPOOL_BYTES) -> None:
        self.group = group
        self._folder = home / "spool"
        self._file = self._folder / f"{group}.jsonl"
        self._most = most_bytes
        self._synced = float("-inf")

    def holds_events(self) -> bool:
        """Whether events wait: newer ones go behind them."""
        try:
            return os.stat(self._file).st_size > 0  # noqa: PTH116 - half the time of Path.stat, on every publish
        except OSError:
            return False

    def append(self, events: Sequence[bytes]) -> None:
        """Put events, as JSON without line ends, behind those that wait.

        Raises:
            SpoolFull: its bound is reached, or the disk can't be written; none of them is accepted.
        """
        try:
            private_folder(self._folder)
            with _opened(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                # Shared: appending is one write, so appenders don't mind each other. Only who empties the file does.
                if not locked(file, fcntl.LOCK_SH):
                    raise SpoolFull(
                        f"the spool {self._file} is locked: another process was stopped in the middle of it"
                    )
                self._write(file, b"\n".join(events) + b"\n")
        except OSError as error:
            raise SpoolFull(f"the spool {self._file} can't be written: {error.strerror}") from error

    def pause(self) -> None:
        """The queue server was found to be away: let nobody try for a while."""
        with suppress(OSError):
            away = self._folder / "away"
            private_folder(self._folder)
            away.touch(mode=0o600)

    def paused(self) -> bool:
        """Whether the queue server was found to be away a moment ago."""
        try:
            return abs(time.time() - (self._folder / "away").stat().st_mtime) < PAUSE_SECONDS
        except OSError:
            return False

    @contextmanager
    def sending(self) -> Iterator[Sending | None]:
        """Send what waits; None where another process does, or nothing waits.

        Raises:
            OSError: the files can't be used.
        """
        if not self.holds_events():
            yield None
            return
        with _opened(self._folder / f"{self.group}.lock", os.O_RDWR | os.O_CREAT) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            state = _opened(self._folder / f"{self.group}.state", os.O_RDWR | os.O_CREAT)
            with _opened(self._file, os.O_RDWR) as file, state as state_file:
                yield Sending(file, state_file)

    def waiting(self) -> Waiting:
        """What waits, as it is now. Nothing is changed."""
        try:
            state = _read_state(self._folder / f"{self.group}.state")
            with _opened(self._file, os.O_RDONLY) as file:
                size = os.fstat(file).st_size
                offset = state.offset if state.offset <= size else 0
                lines = sum(part.count(b"\n") for part in _parts(file, offset))
                return Waiting(self.group, state.id, lines, size - offset)
        except OSError:
            return Waiting(self.group, "", 0, 0)

    def _write(self, file: int, text: bytes) -> None:
        size = os.fstat(file).st_size
        waiting = size
        if size + len(text) > self._most:
            waiting -= _read_state(self._folder / f"{self.group}.state").offset
        if waiting + len(text) > self._most:
            raise SpoolFull(
                f"the spool {self._file} is full ({self._most:,} bytes, MEMLANE_SPOOL_BYTES): start the queue server, "
                "then `memlane spool flush`"
            )
        if size and os.pread(file, 1, size - 1) != b"\n":
            text = b"\n" + text  # a line that was torn off stays by itself
        if os.write(file, text) < len(text):
            raise SpoolFull(f"the spool {self._file} can't be written: the disk is full")
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fdatasync(file)
            self._synced = time.monotonic()


class Sending:
    """The right to send what waits in a spool, as long as its `with` block lasts."""

    def __init__(self, file: int, state_file: int) -> None:
        self._file = file
        self._state_file = state_file
        self._state = _state(os.pread(state_file, WIDTH, 0))
        if not self._state.id:
            self._state = _State(secrets.token_hex(8), 0, 0)
            self._keep()
        if self._state.offset > os.fstat(file).st_size:
            self._state.offset = 0
        # Lines that are not yet sent, as far into the file as they were counted.
        self._lines, self._counted = 0, self._state.offset
        #: Lines that are no events: torn off by a power cut or a full disk before they were accepted.
        self.torn = 0

    @property
    def id(self) -> str:
        """Which spool this is."""
        return self._state.id

    def next(self) -> Chunk | None:
        """The next events to be sent; None if all are."""
        while True:
            raw = os.pread(self._file, CHUNK_BYTES, self._state.offset)
            lines = raw.split(b"\n")[:-1][:CHUNK_EVENTS]
            if not lines:
                if self._emptied():
                    return None
                continue
            for part in _parts(self._file, self._counted):
                self._lines += part.count(b"\n")
                self._counted += len(part)
            events = [line for line in lines if _is_event(line)]
            self.torn += sum(1 for line in lines if line) - len(events)
            upto = self._state.offset + sum(len(line) + 1 for line in lines)
            chunk = Chunk(events, self._state.sent, self._lines - len(lines), len(lines), upto)
            if events:
                return chunk
            self.sent(chunk)

    def sent(self, chunk: Chunk) -> None:
        """The queue server has accepted these."""
        self._state.sent += len(chunk.events)
        self._state.offset = chunk.upto
        self._lines -= chunk.lines
        self._keep()

    def _emptied(self) -> bool:
        """Cut the file to nothing; False if somebody has appended to it."""
        if not locked(self._file, fcntl.LOCK_EX):
            return True  # all is sent; whoever sends next will empty it
        try:
            rest = os.pread(self._file, CHUNK_BYTES, self._state.offset)
            if b"\n" in rest:
                return False
            self.torn += bool(rest)
            # In this order: whoever dies in between has everything sent once more, which changes nothing.
            self._state.offset = 0
            self._keep()
            os.ftruncate(self._file, 0)
            self._lines = self._counted = 0
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return True

    def _keep(self) -> None:
        state = json.dumps([self._state.id, self._state.sent, self._state.offset])
        os.pwrite(self._state_file, state.ljust(WIDTH).encode(), 0)


def spools(home: Path) -> list[Spool]:
    """Spools of a home that hold events, by group."""
    found = [Spool(home, file.stem) for file in sorted((home / "spool").glob("*.jsonl"))]
    return [spool for spool in found if spool.holds_events()]


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parts(file: int, offset: int) -> Iterator[bytes]:
    while part := os.pread(file, CHUNK_BYTES, offset):
        yield part
        offset += len(part)


def _read_state(path: Path) -> _State:
    with suppress(OSError):
        return _state(path.read_bytes())
    return _State("", 0, 0)


def _state(raw: bytes) -> _State:
    try:
        id, sent, offset = json.loads(raw)
        return _State(str(id), int(sent), int(offset))
    except (ValueError, TypeError):
        return _State("", 0, 0)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)
