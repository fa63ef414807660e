"""What the rows of Claude Code's transcripts say, as events. Pure: rows in, fields of events out.

Native ids, each of which a hook of Claude Code knows too, or which stand in the row:

    session.start      session id
    chat.message       uuid of the row
    file.write         id of the tool's use (`toolu_…`), status
    tool.call          id of the tool's use, status (`completed` or `error`)
    error              of a tool: id of its use; of the model: uuid of the row
    todo.updated       id of the use of TodoWrite
    session.compacted  uuid of the row that holds the summary
    completion         uuid of the assistant's row that ends the turn; `turn` says that it is no more than that

A subagent is a session of its own, `agent-ID`, whose parent is the session that started it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from memory.events import native_id
from producers.opencode_tools import HEAD, OUTPUT, absolute, as_dict, as_list, as_text, head

SOURCE = "claude-code"
#: Who answers: transcripts know no names of agents.
AGENT, SUBAGENT = "claude", "subagent"
#: Tools that write a file.
WRITERS = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit"})
#: Longest title of a session, and task of a completion, in characters.
TITLE, TASK = 200, 500

_COMMAND = re.compile(r"<command-name>(.*?)</command-name>", re.DOTALL)
_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.DOTALL)
_SHELL = re.compile(r"<bash-input>(.*?)</bash-input>", re.DOTALL)
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
#: What Claude Code itself puts where the user's words stand.
_NOT_SAID = ("<local-command-", "<bash-stdout>", "<bash-stderr>", "[Request interrupted by user", "<task-notification>")
_REFUSED = ("The user doesn't want to", "[Request interrupted by user")
_EXIT = re.compile(r"(?:Error: )?Exit code (\d{1,9})")
_ERROR_TAG = re.compile(r"</?tool_use_error>")


class Row:
    """A row. Nothing in it can be relied upon."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.type = as_text(fields.get("type"))
        self.uuid = as_text(fields.get("uuid"))
        self.cwd = "" if "\0" in as_text(fields.get("cwd")) else as_text(fields.get("cwd"))
        self.message = as_dict(fields.get("message"))
        own, agent = as_text(fields.get("sessionId"))[:200], as_text(fields.get("agentId"))[:200]
        subagent = bool(agent) and fields.get("isSidechain") is True
        #: Its session, and the one that this is a subagent of.
        self.session, self.parent = (f"agent-{agent}", own) if subagent and own else (own, "")
        self.sidechain = fields.get("isSidechain") is True
        self.time = _time(fields.get("timestamp"))

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Blocks of the message; a bare text is one."""
        content = self.message.get("content")
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        return [block for block in as_list(content) if isinstance(block, dict)]

    @property
    def text(self) -> str:
        """What the message's text blocks say."""
        found = (_REMINDER.sub("", as_text(block.get("text"))).strip() for block in self.blocks if _is(block, "text"))
        return "\n\n".join(text for text in found if text)


@dataclass(slots=True)
class Conversation:
    """Reads one session's rows, in their order, and knows what later ones refer to."""

    session: str
    group: str
    directory: str
    project: str
    parent: str
    started: bool = False
    #: The latest request and when it was made, and the tokens used since.
    request: str = ""
    asked: datetime | None = None
    used: int = 0
    #: Answers whose tokens were counted: each of their blocks is a row, and repeats them.
    counted: set[str] = field(default_factory=set)
    #: Uses of tools whose results are to come: name, input and time, by id.
    uses: dict[str, tuple[str, dict[str, Any], datetime]] = field(default_factory=dict)
    #: What a compaction tells of itself, before its summary comes.
    compaction: dict[str, Any] = field(default_factory=dict)

    def read(self, row: Row) -> Iterator[dict[str, Any]]:
        """Fields of the events of one row."""
        if row.time is None:
            return
        if row.type == "system" and row.fields.get("subtype") == "compact_boundary":
            self.compaction = as_dict(row.fields.get("compactMetadata"))
        elif row.type == "user" and row.fields.get("isMeta") is not True:
            yield from self._asked(row, row.time)
        elif row.type == "assistant":
            yield from self._answered(row, row.time)

    def _asked(self, row: Row, time: datetime) -> Iterator[dict[str, Any]]:
        for block in row.blocks:
            if _is(block, "tool_result"):
                yield from self._called(row, block, time)
        if row.fields.get("isCompactSummary") is True:
            yield from self._event(row, "session.compacted", row.uuid, self._compacted(row))
            self.compaction = {}
        elif text := _said(row.text):
            if not row.sidechain:
                self.request, self.asked, self.used = text, time, 0
            # What a subagent is asked for, it is asked by an agent.
            role = "user" if not row.sidechain else "assistant"
            yield from self._event(row, "chat.message", row.uuid, {"role": role, "text": text, "message": row.uuid})

    def _answered(self, row: Row, time: datetime) -> Iterator[dict[str, Any]]:
        tokens = _tokens(row.message.get("usage"))
        answer = as_text(row.message.get("id"))
        if tokens and answer not in self.counted:
            self.counted.add(answer)
            self.used += tokens
        for block in row.blocks:
            if _is(block, "tool_use") and as_text(block.get("id")):
                use = as_text(block.get("name")) or "tool", as_dict(block.get("input")), time
                self.uses[as_text(block.get("id"))] = use
        text = row.text
        if row.fields.get("isApiErrorMessage") is True:
            data = {"message": head(text, HEAD) or "API error", "name": "APIError", "severity": "high"}
            yield from self._event(row, "error", row.uuid, data)
            return
        if row.message.get("model") == "<synthetic>":
            return
        if text:
            said = {"role": "assistant", "text": text, "message": row.uuid, "tokens": tokens or None}
            yield from self._event(row, "chat.message", row.uuid, said)
        if row.message.get("stop_reason") == "end_turn" and not row.sidechain and self.request:
            seconds = max(0.0, (time - self.asked).total_seconds()) if self.asked else None
            done = {"task": head(self.request, TASK), "duration": seconds, "tokens": self.used or None, "turn": True}
            yield from self._event(row, "completion", row.uuid, done)

    def _called(self, row: Row, block: dict[str, Any], time: datetime) -> Iterator[dict[str, Any]]:
        id = as_text(block.get("tool_use_id"))
        if id not in self.uses:
            return
        tool, given, began = self.uses.pop(id)
        failed = block.get("is_error") is True
        status = "error" if failed else "completed"
        result = as_dict(row.fields.get("toolUseResult"))
        output = _ERROR_TAG.sub("", _output(block)).strip()
        file = as_text(given.get("file_path")) or as_text(given.get("notebook_path"))
        path = absolute(file, row.cwd or self.directory) if file else None
        if not failed and tool in WRITERS and path:
            data = {"path": path, "tool": tool, **_written(tool, given, result)}
            yield from self._event(row, "file.write", id, data, status)
        exit_code = _EXIT.match(output) if failed else None
        call = {
            "tool": tool,
            "status": status,
            "duration_ms": max(0, round((time - began).total_seconds() * 1000)),
            "path": path,
            "exit": int(exit_code[1]) if exit_code else None,
            "summary": _summary(tool, given, output, failed) or None,
        }
        yield from self._event(row, "tool.call", id, call, status)
        if failed:
            refused = output.startswith(_REFUSED)
            data = {
                "message": head(output, HEAD) or f"{tool} failed",
                "name": "ToolRefused" if refused else "ToolError",
                # A tool that the user did not allow is the user's wish, no failure.
                "severity": "low" if refused else "high",
                "tool": tool,
                "path": path,
            }
            yield from self._event(row, "error", id, data)
        elif tool == "TodoWrite":
            yield from self._event(row, "todo.updated", id, {"todos": _todos(given.get("todos"))})

    def _compacted(self, row: Row) -> dict[str, Any]:
        trigger = as_text(self.compaction.get("trigger"))
        return {
            "auto": trigger == "auto" if trigger else None,
            "summary": row.text,
            "tokens_before": _whole(self.compaction.get("preTokens")) or None,
            "tokens_after": _whole(self.compaction.get("postTokens")) or None,
        }

    def _event(
        self, row: Row, type: str, native: str, data: dict[str, Any], status: str | None = None
    ) -> Iterator[dict[str, Any]]:
        if not native:
            return
        if not self.started:
            self.started = True
            # A command that the session begins with says nothing of what it is about.
            title = data["text"] if type == "chat.message" and not data["text"].startswith(("/", "! ")) else ""
            start = {"parent": self.parent or None, "title": head(title.partition("\n")[0], TITLE) or None}
            yield self._fields(row, "session.start", self.session, start, None)
        yield self._fields(row, type, native, data, status)

    def _fields(self, row: Row, type: str, native: str, data: dict[str, Any], status: str | None) -> dict[str, Any]:
        return {
            "id": native_id(SOURCE, self.session, type, native, status),
            "source": SOURCE,
            "type": type,
            "time": row.time,
            "group": self.group,
            "session": self.session,
            "agent": SUBAGENT if row.sidechain else AGENT,
            "project": self.project,
            "data": {name: value for name, value in data.items() if value is not None},
        }


def _said(text: str) -> str:
    """What the user said, of what stands where the user's words stand."""
    if command := _COMMAND.search(text):
        given = _ARGUMENTS.search(text)
        return " ".join(filter(None, (command[1].strip(), given[1].strip() if given else "")))
    if shell := _SHELL.search(text):
        return f"! {shell[1].strip()}"
    return "" if text.startswith(_NOT_SAID) else text


def _written(tool: str, given: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Lines added and deleted, and what was written: of the patch if there is one, else of what was given."""
    hunks = [as_list(as_dict(hunk).get("lines")) for hunk in as_list(result.get("structuredPatch"))]
    lines = [line for hunk in hunks for line in hunk if isinstance(line, str)]
    if lines:
        added, deleted = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        return {"additions": added, "deletions": deleted, "summary": head("\n".join(lines), HEAD)}
    edits = [as_dict(edit) for edit in as_list(given.get("edits"))] if tool == "MultiEdit" else [given]
    new = [as_text(edit.get("new_string") or edit.get("new_source") or edit.get("content")) for edit in edits]
    old = [as_text(edit.get("old_string")) for edit in edits]
    written = {"summary": head("\n".join(filter(None, new)), HEAD) or None}
    if tool == "Write" and result.get("type") != "create":
        # What the file held before isn't told.
        return written
    added, deleted = (sum(len(text.splitlines()) for text in texts) for texts in (new, old))
    return {"additions": added, "deletions": deleted, **written}


def _summary(tool: str, given: dict[str, Any], output: str, failed: bool) -> str:
    """What a call did, in a few lines. What was read is left out."""
    if tool == "Bash":
        lines = [as_text(given.get("description")), f"$ {head(as_text(given.get('command')), TASK)}"]
        most = HEAD if failed else OUTPUT
        return "\n".join(filter(None, [*lines, output if len(output) <= most else "…" + output[1 - most :]]))
    if failed:
        return head(output, HEAD)
    if tool in ("Task", "Agent"):
        return "\n".join(filter(None, [as_text(given.get("description")), head(output, HEAD)]))
    if given.get("file_path") or given.get("notebook_path") or tool == "TodoWrite":
        # The path, or the list, says it all, and stands in an event.
        return ""
    return head(json.dumps(given, ensure_ascii=False), OUTPUT) if given else ""


def _output(block: dict[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(as_text(part.get("text")) for part in as_list(content) if isinstance(part, dict))


def _todos(value: Any) -> list[dict[str, str]]:
    return [
        {name: as_text(todo.get(name)) for name in ("content", "status", "priority") if as_text(todo.get(name))}
        for todo in as_list(value)
        if isinstance(todo, dict) and as_text(todo.get("content"))
    ]


def _tokens(usage: Any) -> int:
    """Size of the context, in tokens, that an answer's `usage` tells; 0 if nothing was counted."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    return sum(_whole(as_dict(usage).get(name)) for name in names)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else 0


def _is(block: dict[str, Any], type: str) -> bool:
    return block.get("type") == type


def _time(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
