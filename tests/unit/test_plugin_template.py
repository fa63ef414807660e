"""The template for plugins: its own test passes, and once it is installed Memlane finds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Loads what is installed, with a home that configures the template, and says what became of it.
LOAD = """
import json, sys
from pathlib import Path
from memory.plugin_adapter import MemoryPluginAdapter
from memory.plugins import load
adapter = MemoryPluginAdapter()
found = load(adapter, home=Path(sys.argv[1]))
print(json.dumps({
    "loaded": [[one.module, one.source, list(one.hooks), one.error] for one in found],
    "greeting": [hook.greeting for hook in adapter.hooks("session.start")],
}))
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "docs" / "plugin_template", tmp_path / "template"))


def run(folder: Path, *arguments: str, path: Path | None = None) -> str:
    places = [str(place) for place in (path, ROOT) if place]
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_its_own_test_passes(template: Path) -> None:
    assert "3 passed" in run(template, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".")


def test_once_installed_it_is_found(template: Path, tmp_path: Path) -> None:
    """Given the template, installed by pip as a package. If plugins are loaded, I expect its hooks, from its entry point;
    and with a home whose config.json names the module: the same once, with that configuration."""
    installed, home = tmp_path / "installed", tmp_path / "config"
    home.mkdir()
    run(
        template, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--disable-pip-version-check", "--target", str(installed), ".",
    )  # fmt: skip

    found = json.loads(run(tmp_path, "-c", LOAD, str(home), path=installed))
    assert found["loaded"] == [["memlane_greeter", "entry point greeter", ["greeter.hello", "greeter.writes"], ""]]
    assert found["greeting"] == ["Hello"]

    named = {"module": "memlane_greeter", "config": {"greeting": "Salut"}}
    (home / "config.json").write_text(json.dumps({"memory": {"plugins": [named]}}))
    found = json.loads(run(tmp_path, "-c", LOAD, str(home), path=installed))
    assert found["loaded"] == [["memlane_greeter", str(home / "config.json"), ["greeter.hello", "greeter.writes"], ""]]
    assert found["greeting"] == ["Salut"]
