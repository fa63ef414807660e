"""OpenCode's configuration, and Memlane's plugin in it: one entry of the list `plugin`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import producers
from ops.install.jsonc import Item, JsonInvalid, items, with_item, with_value, without_item

#: Name of the plugin as an npm package, and where the Python package has it.
NPM_NAME = "memlane-opencode"
_ENTRY = ("producers", "opencode", "src", "index.ts")
#: Names that OpenCode's configuration may have in a folder, the one that counts more first.
_NAMES = ("opencode.jsonc", "opencode.json")


class ConfigurationUnusable(Exception):
    """OpenCode's configuration can't be read or written. The message says why, and what to write into it by hand."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of a configuration. `backup` is a copy of it as it was, where it was changed."""

    file: Path
    plugin: str
    changed: bool
    backup: Path | None


def plugin_url() -> str:
    """Where OpenCode loads the plugin from: beside this very code."""
    return Path(producers.__path__[0], *_ENTRY[1:]).resolve().as_uri()


def configuration(project: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """OpenCode's configuration of a project, else of the user: the file that is there, else the one to be made."""
    if project is None:
        if named := environ.get("OPENCODE_CONFIG"):
            return Path(named).expanduser()
        home = Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        places = [home / "opencode"]
    else:
        places = [project, project / ".opencode"]
    for place in places:
        for name in _NAMES:
            if (place / name).is_file():
                return place / name
    return places[0] / "opencode.json"


def installed(file: Path) -> str | None:
    """Where a configuration loads the plugin from; None where it does not.

    Raises:
        ConfigurationUnusable
    """
    found = _entry(file, _text(file))
    return _name(found.value) if found else None


def install(file: Path) -> Installed:
    """Have OpenCode load the plugin. Options that stand beside it are kept.

    Raises:
        ConfigurationUnusable
    """
    text, plugin = _text(file), plugin_url()
    found = _entry(file, text)
    if found is None:
        changed = with_item(text, "plugin", plugin)
    elif _name(found.value) in (plugin, NPM_NAME):
        return Installed(file, _name(found.value), changed=False, backup=None)
    else:
        # It was installed from elsewhere, by a Memlane that may be gone.
        options = found.value[1:] if isinstance(found.value, list) else []
        changed = with_value(text, found, [plugin, *options] if options else plugin)
    return Installed(file, plugin, changed=True, backup=_write(file, changed))


def uninstall(file: Path) -> Installed:
    """Have OpenCode load the plugin no more.

    Raises:
        ConfigurationUnusable
    """
    text = _text(file)
    found = _entry(file, text)
    if found is None:
        return Installed(file, plugin_url(), changed=False, backup=None)
    return Installed(file, _name(found.value), True, _write(file, without_item(text, "plugin", found)))


def _entry(file: Path, text: str) -> Item | None:
    try:
        found = items(text, "plugin") or []
    except JsonInvalid as error:
        raise ConfigurationUnusable(
            f'{file} can\'t be understood: {error}; correct it, or write into it: "plugin": ["{plugin_url()}"]'
        ) from None
    return next((item for item in found if _is_ours(_name(item.value))), None)


def _name(value: Any) -> str:
    """Of an entry, `"NAME"` or `["NAME", {options}]`."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else ""


def _is_ours(name: str) -> bool:
    return name.partition("@")[0] == NPM_NAME or name.endswith("/" + "/".join(_ENTRY))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8") or "{}\n"
    except FileNotFoundError:
        return '{\n  "$schema": "https://opencode.ai/config.json"\n}\n'
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigurationUnusable(f"{file} can't be read: {reason}") from None


def _write(file: Path, text: str) -> Path | None:
    """Replace the file at once, whole; what a link leads to, where it is one. Returns the copy of what was there."""
    try:
        file = file.resolve()
        file.parent.mkdir(parents=True, exist_ok=True)
        backup = file.with_name(file.name + ".memlane-backup") if file.exists() else None
        if backup:
            shutil.copy2(file, backup)
        with NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as made:
            made.write(text)
        try:
            if backup:
                shutil.copymode(file, made.name)
            Path(made.name).replace(file)
        except OSError:
            with suppress(OSError):
                Path(made.name).unlink()
            raise
    except OSError as error:
        raise ConfigurationUnusable(f"{file} can't be written: {error.strerror}") from None
    return backup
