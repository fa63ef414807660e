"""Plans: the Markdown files that agents keep in a folder of their project. They are read here and now, by name; what
lies outside of the folder is not there, whatever links say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from memory.history.answer import Answer
from memory.history.markdown import Page, counted, one_line, when
from memory.history.operations import Arguments, HistoryError, Operation, Read

#: Largest plan that is read, in bytes.
MOST_BYTES = 256 * 1024
#: Most files that are looked at, and characters of one that is shown.
_MOST_FILES, _WHOLE = 1_000, 32_000


class Plans(Arguments):
    read: Annotated[Read | None, Field(description="name of one plan, to be read whole")] = None


PLANS = Operation("plans", "saved plan files of the project, or one of them", Plans, {"read": "limiter.md"})


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    title: str
    modified: int
    bytes: int


def plans(project: Path, place: Path, read: str | None) -> Answer:
    """The plan files of a project, the one that was changed last first; or one of them whole.

    Args:
        project: root of the project.
        place: the folder of the plans; one that is relative is the project's, and must lie in it.

    Raises:
        HistoryError: there is no such plan, or it can't be read.
    """
    folder = _folder(project, place)
    if read is not None:
        return _one(folder, place, read)
    found = sorted(_all(folder) if folder else (), key=lambda plan: (-plan.modified, plan.name))
    listed = [{"name": p.name, "title": p.title, "modified": p.modified, "bytes": p.bytes} for p in found]
    page = Page(f"Plans in {place}")
    if not found:
        return Answer(page.end("There are none."), {"folder": str(place), "plans": []})
    shown = sum(page.add(f"- `{plan.name}` {one_line(plan.title, 100)} ({when(plan.modified)})") for plan in found)
    left = [f"{counted(len(found) - shown, 'more plan')} have no room here."] * (shown < len(found))
    return Answer(page.end(*left, "read: NAME reads one of them."), {"folder": str(place), "plans": listed})


def _folder(project: Path, place: Path) -> Path | None:
    """The real folder of the plans; None if there is none, or a link leads out of the project."""
    root = Path(os.path.realpath(project))
    folder = Path(os.path.realpath(root / place))
    if not place.is_absolute() and not folder.is_relative_to(root):
        return None
    return folder if folder.is_dir() else None


def _all(folder: Path) -> Iterator[_Plan]:
    seen = 0
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(parent) / name
            if not name.endswith(".md") or (seen := seen + 1) > _MOST_FILES:
                continue
            try:
                text, status = _read(path)
            except OSError:
                continue
            relative = path.relative_to(folder).as_posix()
            yield _Plan(relative, _title(text) or path.stem, status.st_mtime_ns // 1_000_000, status.st_size)


def _one(folder: Path | None, place: Path, name: str) -> Answer:
    missing = HistoryError(f"read: there is no plan {name[:60]!r} in {place}, `plans` without read lists them")
    if folder is None or "\0" in name:
        raise missing
    path = folder / name
    # No part of the way may be a link: it could lead anywhere, and elsewhere a moment later.
    if ".." in path.parts or not path.is_relative_to(folder) or os.path.realpath(path) != str(path):
        raise missing
    if path.suffix != ".md":
        raise missing
    try:
        text, status = _read(path)
    except FileNotFoundError:
        raise missing from None
    except OSError as error:
        raise HistoryError(f"read: plan {name[:60]!r} can't be read: {error.strerror or error}") from None
    data: dict[str, Any] = {
        "name": path.relative_to(folder).as_posix(),
        "title": _title(text) or path.stem,
        "modified": status.st_mtime_ns // 1_000_000,
        "bytes": status.st_size,
        "text": text,
    }
    page = Page(f"Plan {data['name']}", tokens=_WHOLE // 3)
    page.add(text if len(text) <= _WHOLE else text[:_WHOLE] + " …")
    left = [f"{len(text) - _WHOLE:,} characters more are in the file."] * (len(text) > _WHOLE)
    return Answer(page.end(*left), {"folder": str(place), "plans": [data]})


def _read(path: Path) -> tuple[str, os.stat_result]:
    """
    Raises:
        OSError: it is a link, no plain file, too large, or can't be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no plain file")
        if status.st_size > MOST_BYTES:
            raise OSError(f"it has more than {MOST_BYTES:,} bytes")
        return file.read(MOST_BYTES).decode("utf-8", "replace"), status


def _title(text: str) -> str:
    """The first heading."""
    return next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")), "")
