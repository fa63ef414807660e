"""Receipts: how many of a group's events the queue server said it has accepted, kept on the producer's own disk.

A server that is wiped, or fails over, forgets what it had accepted; without this, so would everybody. A producer that
finds itself talking to another life of the server reports the receipts of those before, so that the ledger can count
what was lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from producers.environment import private_folder
from producers.locks import LOCK_SECONDS, locked

#: Most files that are kept open.
MOST_FILES = 64
#: Bytes of a line: `generation count`, padded.
WIDTH = 96
#: Generations that are remembered: a server may be wiped again before the ledger has learned of the last time.
MOST_GENERATIONS = 16


@dataclass(frozen=True, slots=True)
class Receipt:
    """`count` events were accepted by the lane in this generation of the server."""

    generation: str = ""
    count: int = 0


class Receipts:
    """The receipts of each group that this home publishes to, by one queue server: the last one of each generation, the
    newest generation first. Where the home can't be written, they last as long as this object.
    """

    def __init__(self, home: Path, address: str) -> None:
        """
        Args:
            address: of the server, without its password: what one server accepted says nothing of another.
        """
        self._folder = home / "receipts" / hashlib.sha256(address.encode()).hexdigest()[:16]
        self._last: dict[str, Receipt] = {}
        #: The line that this process wrote last, by group.
        self._written: dict[str, bytes] = {}
        self._files: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()

    def on_disk(self, group: str) -> list[Receipt]:
        """The receipts of all processes of this home."""
        try:
            return _decode((self._folder / group).read_bytes())
        except OSError:
            return []

    def groups(self) -> list[str]:
        """Groups of which there is a receipt."""
        try:
            return sorted(file.name for file in self._folder.iterdir())
        except OSError:
            return []

    def keep(self, group: str, receipt: Receipt, reported: Sequence[Receipt] = ()) -> bool:
        """Keep a new receipt. Never fails.

        Args:
            reported: receipts of earlier generations of which the server was told.

        Returns:
            Whether it is kept. If not, there are others on the disk, of generations of which this life of the server
            may not know: report those, and come again.
        """
        last = self._last.get(group, Receipt())
        if receipt.generation == last.generation and receipt.count <= last.count:
            return True
        # With a timeout: a process that was forked off while another thread held it would wait for ever.
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            return True
        try:
            kept = self._write(group, receipt, reported)
        except OSError:
            kept = True
        finally:
            self._lock.release()
        if kept:
            self._last[group] = receipt
        return kept

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _write(self, group: str, receipt: Receipt, reported: Sequence[Receipt]) -> bool:
        file = self._file(group)
        if not locked(file, fcntl.LOCK_EX):
            return True
        line = _encode(receipt)
        try:
            same = group in self._last and self._last[group].generation == receipt.generation
            if same and os.pread(file, WIDTH, 0) == self._written.get(group):
                # Nobody else has written since: only the count is new.
                os.pwrite(file, line, 0)
                self._written[group] = line
                return True
            known = _decode(os.pread(file, WIDTH * MOST_GENERATIONS, 0))
            if known and known[0].generation == receipt.generation:
                if known[0].count < receipt.count:
                    os.pwrite(file, line, 0)
                    self._written[group] = line
                return True
            if not set(known) <= set(reported):
                return False
            others = [other for other in known if other.generation != receipt.generation]
            os.pwrite(file, b"".join([line, *map(_encode, others)][:MOST_GENERATIONS]), 0)
            self._written[group] = line
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
        return True

    def _file(self, group: str) -> int:
        # A forked child opens its own: a lock that parent and child share keeps neither out.
        key = os.getpid(), group
        if key not in self._files:
            if len(self._files) >= MOST_FILES:
                self.close()
            private_folder(self._folder)
            self._files[key] = os.open(self._folder / group, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._files[key]


def _encode(receipt: Receipt) -> bytes:
    return f"{receipt.generation} {receipt.count}".ljust(WIDTH - 1).encode() + b"\n"


def _decode(raw: bytes) -> list[Receipt]:
    found = []
    for line in raw.decode("ascii", "replace").splitlines():
        generation, _, count = line.strip().partition(" ")
        if count.isdecimal():
            found.append(Receipt(generation, int(count)))
    return found
