"""A pattern of paths as a user gives it in some folder, held against paths as they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.cache import Glob
from ops.cli.options import stored_glob

PATHS = ["cart.py", "src/cart.py", "src/deep/cart.py", "src/login.py"]


@pytest.mark.parametrize(
    ("glob", "folder", "meant"),
    [
        ("src/*", ".", PATHS[1:]),
        ("src/", "src/deep", PATHS[1:]),
        ("cart.py", "src", PATHS[:3]),
        ("/cart.py", "src", PATHS[:1]),
        ("./cart.py", ".", PATHS[:1]),
        ("./cart.py", "src", PATHS[1:2]),
        ("../src/./login.py", "src/deep", []),
        ("../login.py", "src/deep", PATHS[3:]),
        ("{root}/src/cart.py", "src", PATHS[1:2]),
        ("{root}/cart.py", "src", PATHS[:1]),
        ("{root}/src/deep/", ".", PATHS[2:3]),
        ("{root}", "src", PATHS),
        ("**/deep/**", "src", PATHS[2:3]),
        (".", "src/deep", PATHS[2:3]),
        ("..", "src", PATHS),
        ("../..", "src", []),
    ],
)
def test_where_a_pattern_begins(
    glob: str, folder: str, meant: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    assert Glob(stored_glob(glob.format(root=tmp_path))).matches(PATHS) == meant
