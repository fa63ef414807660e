"""What OpenCode's tool calls did: the files they wrote, and a summary. Written for 1.18, tolerant of other versions.

A call is the `state` of a part of type `tool`: `{status, input, output, error, metadata, title, time}`. Nothing in it
can be relied upon: tools also come from plugins and MCP servers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

#: Tools that write files.
WRITERS = frozenset({"write", "edit", "multiedit", "patch", "apply_patch"})
#: Tools that run a command.
SHELLS = frozenset({"bash", "shell"})
#: Memlane's own tools: what was asked of memory is not remembered.
OWN = frozenset({"memory", "memory_compact"})

#: Most characters of a text kept from its beginning: content, a patch, an error.
HEAD = 2000
#: Most characters kept of a command, of the end of its output where it failed, and where it didn't.
COMMAND, FAILED_OUTPUT, OUTPUT = 500, 1500, 400

_ABSOLUTE = re.compile(r"^(?:/|\\\\|[A-Za-z]:[\\/])")
_PATCHED = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$", re.MULTILINE)


def writes_of(tool: str, state: dict[str, Any], directory: str) -> Iterator[dict[str, Any]]:
    """Files that a completed call of one of `WRITERS` wrote: data of `file.write` without `tool`, paths absolute.

    Args:
        directory: the session's folder, which relative paths start from.
    """
    given, told = as_dict(state.get("input")), as_dict(state.get("metadata"))
    if tool in ("patch", "apply_patch"):
        yield from _patched(given, told, directory)
        return
    diff = as_dict(told.get("filediff"))
    path = as_text(told.get("filepath")) or as_text(diff.get("file")) or as_text(given.get("filePath"))
    if not path:
        return
    patch = as_text(diff.get("patch")) or as_text(told.get("diff"))
    write = {"path": absolute(path, directory)}
    if patch:
        yield {**write, **_of_patch(patch, diff)}
        return
    content = as_text(given.get("content"))
    # What a file held before it was overwritten isn't told.
    counts = {"additions": len(content.splitlines()), "deletions": 0} if told.get("exists") is False else {}
    yield {**write, **counts, "summary": head(content, HEAD) or None}


def _patched(given: dict[str, Any], told: dict[str, Any], directory: str) -> Iterator[dict[str, Any]]:
    files = [file for file in as_list(told.get("files")) if isinstance(file, dict) and as_text(file.get("filePath"))]
    if not files:
        for path in dict.fromkeys(_PATCHED.findall(as_text(given.get("patchText")))):
            yield {"path": absolute(path, directory)}
    for file in files:
        patch = as_text(file.get("patch")) or as_text(file.get("diff"))
        path, moved = as_text(file.get("filePath")), as_text(file.get("movePath"))
        yield {"path": absolute(moved or path, directory), **_of_patch(patch, file)}
        if moved:
            yield {"path": absolute(path, directory), "summary": "Moved away"}


def _of_patch(patch: str, counts: dict[str, Any]) -> dict[str, Any]:
    """Lines added and deleted, as told or else as counted, and the patch without its header."""
    lines = patch[max(0, patch.find("@@")) :].splitlines()
    added, deleted = counts.get("additions"), counts.get("deletions")
    return {
        "additions": added if isinstance(added, int) else sum(line.startswith("+") for line in lines),
        "deletions": deleted if isinstance(deleted, int) else sum(line.startswith("-") for line in lines),
        "summary": head("\n".join(lines), HEAD) or None,
    }


def summary_of(tool: str, state: dict[str, Any]) -> str:
    """What a call did, in a few lines: enough to answer why a command failed. What was read is left out."""
    if as_text(state.get("status")) == "error":
        return head(as_text(state.get("error")), HEAD)
    given, title = as_dict(state.get("input")), as_text(state.get("title"))
    if tool in SHELLS:
        return _of_command(given, state)
    if tool == "task":
        return "\n".join(filter(None, [head(title, OUTPUT), head(as_text(state.get("output")), HEAD)]))
    if given.get("filePath"):
        # The path says it all, and stands in the event.
        return ""
    return head(title, OUTPUT) or (
        head(json.dumps(given, ensure_ascii=False, separators=(",", ":")), OUTPUT) if given else ""
    )


def _of_command(given: dict[str, Any], state: dict[str, Any]) -> str:
    told = as_dict(state.get("metadata"))
    exit_code = told.get("exit")
    failed = exit_code not in (0, None)
    what = as_text(given.get("description")) or "Command"
    output = as_text(state.get("output")) or as_text(told.get("output"))
    lines = [
        f"{what}: failed with exit code {exit_code}" if failed else what,
        f"$ {head(as_text(given.get('command')), COMMAND)}",
        _tail(output.strip(), FAILED_OUTPUT if failed else OUTPUT),
    ]
    return "\n".join(line for line in lines if line)


def absolute(path: str, directory: str) -> str:
    """The path from the root on, not yet normalised."""
    return path if _ABSOLUTE.match(path) else f"{directory}/{path}"


def head(text: str, limit: int) -> str:
    """The text's first characters, `…` at the end where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _tail(text: str, limit: int) -> str:
    return text if len(text) <= limit else "…" + text[1 - limit :]


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """The value if it is text, else an empty one."""
    return value if isinstance(value, str) else ""
