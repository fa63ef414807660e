"""producers/opencode/Dockerfile without Docker: what it says is checked, and what it makes is made by hand and run.

A folder stands for the image's root. Files are copied into it as COPY says; the commands of RUN are run with its paths,
but for those that install packages, of which the versions are checked; then OpenCode runs in a project as the
documented `docker run` would have it, with the environment that stands there.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.opencode.agent import PACKAGE, ROOT, OpenCode, configuration, project_at
from tests.opencode.model import Model, calls, says

DOCKERFILE = PACKAGE / "Dockerfile"
DOCUMENTED = (ROOT / "docs" / "opencode.md").read_text()
GROUP = "shop"
#: Programs that fetch packages.
INSTALLERS = ("apt-get", "npm", "rm")


def instructions(word: str) -> list[str]:
    """What stands behind a word of the Dockerfile, each time that it is there."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    found = "\n".join(lines).replace("\\\n", "")
    return re.findall(rf"^{word} (.+)$", found, re.MULTILINE)


def ignored(path: Path) -> bool:
    """Whether .dockerignore keeps a file from the builder: the last rule that fits counts."""
    left_out = False
    for rule in (ROOT / ".dockerignore").read_text().splitlines():
        if not rule or rule.startswith("#"):
            continue
        name = rule.removeprefix("!").rstrip("/")
        places = [str(place) for place in (path, *path.parents)]
        if any(fnmatch(place, name) or fnmatch(f"/{place}", f"*/{name.removeprefix('**/')}") for place in places):
            left_out = not rule.startswith("!")
    return left_out


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root."""
    root = tmp_path_factory.mktemp("image")
    (root / "home" / "node").mkdir(parents=True)
    for copied in instructions("COPY"):
        *sources, target = copied.split()
        for source in sources:
            _copy(Path(source), root / target.removeprefix("/"), many=len(sources) > 1)
    for ran in instructions("RUN"):
        for command in ran.split(" && "):
            if shlex.split(command)[0] not in (*INSTALLERS, "cd"):
                subprocess.run(["sh", "-c", _here(command, root)], check=True)
    return root


def _copy(source: Path, target: Path, many: bool) -> None:
    """As COPY does: of a folder its content, of several files each into the folder."""
    files = [source] if (ROOT / source).is_file() else _files(source)
    files = [file for file in files if not ignored(file)]
    assert files, f"{source} is not there, or not sent to the builder"
    for file in files:
        place = target / file.relative_to(source) if file != source else target / file.name if many else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, place)


def _files(folder: Path) -> list[Path]:
    return [path.relative_to(ROOT) for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]


def _here(text: str, root: Path) -> str:
    return re.sub(r"/(?=(?:opt/memlane|home/node)\b)", f"{root}/", text)


def test_it_installs_what_the_plugin_is_tested_with() -> None:
    wanted = json.loads((PACKAGE / "package.json").read_text())["devDependencies"]["opencode-ai"]
    assert instructions("ARG") == [f"OPENCODE_VERSION={wanted}"]
    commands = [command for ran in instructions("RUN") for command in ran.split(" && ")]
    installed = [shlex.split(command)[-1] for command in commands if command.startswith("npm")]
    assert installed == ["opencode-ai@${OPENCODE_VERSION}", "@opencode-ai/plugin@${OPENCODE_VERSION}"]
    # The program by which a container starts is one that the package brings.
    package = json.loads((PACKAGE / "node_modules" / "opencode-ai" / "package.json").read_text())
    (entry,) = instructions("ENTRYPOINT")
    assert json.loads(entry) == [*package["bin"]]


def test_a_container_captures(image: Path, model: Model, tmp_path: Path) -> None:
    """The home, a volume, is the user's alone; the address and the group come by the documented variables."""
    home = image / "home" / "node"
    assert instructions("VOLUME") == ["/home/node/.memlane"]
    assert (home / ".memlane").stat().st_mode & 0o777 == 0o700
    variables = re.findall(r"-e (MEMLANE_\w+)=", DOCUMENTED)
    assert variables == ["MEMLANE_VALKEY_URL", "MEMLANE_GROUP"]
    with servers.queue_server(tmp_path / "queue") as url, redis.Redis.from_url(url) as queue:
        environ = dict(zip(variables, (url, GROUP), strict=True))
        opencode = OpenCode(home, model, environ | {"MEMLANE_PUBLISH_DEADLINE_MS": "10000"})
        # What the image's `npm install` brings is looked for where it puts it.
        opencode = replace(opencode, environ=opencode.environ | {"XDG_CONFIG_HOME": str(home / ".config")})
        lock = {"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}
        (home / ".config" / "opencode" / "node_modules").mkdir()
        (home / ".config" / "opencode" / "package-lock.json").write_text(json.dumps(lock))
        config = configuration(model)
        del config["plugin"]
        project = project_at(tmp_path / "work", config)
        model.script("main", calls("write", filePath=str(project / "cart.py"), content="total = 1\n"), says("Done."))
        ended = opencode.run(project, "Write", "the", "cart")
        assert ended.code == 0, ended
        lane = [json.loads(entry[b"e"]) for _, entry in queue.xrange(f"memlane:lane:{GROUP}")]
    assert "file.write" in {event["type"] for event in lane}
    assert list((home / ".memlane" / "receipts").glob(f"*/{GROUP}"))
