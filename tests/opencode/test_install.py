"""`memlane install opencode`: the real command, and the real OpenCode that reads what it wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.command import CommandLine
from tests.opencode.agent import PLUGIN, OpenCode, binary
from tests.opencode.model import Model

COMMENTED = """{
  // how I like it
  "autoupdate": false,
  "share": "disabled", /* never */
}
"""


@pytest.fixture
def opencode(model: Model, tmp_path: Path) -> OpenCode:
    found = OpenCode(tmp_path / "opencode", model)
    found.prepare()
    return found


@pytest.fixture
def memlane(opencode: OpenCode, tmp_path: Path) -> CommandLine:
    """Commands in a project, for the user whose OpenCode this is."""
    project = tmp_path / "shop"
    (project / ".git").mkdir(parents=True)
    return CommandLine(tmp_path / "home", project, {"XDG_CONFIG_HOME": str(opencode.folder / "config")})


def test_the_users_configuration(memlane: CommandLine, opencode: OpenCode) -> None:
    """One entry is added, all else stays; OpenCode loads it; again changes nothing; and it can be taken out."""
    file = opencode.folder / "config" / "opencode" / "opencode.jsonc"
    file.write_text(COMMENTED)
    file.chmod(0o640)
    done = memlane("install", "opencode", "--json").json
    assert (done["file"], done["plugin"], done["installed"], done["changed"]) == (str(file), PLUGIN, True, True)
    assert file.read_text() == COMMENTED.replace("{\n", f'{{\n  "plugin": ["{PLUGIN}"],\n', 1)
    assert file.stat().st_mode & 0o777 == 0o640
    assert Path(done["backup"]).read_text() == COMMENTED

    environ = opencode.environment(PWD=str(memlane.folder))
    shown = subprocess.run(
        [str(binary()), "debug", "config"], cwd=memlane.folder, env=environ, capture_output=True, text=True, check=True
    )
    assert json.loads(shown.stdout)["plugin"] == [PLUGIN]

    again = memlane("install", "opencode", "--json").json
    assert (again["changed"], again["backup"], again["installed"]) == (False, None, True)
    # OpenCode itself has added its "$schema" meanwhile.
    before = file.read_text()
    out = memlane("install", "opencode", "--uninstall", "--json").json
    assert (out["changed"], out["installed"]) == (True, False)
    assert file.read_text() == before.replace(f'"{PLUGIN}"', "")


def test_a_projects_configuration(memlane: CommandLine) -> None:
    """Without a file, one is made; a plugin from elsewhere is replaced, with its options."""
    file = memlane.folder / "opencode.json"
    done = memlane("install", "opencode", "--project", "--json").json
    assert (done["file"], done["backup"]) == (str(file), None)
    assert json.loads(file.read_text()) == {"$schema": "https://opencode.ai/config.json", "plugin": [PLUGIN]}

    elsewhere = "file:///old/producers/opencode/src/index.ts"
    file.write_text(json.dumps({"plugin": ["other", [elsewhere, {"group": "shop"}]]}))
    memlane("install", "opencode", "--project")
    assert json.loads(file.read_text()) == {"plugin": ["other", [PLUGIN, {"group": "shop"}]]}


def test_a_configuration_that_can_not_be_understood(memlane: CommandLine) -> None:
    """It is left as it is, and what to do by hand is said."""
    file = memlane.folder / "opencode.json"
    file.write_text('{"plugin": oops}')
    memlane("install", "opencode", "--project").failed("can't be understood", "line 1", PLUGIN)
    assert file.read_text() == '{"plugin": oops}'
