"""Notes on a session: its events in, what a checkpoint says out. No model is asked.

Built from what events state (files, todos, commits, failures and later successes), and from what was said in so many
words: the user's requests, the agent's closing words of a turn, sentences that decide something, and the summary of the
agent's own compaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from memory.compaction.commands import command_of
from memory.compaction.content import Content, FileChange, Request, Said, Task
from memory.compaction.problems import DENIED, Problems
from memory.compaction.summaries import sections
from memory.compaction.words import clipped, line, sentences, text_of
from memory.events import Event
from memory.graph.kinds import is_turn

#: Characters of the newest request, and of a summary of the agent's own compaction, that are kept.
LONG = 8_000
#: Characters of an entry of a list.
ENTRY = 300
#: Entries that are kept of lists which only grow, newest first.
REQUESTS, DECISIONS, DONE, SOLVED = 6, 20, 40, 10
#: Files and unresolved errors that are kept, newest first. Above it is not a session that anybody reads.
FILES, ERRORS = 2_000, 500

_OVER = frozenset({"completed", "done", "cancelled", "canceled"})
_DECIDES = re.compile(
    r"\b(decided|decision|chose|chosen|instead of|rather than|because|must|should not|shouldn't|never|always|prefer"
    r"|don't|do not|agreed|important)\b",
    re.IGNORECASE,
)
_COMMITS = re.compile(r"\bgit\b[^|;&]*\bcommit\b[^|;&]*?\s-\w*m[\s=]*(['\"])(.+?)\1")
_ADDED, _REMOVED = (re.compile(rf"^({sign})[ \t]*(\S.*)$", re.MULTILINE) for sign in (r"\+", "-"))
_NEXT = re.compile(r"\bnext(?:\s+(?:step|move|up))?\s*(?:is|:|,)", re.IGNORECASE)


class Notes:
    """Takes notes of one session's events, in their order."""

    def __init__(self, before: Content | None = None) -> None:
        """
        Args:
            before: what the checkpoint before said; what of it still holds is carried over.
        """
        known = before.model_copy(deep=True) if before else Content()
        self._objective, self._summary = known.objective, known.summary
        self._title: Said | None = None
        self._requests, self._decisions, self._done = known.requests, known.decisions, known.done
        self._open, self._blocked = known.open, known.blocked
        self._files = {file.text: file for file in known.files}
        #: Of the files written so far, what the latest write changed.
        self._changes: dict[str, str] = {}
        self._problems = Problems(known.errors)
        #: What comes next as the agent's own summary says; nothing else of it is carried over.
        of_summary = known.next and known.summary and known.next.seqs == known.summary.seqs
        self._next = known.next if of_summary else None
        #: The agent's latest words.
        self._words: Said | None = None

    def take(self, seq: int, event: Event) -> None:
        """Note what an event says. One whose content was forgotten says nothing."""
        if noted := _NOTED.get(event.type):
            noted(self, seq, event.data)

    def content(self) -> Content:
        """What is to be known after the events so far."""
        for path, change in self._changes.items():
            self._files[path].what = _what(change)
        errors = self._problems.all
        solved, unresolved = [one for one in errors if one.solved], [one for one in errors if not one.solved]
        files = sorted(self._files.values(), key=lambda file: file.seqs[-1] if file.seqs else 0)
        return Content(
            objective=self._objective or self._title,
            requests=self._requests[-REQUESTS:],
            decisions=self._decisions[-DECISIONS:],
            done=self._done[-DONE:],
            open=self._open,
            blocked=self._blocked,
            files=files[-FILES:],
            errors=[*solved[-SOLVED:], *unresolved[-ERRORS:]],
            next=self._what_next(unresolved),
            summary=self._summary,
        )

    # What each type of event says

    def _started(self, seq: int, data: Mapping[str, Any]) -> None:
        if title := text_of(data.get("title")):
            self._title = Said(text=line(title, ENTRY), seqs=[seq])

    def _message(self, seq: int, data: Mapping[str, Any]) -> None:
        role, text = text_of(data.get("role")), text_of(data.get("text"))
        if not text:
            return
        if role == "user":
            self._asked(seq, text)
        else:
            self._problems.answered(seq)
            self._words = Said(text=clipped(text, LONG), seqs=[seq])
            self._decide(seq, text)

    def _asked(self, seq: int, text: str) -> None:
        last = self._requests[-1] if self._requests else None
        text = clipped(text, LONG)
        if last and last.text == text and not last.answered:
            last.seen(seq)  # the start of a chat and its message say the same
            return
        if last:
            last.text = clipped(last.text, ENTRY)
        self._requests.append(Request(text=text, seqs=[seq]))
        self._next = None
        if self._objective is None:
            self._objective = Said(text=clipped(text, 2 * ENTRY), seqs=[seq])
        self._decide(seq, text, "The user: ")

    def _requested(self, seq: int, data: Mapping[str, Any]) -> None:
        action, text = data.get("action"), text_of(data.get("request"))
        if text and action == "remember":
            _add(self._decisions, Said(text=line(f"To remember: {text}", ENTRY), seqs=[seq]))
        elif text and action is None:
            self._asked(seq, text)

    def _chat_started(self, seq: int, data: Mapping[str, Any]) -> None:
        if text := text_of(data.get("query")):
            self._asked(seq, text)

    def _wrote(self, seq: int, data: Mapping[str, Any]) -> None:
        if not (path := text_of(data.get("path"))):
            return
        file = self._file(seq, path)
        file.times += 1
        file.additions += _count(data.get("additions"))
        file.deletions += _count(data.get("deletions"))
        file.committed = False
        self._changes[path] = text_of(data.get("summary"))
        self._problems.written(seq, path)

    def _called(self, seq: int, data: Mapping[str, Any]) -> None:
        if text_of(data.get("status")).lower() in DENIED:
            tool, said = text_of(data.get("tool")), text_of(data.get("summary"))
            where = text_of(data.get("path"))
            text = f"{tool}{where and ' on '}{where} was not permitted" + (f": {said}" if said else "")
            _add(self._blocked, Said(text=line(text, ENTRY), seqs=[seq]))
        elif data.get("exit") == 0 and (commit := _COMMITS.search(command_of(dict(data)))):
            # Agents that commit by themselves do so by a command; nobody else tells of it.
            _add(self._done, Said(text=line(f"Commit: {commit[2]}", ENTRY), seqs=[seq]))
        self._problems.called(seq, data)

    def _failed(self, seq: int, data: Mapping[str, Any]) -> None:
        self._problems.failed(seq, data)

    def _planned(self, seq: int, data: Mapping[str, Any]) -> None:
        if not isinstance(todos := data.get("todos"), list):
            return
        found = [todo for todo in todos if isinstance(todo, dict) and text_of(todo.get("content"))]
        self._open, blocked = [], []
        for todo in found:
            text, status = line(text_of(todo["content"]), ENTRY), text_of(todo.get("status")) or "pending"
            if status in ("completed", "done"):
                _add(self._done, Said(text=text, seqs=[seq]))
            elif status == "blocked":
                blocked.append(Said(text=text, seqs=[seq]))
            if status not in _OVER:
                self._open.append(Task(text=text, seqs=[seq], status=status, priority=text_of(todo.get("priority"))))
        self._blocked = [*blocked, *(one for one in self._blocked if "was not permitted" in one.text)]

    def _committed(self, seq: int, data: Mapping[str, Any]) -> None:
        sha, message = text_of(data.get("sha")), text_of(data.get("message"))
        if not sha and not message:
            return
        subject = message.partition("\n")[0]
        _add(self._done, Said(text=line(f"Commit {sha[:12]}: {subject}", ENTRY), seqs=[seq]))
        paths = data.get("paths")
        for path in paths if isinstance(paths, list) else ():
            if isinstance(path, str) and path:
                self._file(seq, path).committed = True

    def _completed(self, seq: int, data: Mapping[str, Any]) -> None:
        task = text_of(data.get("task"))
        self._problems.answered(seq)
        if self._requests:
            self._requests[-1].answered = True
        if not task or is_turn(data):
            return
        words = sentences(self._words.text)[:2] if self._words else []
        said = [line(task, ENTRY // 2), *([line(" ".join(words), ENTRY)] if words else [])]
        _add(self._done, Said(text=": ".join(said), seqs=[*(self._words.seqs if words and self._words else []), seq]))

    def _compacted(self, seq: int, data: Mapping[str, Any]) -> None:
        if not (summary := text_of(data.get("summary"))):
            return
        self._summary = Said(text=clipped(summary, LONG), seqs=[seq])
        found = sections(summary)
        if objective := " ".join(found.get("objective", ())):
            self._objective = Said(text=line(objective, 2 * ENTRY), seqs=[seq])
        for text in found.get("decisions", ()):
            _add(self._decisions, Said(text=line(text, ENTRY), seqs=[seq]))
        for text in found.get("done", ()):
            _add(self._done, Said(text=line(text, ENTRY), seqs=[seq]))
        for text in found.get("blocked", ()):
            _add(self._blocked, Said(text=line(text, ENTRY), seqs=[seq]))
        if following := " ".join(found.get("next", ())):
            self._next = Said(text=line(following, ENTRY), seqs=[seq])

    # What follows from it

    def _decide(self, seq: int, text: str, who: str = "") -> None:
        for sentence in sentences(text):
            if len(sentence) <= ENTRY and _DECIDES.search(sentence):
                _add(self._decisions, Said(text=line(who + sentence, ENTRY), seqs=[seq]))

    def _file(self, seq: int, path: str) -> FileChange:
        file = self._files.setdefault(path, FileChange(text=path))
        file.seen(seq)
        return file

    def _what_next(self, unresolved: Iterable[Said]) -> Said | None:
        """What to do next: as the agent's own summary or its last words say; else what of the list it works on, or
        what the user waits for."""
        request = self._requests[-1] if self._requests else None
        if request and not request.answered:
            active = next((task for task in self._open if task.status == "in_progress"), None)
            if active:
                return Said(text=active.text, seqs=active.seqs)
            return Said(text=f"Go on with the request: {line(request.text, ENTRY)}", seqs=request.seqs)
        if self._words:
            for sentence in reversed(sentences(self._words.text)):
                if _NEXT.search(sentence):
                    return Said(text=line(sentence, ENTRY), seqs=self._words.seqs)
        if self._next:
            return self._next
        order = {"in_progress": 0, "high": 1, "medium": 2}
        tasks = sorted(self._open, key=lambda task: min(order.get(task.status, 3), order.get(task.priority, 3)))
        if tasks:
            return Said(text=tasks[0].text, seqs=tasks[0].seqs)
        error = next(iter(reversed(list(unresolved))), None)
        return Said(text=f"Look into: {line(error.text, ENTRY)}", seqs=error.seqs) if error else None


def _add(entries: list[Any], entry: Said) -> None:
    """Put an entry last, also if it was there before."""
    entries[:] = [known for known in entries if known.text != entry.text]
    entries.append(entry)


def _what(summary: str) -> str:
    """The last change of a file, in one line: what a patch adds or else takes away, or how a new file begins."""
    if not summary.startswith("@@"):
        return line(summary.partition("\n")[0], 120)
    changed = _ADDED.search(summary) or _REMOVED.search(summary)
    return line(f"{changed[1]} {changed[2]}", 120) if changed else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


_NOTED: dict[str, Callable[[Notes, int, Mapping[str, Any]], None]] = {
    "session.start": Notes._started,
    "chat.start": Notes._chat_started,
    "chat.message": Notes._message,
    "user.request": Notes._requested,
    "file.write": Notes._wrote,
    "tool.call": Notes._called,
    "error": Notes._failed,
    "todo.updated": Notes._planned,
    "vcs.commit": Notes._committed,
    "completion": Notes._completed,
    "session.compacted": Notes._compacted,
}
#: Types of event that notes are taken of.
TYPES = frozenset(_NOTED)
#: Of these, those that alone are no reason for a checkpoint.
FRAME = frozenset({"session.start", "session.compacted"})
