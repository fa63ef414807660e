"""Git repositories for tests, made by git itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Nothing of the machine's own configuration; times that don't change.
_ENVIRON = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_COMMITTER_DATE": "2026-11-21T10:00:00Z",
    "GIT_AUTHOR_DATE": "2026-11-21T10:00:00Z",
}


def git(folder: Path, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> str:
    """Run git in a folder; what it printed."""
    command = ["git", "-C", str(folder), *arguments]
    ran = subprocess.run(
        command, input=stdin, env={**os.environ, **_ENVIRON, **(environ or {})}, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode(errors="replace").strip()


def repository(folder: Path) -> Path:
    """A repository without commits."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    return folder


def commit(folder: Path, message: str, files: dict[str, str], **environ: str) -> str:
    """Write these files and commit them; the commit's sha."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "-A")
    options = ("-q", "--allow-empty", "--allow-empty-message", "--cleanup=verbatim", "-m", message)
    git(folder, "commit", *options, environ=environ)
    return git(folder, "rev-parse", "HEAD")
