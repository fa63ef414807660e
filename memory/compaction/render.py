"""A checkpoint as text, within a token budget.

What an agent can't do without comes first and in few words: its request, its objective, what is open, what is broken,
what it has changed. Then these get their details, and then comes what is good to know. What finds no room is counted.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from memory.compaction.content import Content, FileChange, Problem, Request, Said, Task
from memory.compaction.words import clipped, line

#: UTF-8 bytes that one token is taken for, on average, in text and code.
BYTES_A_TOKEN = 4
#: Characters of an entry, in few words and with its details.
SHORT, LONG = 120, 400
#: Characters of the newest request, likewise; and of a summary of the agent's own compaction.
REQUEST_SHORT, REQUEST_LONG, SUMMARY = 400, 2_400, 2_000

#: Sections, in the order in which they stand.
_TITLES = {
    "objective": "Objective",
    "request": "Last request",
    "next": "Next",
    "open": "Open",
    "blocked": "Blocked",
    "unresolved": "Unresolved errors",
    "files": "Files changed",
    "done": "Done",
    "decisions": "Decisions and constraints",
    "solved": "Errors that were solved",
    "earlier": "Earlier requests",
    "summary": "Summary of the last compaction",
}


def tokens_of(text: str) -> int:
    """Tokens that a text is taken for."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN)


def render(content: Content, tokens: int, heading: Sequence[str] = ()) -> str:
    """The text.

    Args:
        tokens: budget of all of it.
        heading: lines to begin with.
    """
    page = _Page(tokens * BYTES_A_TOKEN, heading)
    essential = _essential(content)
    for section, entries in essential:
        page.add_all(section, entries)
    for section, entries in essential:
        page.detail_all(section, entries)
    for section, entries in _good_to_know(content):
        page.add_all(section, entries)
    return page.text()


@dataclass(frozen=True, slots=True)
class _Entry:
    """In few words, and with its details where it has some; both as they stand on the page."""

    short: str
    long: str = ""
    #: Folder of a file that is named together with others of it.
    folder: str | None = None


def _essential(content: Content) -> list[tuple[str, list[_Entry]]]:
    """What must be in, most important first; of each section, newest first."""
    request, objective = content.last_request, content.objective
    return [
        ("request", [_request(request)] if request else []),
        ("objective", [_Entry(line(objective.text, SHORT * 2), line(objective.text, LONG * 2))] if objective else []),
        ("next", [_Entry(line(content.next.text, SHORT * 2), line(content.next.text, LONG))] if content.next else []),
        ("open", [_task(task) for task in reversed(content.open)]),
        ("unresolved", [_problem(problem) for problem in reversed(content.unresolved)]),
        ("blocked", [_said(one) for one in reversed(content.blocked)]),
        ("files", [_file(file) for file in reversed(content.files)]),
    ]


def _good_to_know(content: Content) -> list[tuple[str, list[_Entry]]]:
    solved = [problem for problem in content.errors if problem.solved]
    request = content.last_request
    same = content.objective and request and line(content.objective.text, SHORT) == line(request.text, SHORT)
    earlier = [] if same and len(content.requests) == 1 else content.requests[:-1]
    return [
        ("decisions", [_said(one, LONG) for one in reversed(content.decisions)]),
        ("done", [_said(one, LONG) for one in reversed(content.done)]),
        ("solved", [_solved(problem) for problem in reversed(solved)]),
        ("earlier", [_said(one, LONG) for one in reversed(earlier)]),
        ("summary", [_Entry(_quoted(clipped(content.summary.text, SUMMARY)))] if content.summary else []),
    ]


def _request(request: Request) -> _Entry:
    state = "answered" if request.answered else "not yet answered"
    return _Entry(*(_quoted(f"{clipped(request.text, limit)} ({state})") for limit in (REQUEST_SHORT, REQUEST_LONG)))


def _task(task: Task) -> _Entry:
    label = ", ".join(part for part in (task.status, task.priority) if part)
    return _Entry(*(f"- [{label}] {line(task.text, limit)}" for limit in (SHORT, LONG)))


def _said(said: Said, limit: int = SHORT * 2) -> _Entry:
    return _Entry(f"- {line(said.text, limit)}")


def _problem(problem: Problem) -> _Entry:
    where = f" ({problem.path})" if problem.path and problem.path not in problem.text else ""
    times = f" ({problem.times} times)" if problem.times > 1 else ""
    return _Entry(*(f"- {line(problem.text, limit)}{where}{times}" for limit in (SHORT, LONG)))


def _solved(problem: Problem) -> _Entry:
    return _Entry(f"- {line(problem.text, SHORT * 2)}: {line(problem.how, SHORT * 2)}")


def _file(file: FileChange) -> _Entry:
    folder, name = posixpath.split(file.text)
    counts = f"+{file.additions} −{file.deletions}" if file.additions or file.deletions else ""
    told = [f"{file.times} writes" if file.times > 1 else "", counts, "committed" if file.committed else "", file.what]
    details = "; ".join(part for part in told if part)
    return _Entry(name, f"- {file.text}" + (f" ({details})" if details else ""), folder)


def _quoted(text: str) -> str:
    """Others' words, marked so that no line of them passes for one of ours."""
    return "\n".join(f"> {part}".rstrip() for part in text.splitlines())


@dataclass
class _Section:
    #: As they came: newest first.
    entries: list[_Entry] = field(default_factory=list)
    detailed: set[int] = field(default_factory=set)
    left_out: int = 0

    def lines(self) -> list[str]:
        """Oldest first, as one reads; files without details folder by folder."""
        found, folders = [], dict[str, list[str]]()
        for place, entry in reversed(list(enumerate(self.entries))):
            if place in self.detailed:
                found.append(entry.long)
            elif entry.folder is None:
                found.append(entry.short)
            else:
                folders.setdefault(entry.folder, []).append(entry.short)
        found += [f"- {_inside(folder)}{', '.join(names)}" for folder, names in folders.items()]
        return found + ([f"- … and {self.left_out} earlier ones"] if self.left_out else [])


def _inside(folder: str) -> str:
    return f"{folder.rstrip('/')}/: " if folder else ""


class _Page:
    """Takes entries as long as there is room. Sizes in bytes."""

    #: What a section's title and its count of what was left out take.
    FRAME = 64

    def __init__(self, room: int, heading: Sequence[str]) -> None:
        self._heading = list(heading)
        self._room = room - sum(_size(part) for part in self._heading)
        self._sections: dict[str, _Section] = {}
        self._folders: set[str] = set()

    def add_all(self, section: str, entries: Sequence[_Entry]) -> None:
        for place, entry in enumerate(entries):
            if not self._add(section, entry):
                if section in self._sections:
                    self._sections[section].left_out = len(entries) - place
                return

    def detail_all(self, section: str, entries: Sequence[_Entry]) -> None:
        for place, entry in enumerate(entries):
            if section not in self._sections or place >= len(self._sections[section].entries):
                return
            more = _size(entry.long) - (0 if entry.folder is not None else _size(entry.short))
            if entry.long and more <= self._room:
                self._room -= more
                self._sections[section].detailed.add(place)

    def text(self) -> str:
        blocks = ["\n".join(self._heading)] if self._heading else []
        for name, title in _TITLES.items():
            if section := self._sections.get(name):
                blocks.append("\n".join([f"## {title}", *section.lines()]))
        return "\n".join(blocks)

    def _add(self, section: str, entry: _Entry) -> bool:
        size = _size(entry.short) + (0 if section in self._sections else self.FRAME)
        if entry.folder is not None and entry.folder not in self._folders:
            size += _size(entry.folder) + 4
        if size > self._room:
            return False
        self._room -= size
        if entry.folder is not None:
            self._folders.add(entry.folder)
        self._sections.setdefault(section, _Section()).entries.append(entry)
        return True


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace")) + 2
