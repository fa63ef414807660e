"""Which shared memory a folder belongs to: the name of its group.

`MEMLANE_GROUP`, else `slug(name)-` and the first 8 hex digits of the SHA-256 of a path: of the repository's common
git directory, so that a repository and all its worktrees share one memory, else of the folder itself. The name is that
of the repository (for `shop/.git` and `shop.git`: `shop`), else of the folder, never that of a worktree.

No `git` is started, since hooks call this: repositories are found as git finds them, by hand. A submodule is a
repository of its own. Only the standard library is used. Vectors for other languages: tests/vectors/groups.json.

Source: https://git-scm.com/docs/gitrepository-layout (`gitdir:` files, `commondir`)
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

#: What a group may be called (Graphiti's rule).
GROUP = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Longest slug, in characters.
SLUG_LIMIT = 48
#: The slug of a name without any letter a to z or digit.
NAMELESS = "project"


class GroupInvalid(ValueError):
    """`MEMLANE_GROUP` is no name of a group. The message says what one looks like."""


def group_of(directory: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Group of a folder.

    Args:
        directory: any folder of the project, existing or not; default: the working folder.

    Raises:
        GroupInvalid: see there.
    """
    if given := environ.get("MEMLANE_GROUP"):
        if not GROUP.fullmatch(given):
            raise GroupInvalid(
                f"MEMLANE_GROUP is {given[:80]!r}: a group is 1 to 64 of the characters A-Z, a-z, 0-9, _ and -"
            )
        return given
    here = os.path.realpath(directory or Path.cwd())
    common = common_git_directory(Path(here))
    return group_of_repository(common) if common else group_of_folder(Path(here))


def group_of_repository(common: PurePath) -> str:
    """Group of the repository with this common git directory, given by its real path."""
    # `.git`, and `.bare` where a bare repository lies among its worktrees, are named by their folder.
    named = common.parent if common.name.startswith(".") else common
    return f"{slug(named.name.removesuffix('.git'))}-{_digest(common)}"


def group_of_folder(folder: PurePath) -> str:
    """Group of a folder outside of git, given by its real path."""
    return f"{slug(folder.name)}-{_digest(folder)}"


def slug(name: str) -> str:
    """Lower case, all but a-z and 0-9 turned into single dashes, none at the ends, at most `SLUG_LIMIT` characters."""
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return found[:SLUG_LIMIT].rstrip("-") or NAMELESS


def common_git_directory(folder: Path) -> Path | None:
    """Real path of the git directory that the folder's repository and its worktrees share; None outside of git.

    A `.git` file that leads nowhere (a worktree whose repository is gone or not mounted) stands for the repository.
    """
    for place in (folder, *folder.parents):
        try:
            git = _git_directory(place)
            if git:
                # A worktree's own git directory names the common one.
                named = _named_directory(git / "commondir")
                return Path(os.path.realpath(named if named and named.is_dir() else git))
        except OSError:
            # A folder that may not be entered holds no repository for this user.
            continue
    return None


def _git_directory(place: Path) -> Path | None:
    """Git directory of the working tree, or of the bare repository, whose top is this very folder."""
    dot = place / ".git"
    if dot.is_file():
        named = _named_directory(dot, "gitdir:")
        return named if named and named.is_dir() else dot
    for path in (dot, place):
        # HEAD may be a link to a branch without commits.
        if os.path.lexists(path / "HEAD") and (path / "objects").is_dir() and (path / "refs").is_dir():
            return path
    return None


def _named_directory(file: Path, prefix: str = "") -> Path | None:
    """The directory that a one-line file names, relative to the file; None if there is no such file or name."""
    try:
        line = os.fsdecode(file.read_bytes()).rstrip("\r\n")
    except OSError:
        return None
    name = line.removeprefix(prefix).strip() if line.startswith(prefix) else ""
    return file.parent / name if name else None


def _digest(path: PurePath) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
