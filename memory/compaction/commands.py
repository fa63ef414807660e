"""Commands that were run: which one a tool call ran, and whether a later success shows that an earlier failure is over.

Whoever claims that a failure is solved must be right, so in doubt it is not: another file's tests, a narrower
selection, or a pipe, whose last program succeeds whatever the first did, prove nothing.
"""

from __future__ import annotations

import re

from memory.compaction.words import text_of

_WORD = re.compile(r"[^\s\"'();|&`]+")
_STATEMENT = re.compile(r";|&&|\n")
#: Programs that run all there is below a folder.
_RUNNERS = frozenset(
    {"pytest", "unittest", "tox", "nox", "ruff", "mypy", "pyright", "jest", "vitest", "mocha", "eslint", "tsc", "biome"}
    | {"npm", "pnpm", "yarn", "bun", "deno", "go", "cargo", "phpunit", "rspec", "gradle", "mvn", "dotnet", "ctest"}
)
#: Words that change nothing of what is run.
_NEUTRAL = frozenset({"run", "python", "python3", "uv", "poetry", "npx", "env", "time", "sudo", "exec"})
#: Options that run only a part of what the command would run without them.
_SELECTS = frozenset(
    {"-k", "-t", "-g", "-m", "-run", "--run", "--grep", "--filter", "--only", "--select", "--deselect", "--ignore"}
    | {"--testNamePattern", "--test", "--lf", "--last-failed", "--collect-only", "--version", "--help", "--dry-run"}
)
#: What makes a command succeed whatever became of its first part.
_HIDES = re.compile(r"\|\||(?<!\|)\|(?!\|)|;\s*(?:true|exit 0|:)\b|\bset \+e\b")


def command_of(data: dict[str, object]) -> str:
    """The command that a `tool.call` ran: `data.command`, or the line of its summary that begins with `$ `; else ""."""
    if command := text_of(data.get("command")):
        return command
    for found in text_of(data.get("summary")).splitlines()[:3]:
        if found.startswith("$ "):
            return found[2:].strip()
    return ""


def covers(success: str, failure: str) -> bool:
    """Whether `success`, a command that succeeded, ran all of what `failure`, one that had failed, ran."""
    if " ".join(success.split()) == " ".join(failure.split()):
        return True
    if _HIDES.search(success) and not _HIDES.search(failure):
        return False
    ran = [_WORD.findall(part) for part in _STATEMENT.split(success)]
    failed = [_WORD.findall(part) for part in _STATEMENT.split(failure)]
    return all(any(_covers(done, part) for done in ran) for part in failed if part)


def _covers(ran: list[str], failed: list[str]) -> bool:
    """The same of one statement, given as words."""
    if (_options(ran) & _SELECTS) - _options(failed):
        return False
    failed_verbs, failed_paths = _split(failed)
    verbs, paths = _split(ran)
    # `tests`, where `tests/a.py` had failed, is a folder.
    folders = {verb for verb in verbs - failed_verbs if any(path.startswith(f"{verb}/") for path in failed_paths)}
    verbs, paths = verbs - folders, paths | folders
    if verbs != failed_verbs:
        return False
    if failed_paths <= paths and (failed_paths or not paths):
        return True
    if not verbs & _RUNNERS or not failed_paths:
        return False
    # Files that it did not name it ran all the same, if it named a folder above them or none at all.
    missing = failed_paths - paths
    return not paths or all(any(path.startswith((f"{above}/", f"{above}::")) for above in paths) for path in missing)


def _split(words: list[str]) -> tuple[set[str], set[str]]:
    """What is run, and what with: words without options, and paths."""
    plain = {word for word in words if not word.startswith("-")}
    paths = {word for word in plain if _is_path(word)}
    return plain - paths - _NEUTRAL, {path.removeprefix("./").rstrip("/") or path for path in paths}


def _options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("-")}


def _is_path(word: str) -> bool:
    return "/" in word or "::" in word or bool(re.search(r"\w\.\w", word))
