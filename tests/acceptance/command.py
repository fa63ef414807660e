"""The command as a user runs it: a process, what it wrote, how it ended, and what its schema says of that."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import redis
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from memory.ledger import Ledger
from ops.home import Home
from ops.status import GroupStatus, look
from tests.servers import wait_until

MEMLANE = str(Path(sys.executable).with_name("memlane"))
SCHEMAS = Path(__file__).parents[2] / "docs" / "cli"
#: Seconds that a command may take: many times what it needs on an idle machine.
PATIENCE = 60.0


def environment(home: Path, **more: str) -> dict[str, str]:
    """The caller's, without what would lead elsewhere than to this home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEMLANE_", "OPENCODE_"))}
    plain = {"TERM": "xterm", "COLUMNS": "120", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "DD_DOGSTATSD_DISABLE": "true"}
    # On a busy machine nothing is to go into the spool that need not.
    return {**kept, **plain, "MEMLANE_HOME": str(home), "MEMLANE_PUBLISH_DEADLINE_MS": "10000", **more}


def validated(command: str, line: str) -> dict[str, Any]:
    """What a command answered with --json, which must be one line, as docs/cli/COMMAND.schema.json says."""
    assert line.count("\n") == 1, line[:500]
    answer: dict[str, Any] = json.loads(line)
    schema = schemas()[f"{command}.schema.json"]
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(contents)) for name, contents in schemas().items()
    )
    Draft202012Validator(schema, registry=registry).validate(answer)
    return answer


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """All schemas, by file name."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in SCHEMAS.glob("*.schema.json")}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    command: str
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its answer, as its schema says."""
        return validated(self.command, self.out)

    def failed(self, *words: str) -> None:
        """It must have ended with exit code 1, nothing on stdout, and one line that holds these words."""
        assert (self.code, self.out) == (1, ""), self
        assert self.err.startswith("memlane: "), self
        assert self.err.count("\n") == 1, self
        for word in words:
            assert word in self.err, self


@dataclass(frozen=True)
class CommandLine:
    """Runs commands in one folder, with one home and, unless it is named otherwise, one group."""

    home: Path
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: bytes = b"", folder: Path | None = None, **environ: str) -> Ended:
        ended = subprocess.run(
            [MEMLANE, *arguments],
            input=stdin,
            cwd=folder or self.folder,
            env=environment(self.home, **(self.environ | environ)),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        words = arguments[
            : 2
            if arguments[:1] in (("dead",), ("import",), ("spool",), ("plugins",), ("history",), ("install",))
            else 1
        ]
        out, err = ended.stdout.decode(), ended.stderr.decode()
        assert "Traceback" not in err, err
        return Ended("-".join(words), ended.returncode, out, err)

    @contextmanager
    def begun(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on; it is ended with the block, if it still runs."""
        environ = environment(self.home, **self.environ)
        with subprocess.Popen([MEMLANE, *arguments], cwd=self.folder, env=environ, **options) as running:
            try:
                yield running
            finally:
                running.kill()

    def queue(self) -> redis.Redis:
        """The queue server, as an operator reaches it by hand."""
        state = json.loads((self.home / "run" / "stack.json").read_text())
        return redis.Redis.from_url(state["valkey_url"])

    def books(self, group: str, waiting: Collection[str] = ()) -> GroupStatus:
        """The books of a group, as soon as they balance, and events wait for these stages and for no other."""
        ledger = Ledger(f"sqlite:///{self.home / 'ledger.sqlite3'}")
        state = json.loads((self.home / "run" / "stack.json").read_text())
        found: list[GroupStatus] = []

        def settled() -> bool:
            (books,) = look(queue, Home(self.home, state["valkey_url"]), ledger, group).groups
            found.append(books)
            wait = {stage.stage for stage in books.stages if stage.pending}
            return books.balanced and not books.pending and wait == set(waiting)

        with self.queue() as queue, closing(ledger):
            wait_until(settled, f"stages of {group}", PATIENCE)
        return found[-1]


class Terminal:
    """A pseudo-terminal, and all that was written to it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self._seen = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def seen(self) -> str:
        return self._seen.decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        """To be called when the process that wrote here has ended."""
        os.close(self.theirs)
        self._reader.join(PATIENCE)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                self._seen += os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                return


@contextmanager
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    try:
        yield opened
    finally:
        opened.close()


def lines(*events: Mapping[str, Any]) -> bytes:
    """Events as JSON, one a line."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)
