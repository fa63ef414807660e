"""Plan files: those of the project's folder, and nothing else on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memory.history.operations import HistoryError
from ops.history.plans import MOST_BYTES, plans

PLACE = Path(".opencode/plans")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two plans, and a secret beside it."""
    folder = tmp_path / "shop" / PLACE
    (folder / "old").mkdir(parents=True)
    (folder / "limiter.md").write_text("Notes\n## Rate limiter\n- [ ] cap the refill\n")
    (folder / "old" / "cart.md").write_text("no heading")
    (folder / "picture.png").write_bytes(b"x")
    os.utime(folder / "old" / "cart.md", (1_000_000_000, 1_000_000_000))
    (tmp_path / "secret.md").write_text("# secret")
    return tmp_path / "shop"


def test_listed_and_read(project: Path) -> None:
    found = plans(project, PLACE, None)
    listed = [(each["name"], each["title"]) for each in found.data["plans"]]
    assert listed == [("limiter.md", "Rate limiter"), ("old/cart.md", "cart")]
    assert "- `old/cart.md` cart (2001-09-09 01:46)" in found.text
    (one,) = plans(project, PLACE, "limiter.md").data["plans"]
    assert one["text"].endswith("- [ ] cap the refill\n")
    assert plans(project, PLACE, "old/cart.md").data["plans"][0]["text"] == "no heading"
    assert plans(project, project / PLACE, "limiter.md").data["plans"] == [one]
    assert plans(project, Path("docs"), None).data["plans"] == []


@pytest.mark.parametrize(
    "name",
    [
        "gone.md", "picture.png", "old", "", ".", "../../../secret.md", "old/../limiter.md", "/etc/passwd", "a\0b.md",
        "link.md", "linked/secret.md", "./limiter.md/x.md", "x" * 5_000 + ".md",
    ],
)  # fmt: skip
def test_nothing_else_is_read(project: Path, name: str) -> None:
    folder = project / PLACE
    (folder / "link.md").symlink_to(project.parent / "secret.md")
    (folder / "linked").symlink_to(project.parent)
    with pytest.raises(HistoryError, match=r"^read: (there is no plan|plan .* can't be read)"):
        plans(project, PLACE, name)
    assert "secret" not in plans(project, PLACE, None).text


def test_a_folder_that_a_link_leads_out_of_the_project_is_none(project: Path) -> None:
    (project / "outside").symlink_to(project.parent)
    assert plans(project, Path("outside"), None).data["plans"] == []
    assert plans(project, Path(".."), None).data["plans"] == []
    with pytest.raises(HistoryError):
        plans(project, Path("outside"), "secret.md")


def test_what_is_no_plain_file_or_too_large(project: Path) -> None:
    os.mkfifo(project / PLACE / "pipe.md")
    (project / PLACE / "large.md").write_bytes(b"x" * (MOST_BYTES + 1))
    names = [each["name"] for each in plans(project, PLACE, None).data["plans"]]
    assert names == ["limiter.md", "old/cart.md"]
    for name, why in (("pipe.md", "no plain file"), ("large.md", "more than 262,144 bytes")):
        with pytest.raises(HistoryError, match=why):
            plans(project, PLACE, name)
