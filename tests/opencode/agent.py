"""OpenCode itself, from npm, in a home of its own, with a scripted model, and nothing of the machine's configuration."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.opencode.model import Model
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "producers" / "opencode"
#: Where the plugin is loaded from.
PLUGIN = (PACKAGE / "src" / "index.ts").as_uri()
#: Seconds that a run may take: many times what it needs on an idle machine.
PATIENCE = 60.0
#: What OpenCode would otherwise do of its own accord.
QUIET = (
    "MODELS_FETCH", "AUTOUPDATE", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "SHARE", "CLAUDE_CODE", "EXTERNAL_SKILLS",
)  # fmt: skip


def binary() -> Path:
    """OpenCode's program for this machine, as `npm ci` put it there."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    found = PACKAGE / "node_modules" / f"opencode-{platform.system().lower()}-{machine}" / "bin" / "opencode"
    if not found.exists():
        raise FileNotFoundError(f"{found} is missing: run `npm ci` in {PACKAGE}")
    return found


@dataclass(frozen=True)
class Ended:
    """An `opencode run` that has ended."""

    code: int
    out: str
    err: str
    seconds: float = 0
    #: Seconds of processor time, of OpenCode and the processes that it started.
    processor: float = 0


@dataclass(frozen=True)
class OpenCode:
    """One user's OpenCode. `folder` holds their home; projects are where the tests put them."""

    folder: Path
    model: Model
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.folder / "data" / "opencode" / "opencode.db"

    def prepare(self) -> None:
        """Make the home. OpenCode finds the package that it would install for plugins, so that it installs nothing."""
        config = self.folder / "config" / "opencode"
        (config / "node_modules").mkdir(parents=True, exist_ok=True)
        lock = {"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}
        (config / "package-lock.json").write_text(json.dumps(lock))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MEMLANE_", "OPENCODE_", "XDG_")) and name != "HOME"
        }
        places = {name: str(self.folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
        return {
            **kept,
            "HOME": str(self.folder),
            **{f"XDG_{name}_HOME": path for name, path in places.items()},
            **{f"OPENCODE_DISABLE_{name}": "1" for name in QUIET},
            "GIT_CONFIG_GLOBAL": "/dev/null",
            **self.environ,
            **more,
        }

    def run(
        self, project: Path, *words: str, model: str = "main", options: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> Ended:  # fmt: skip
        """`opencode run` in a project."""
        began, used = time.monotonic(), _used()
        with self.begin(project, *words, model=model, options=options, arguments=arguments) as running:
            try:
                out, err = running.communicate(timeout=PATIENCE)
            except BaseException:
                running.kill()
                raise
        return Ended(running.returncode, out, err, time.monotonic() - began, _used() - used)

    def begin(
        self, project: Path, *words: str, model: str = "main", options: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> subprocess.Popen[str]:  # fmt: skip
        """`opencode run`, whose end the caller waits for."""
        command = [str(binary()), "run", "--model", f"scripted/{model}", *arguments, *words]
        return subprocess.Popen(
            command,
            cwd=project,
            # It goes by PWD rather than by its working folder.
            env=self.environment(PWD=str(project), **(options or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self) -> str:
        """All that OpenCode wrote into its own log."""
        folder = self.folder / "data" / "opencode" / "log"
        return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))


def _used() -> float:
    """Seconds of processor time that this process's children, which have ended, took."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def configuration(
    model: Model, names: tuple[str, ...] = ("main",), plugin: list[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """An opencode.json whose provider is the scripted model server."""
    limit = more.pop("limit", {"context": 200_000, "output": 8_000})
    return {
        "$schema": "https://opencode.ai/config.json",
        "share": "disabled",
        "autoupdate": False,
        "snapshot": False,
        "permission": "allow",
        "enabled_providers": ["scripted"],
        "model": "scripted/main",
        "small_model": "scripted/title",
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": model.url, "apiKey": "scripted"},
                "models": {name: {"limit": limit} for name in (*names, "title", "compaction")},
            }
        },
        "agent": {"compaction": {"model": "scripted/compaction"}, "title": {"model": "scripted/title"}},
        "plugin": plugin or [],
        **more,
    }


def project_at(folder: Path, config: dict[str, Any]) -> Path:
    """A git repository with this opencode.json."""
    folder.mkdir(parents=True)
    (folder / "opencode.json").write_text(json.dumps(config, indent=2))
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "PATH": os.environ["PATH"]}
    named = ["-c", "user.name=Dev", "-c", "user.email=dev@example.org"]
    for command in (["init", "-q"], ["add", "."], [*named, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, env=quiet, check=True)
    return folder


@dataclass(frozen=True)
class Served:
    """A running `opencode serve`, in which sessions of one project are talked to."""

    url: str
    project: Path

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask OpenCode's API; the answer's JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "x-opencode-directory": str(self.project)}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            raw = answer.read()
        return json.loads(raw) if raw else None

    def session(self) -> str:
        """Begin a session; its id."""
        found: str = self.request("POST", "/session", {})["id"]
        return found

    def say(self, session: str, text: str, model: str = "main") -> dict[str, Any]:
        """Say something, and wait until the turn has ended; the assistant's last message."""
        parts = [{"type": "text", "text": text}]
        body = {"model": {"providerID": "scripted", "modelID": model}, "parts": parts}
        answer: dict[str, Any] = self.request("POST", f"/session/{session}/message", body)
        return answer

    def messages(self, session: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", f"/session/{session}/message")
        return found

    def compact(self, session: str) -> None:
        """As a user does by /compact."""
        self.request("POST", f"/session/{session}/summarize", {"providerID": "scripted", "modelID": "main"})

    def delete(self, session: str) -> None:
        self.request("DELETE", f"/session/{session}")


@contextmanager
def served(opencode: OpenCode, project: Path) -> Iterator[Served]:
    """Run `opencode serve` as long as the block lasts."""
    command = [str(binary()), "serve", "--port", "0", "--hostname", "127.0.0.1"]
    log = opencode.folder / "serve.log"
    with log.open("wb") as output:
        environ = opencode.environment(PWD=str(project))
        running = subprocess.Popen(command, cwd=project, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: b"listening on" in log.read_bytes() or running.poll() is not None, "OpenCode", PATIENCE)
        found = re.search(r"listening on (http://\S+)", log.read_text())
        assert found, log.read_text()
        yield Served(found[1], project)
    finally:
        running.terminate()
        running.wait(PATIENCE)
