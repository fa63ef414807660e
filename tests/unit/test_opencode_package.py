"""The OpenCode plugin works wherever it is installed: from the Python package, and from the packed npm package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.typescript import BUN, PACKAGE

ROOT = PACKAGE.parents[1]
SOURCES = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "src").rglob("*.ts")}
PROGRAM = """
import { create } from "%s/src/event.ts";
import { shared } from "%s/src/files.ts";
import plugin from "%s/src/index.ts";
const { event } = create({ type: "x.y", data: { password: "swordfish" } }, { source: "test", group: "shop" });
console.log(JSON.stringify([plugin.id, event.data, shared("lua/publish.lua").includes("XADD")]));
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree as far as packages are made of it: making them leaves files behind."""
    copy = tmp_path / "tree"
    for folder in ("memory", "producers", "workers", "ops"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def works(package: Path, folder: Path) -> None:
    """Check that OpenCode's runtime can use the package in this folder."""
    program = folder / "program.ts"
    program.write_text(PROGRAM.replace("%s", package.as_uri()))
    ran = subprocess.run([BUN, program], cwd=folder, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == ["memlane", {"password": "[redacted:password]"}, True]


def test_the_python_package_holds_the_plugin(tree: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, tree], check=True, capture_output=True)
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), tmp_path / "site", "zip")
    held = tmp_path / "site" / "producers" / "opencode"
    files = {path.relative_to(held).as_posix() for path in held.rglob("*") if path.is_file()}

    assert files >= {*SOURCES, "package.json", "README.md"}
    assert [file for file in files if file.startswith(("node_modules", "test", "scripts"))] == []
    works(held, tmp_path)


def test_the_npm_package_is_whole(tree: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", tmp_path], cwd=tree / "producers" / "opencode", check=True
    )
    shutil.unpack_archive(next(tmp_path.glob("*.tgz")), tmp_path / "project" / "node_modules", filter="data")
    # A project may have a folder of this name, with anything in it.
    (tmp_path / "project" / "memory" / "privacy").mkdir(parents=True)
    (tmp_path / "project" / "memory" / "privacy" / "rules.json").write_text("{}")

    held = tmp_path / "project" / "node_modules" / "package"
    assert {path.relative_to(held).as_posix() for path in (held / "src").rglob("*.ts")} == SOURCES
    assert not (tree / "producers" / "opencode" / "shared").exists()
    assert json.loads((held / "package.json").read_text()).get("dependencies", {}) == {}
    works(held, tmp_path)


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((PACKAGE / "package-lock.json").read_text("utf-8"))

    assert len(lock["packages"]) > 50
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
