"""Errors and failed calls of a session: which are one and the same, and which a later event shows to be over."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from memory.compaction.commands import command_of, covers
from memory.compaction.content import Problem
from memory.compaction.words import line, text_of

#: Characters of what an error says that are kept.
MESSAGE = 500
#: Writes that are remembered to say what was changed before a problem was over.
WRITES = 50
#: Errors of the model, or of the way to it: over once it answers.
_OF_MODEL = re.compile(r"API|Auth|Overflow|Abort|OutputLength|Overloaded|RateLimit|Provider|Unknown", re.IGNORECASE)
_FAILED = frozenset({"error", "failed", "failure", "timeout"})
DENIED = frozenset({"denied", "rejected"})
#: Tools whose success says nothing of another call: what they do is in their command.
_SHELLS = frozenset({"bash", "shell", "sh", "exec", "terminal", "powershell", "cmd"})


class Problems:
    """Follows them through a session's events."""

    def __init__(self, known: list[Problem]) -> None:
        """
        Args:
            known: those of the checkpoint before.
        """
        self.all = known
        #: Seq and path of the latest writes: what may have solved a problem.
        self._writes: deque[tuple[int, str]] = deque(maxlen=WRITES)

    def called(self, seq: int, data: Mapping[str, Any]) -> None:
        """A tool was called."""
        tool, path = text_of(data.get("tool")), text_of(data.get("path"))
        status, code = text_of(data.get("status")).lower(), data.get("exit")
        command = command_of(dict(data))
        if status in _FAILED or (status not in DENIED and code not in (None, 0)):
            self._add(seq, Problem(text=_said(data, tool, command), tool=tool, command=command, path=path))
        elif status not in DENIED:
            for problem in self._open(tool=tool):
                if how := _shown_by_call(problem, tool, command, path):
                    self._solve(problem, seq, how)

    def failed(self, seq: int, data: Mapping[str, Any]) -> None:
        """An `error` came."""
        text = line(text_of(data.get("message")), MESSAGE)
        name, tool, path = (text_of(data.get(field)) for field in ("name", "tool", "path"))
        if not text and not name:
            return  # it was forgotten
        self._add(seq, Problem(text=text or name, name=name, tool=tool, path=path))

    def written(self, seq: int, path: str) -> None:
        """A file was written."""
        self._writes.append((seq, path))
        for problem in self._open():
            if problem.path == path and not problem.command:
                self._solve(problem, seq, f"{path} was written afterwards")

    def answered(self, seq: int) -> None:
        """The model said something."""
        for problem in self._open():
            if not problem.tool and not problem.path and _OF_MODEL.search(problem.name):
                self._solve(problem, seq, "the model answered again")

    def _open(self, tool: str | None = None) -> list[Problem]:
        return [one for one in self.all if not one.solved and (tool is None or one.tool == tool or not one.tool)]

    def _add(self, seq: int, problem: Problem) -> None:
        """Add it, or count it as one that is known. A tool's failure comes as its call and as an error."""
        for known in reversed(self.all):
            if _same(known, problem):
                if known.text != problem.text or known.name == problem.name:
                    known.times += 1
                known.text, known.name = problem.text, known.name or problem.name
                known.solved, known.how = False, ""
                known.seen(seq)
                self.all.remove(known)
                self.all.append(known)
                return
        problem.seen(seq)
        self.all.append(problem)

    def _solve(self, problem: Problem, seq: int, how: str) -> None:
        since = problem.seqs[-1] if problem.seqs else 0
        changed = list(dict.fromkeys(path for written, path in self._writes if written > since))
        named = ", ".join(changed[-3:]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        if changed and "was written" not in how:
            how = f"{how}, after {named} {'were' if len(changed) > 1 else 'was'} changed"
        problem.solved, problem.how = True, how
        problem.seen(seq)


def _same(known: Problem, other: Problem) -> bool:
    if known.tool != other.tool or known.path != other.path:
        return False
    if known.command or other.command:
        return known.command == other.command
    if known.tool and known.path:
        return True
    return known.text == other.text and (not known.name or not other.name or known.name == other.name)


def _shown_by_call(problem: Problem, tool: str, command: str, path: str) -> str:
    """How a call that succeeded shows that a problem is over; "" if it does not."""
    if problem.tool != tool:
        return ""
    if problem.command:
        return f"`{line(command, 120)}` succeeded" if command and covers(command, problem.command) else ""
    if problem.path:
        return f"{tool} of {path} succeeded" if problem.path == path else ""
    return "" if tool in _SHELLS else f"{tool} worked again"


def _said(data: Mapping[str, Any], tool: str, command: str) -> str:
    """What a call that failed says: for a command, how it ended and the last of its output."""
    summary, code = text_of(data.get("summary")), data.get("exit")
    if not command:
        return line(summary, MESSAGE) or f"{tool} failed"
    output = [part for part in summary.splitlines() if part.strip() and not part.startswith("$ ")]
    ended = f"`{line(command, 160)}` failed" + (f" with exit code {code}" if code not in (None, 0) else "")
    last = output[-1].strip() if output else ""
    return line(ended if not last or "failed with exit code" in last else f"{ended}: {last}", MESSAGE)
