"""Loading plugins: what is installed, and what configuration names.

Sources, in the order in which their hooks are registered:

1. installed packages, by the names of their entry points in the group `memlane.plugins`
2. the user's `config.json` in the home
3. the project's `opencode.json`
4. the project's `.memlane.json`

A file names plugins as `{"memory": {"plugins": [{"module": "my_plugin", "config": {…}}]}}`; comments and trailing
commas are allowed. A module named again keeps its place, and its later configuration counts.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from memory.hook_event import kind_of
from memory.plugin_adapter import MemoryPluginAdapter, MemoryPluginHook

#: Group of the entry points of installed plugins.
GROUP = "memlane.plugins"
#: The file in which OpenCode is configured.
OPENCODE = "opencode.json"
#: What a module must offer one of.
OFFERS = "register_plugin(adapter, config) or create_plugin(config)"

_COMMENT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|,(?=\s*[}\]])', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one plugin."""

    #: As it was named; "" where a configuration file as a whole can't be understood.
    module: str
    #: "entry point NAME", or the path of the configuration file: where its configuration comes from.
    source: str
    #: Names of its hooks.
    hooks: tuple[str, ...]
    #: Why it was skipped: its file, and what is wrong.
    error: str = ""
    #: Names of the hooks in whose place another plugin has put its own.
    replaced: tuple[str, ...] = ()
    #: Whether workers load it, too.
    in_workers: bool = True

    def problem(self) -> str:
        """What there is to say of it: that it was skipped and why, or which of its hooks don't run. Else empty."""
        if self.error:
            # A message of the file's own, or of the module's, names that file already.
            what = f"{self.module}, named by {self.source}," if self.module else self.source
            return f"{what} was skipped: {self.error.removeprefix(f'{self.source}: ')}"
        if self.replaced:
            return f"{self.module}: another plugin's hooks replace {', '.join(self.replaced)}: give them other names"
        return ""


class PluginInvalid(Exception):
    """A plugin is not what it should be; the message says what it should be."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A plugin as a source names it. `file` is where its code is, as far as that is known without running any; it tells
    whether two names are one plugin. `folder` is where it is imported from, if it is not on Python's path; `name` is
    what it is imported by, in two parts: a module or package there, and what follows its dot."""

    module: str
    source: str
    config: dict[str, Any] = field(default_factory=dict)
    entry: EntryPoint | None = None
    name: tuple[str, str] = ("", "")
    folder: Path | None = None
    file: Path | None = None
    error: str = ""
    in_workers: bool = True

    def is_of(self, other: _Named) -> bool:
        """Whether both name the same module."""
        if self.error or other.error:
            return False
        if self.file and other.file:
            return self.file == other.file
        return _module(self.module) == _module(other.module)


def load(adapter: MemoryPluginAdapter, *, home: Path, project_root: Path | None = None) -> list[Loaded]:
    """Load all plugins and have them register their hooks.

    One that fails, in whatever way, is skipped, and nothing that it registered stays.

    Args:
        home: holds the user's config.json.
        project_root: holds opencode.json and .memlane.json. None: only what is installed and what the user's
            config.json names — in a worker, which must not run code that a project brings along.

    Returns:
        What became of each plugin, in the order in which they were loaded.
    """
    own = [] if project_root is None else [project_root / OPENCODE, project_root / ".memlane.json"]
    configured = list(_configured(home / "config.json"))
    configured += [replace(named, in_workers=False) for file in own for named in _configured(file)]
    plugins = _installed()
    for named in configured:
        again = [place for place, known in enumerate(plugins) if named.is_of(known)]
        for place in again:
            # How it is found stays: an entry point may name a callable.
            plugins[place] = replace(plugins[place], module=named.module, source=named.source, config=named.config)
        if not again:
            plugins.append(named)
    found = [_loaded(adapter, named) for named in plugins]
    last = {id(hook) for _, hook in _hooks(adapter)}
    return [
        replace(
            one,
            hooks=tuple(name for name, hook in registered if id(hook) in last),
            replaced=tuple(name for name, hook in registered if id(hook) not in last),
        )
        for one, registered in found
    ]


def _loaded(adapter: MemoryPluginAdapter, named: _Named) -> tuple[Loaded, list[tuple[str, MemoryPluginHook]]]:
    """What became of a plugin, and the hooks that it has registered."""
    if named.error:
        return Loaded(named.module, named.source, (), named.error, in_workers=named.in_workers), []
    before = {id(hook) for _, hook in _hooks(adapter)}
    try:
        with adapter.all_or_nothing():
            _register(adapter, _found(named), named.config)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit and others too: a plugin may end neither the agent nor a worker.
        error_text = _explained(error, named.file)
        return Loaded(named.module, named.source, (), error_text, in_workers=named.in_workers), []
    loaded = Loaded(named.module, named.source, (), in_workers=named.in_workers)
    return loaded, [one for one in _hooks(adapter) if id(one[1]) not in before]


def _hooks(adapter: MemoryPluginAdapter) -> Iterator[tuple[str, MemoryPluginHook]]:
    for event, names in adapter.list_registered_hooks().items():
        yield from zip(names, adapter.hooks(event), strict=True)


def _register(adapter: MemoryPluginAdapter, found: Any, config: dict[str, Any]) -> None:
    """Have a module, or the callable of an entry point, register its hooks.

    Raises:
        PluginInvalid: it offers nothing that would.
    """
    register = getattr(found, "register_plugin", None) if isinstance(found, ModuleType) else found
    create = getattr(found, "create_plugin", None)
    if callable(register):
        _plain(register(adapter, config), "register_plugin")
    elif callable(create):
        hooks = _plain(create(config), "create_plugin")
        if not isinstance(hooks, Iterable):
            raise PluginInvalid(f"create_plugin must return a list of hooks, not {kind_of(hooks)}")
        for hook in hooks:
            adapter.register_hook(hook)
    else:
        raise PluginInvalid(f"must offer {OFFERS}")


def _plain(returned: Any, name: str) -> Any:
    if inspect.iscoroutine(returned):
        returned.close()
        raise PluginInvalid(f"{name} must be a plain function, not a coroutine function")
    return returned


def _found(named: _Named) -> Any:
    """The module, imported, or what the entry point names."""
    if named.entry is not None:
        return named.entry.load()
    if named.folder is None:
        return importlib.import_module(".".join(part for part in named.name if part))
    return _imported(named.folder, *named.name)


def _imported(folder: Path, top: str, rest: str) -> ModuleType:
    """Import a module of a folder that is not on Python's path.

    Its own name may mean another module already, such as a plugin.py of another folder. So it gets one that says where
    it is from. What it imports of its folder is found behind all that is installed.
    """
    package = folder / top / "__init__.py"
    start = package if package.is_file() else folder / f"{top}.py"
    alias = f"{top.replace('.', '_')}@{hashlib.sha256(str(start).encode()).hexdigest()[:8]}"
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        if alias not in sys.modules:
            _execute(alias, start, [str(package.parent)] if start == package else None)
        return importlib.import_module(f"{alias}.{rest}" if rest else alias)
    except BaseException:
        # So that it can be loaded again when it is mended.
        for known in [known for known in sys.modules if known == alias or known.startswith(f"{alias}.")]:
            del sys.modules[known]
        raise


def _execute(alias: str, start: Path, inside: list[str] | None) -> None:
    """Import a file under a name; `inside` are the folders of a package's modules."""
    spec = importlib.util.spec_from_file_location(alias, start, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise PluginInvalid(f"{start} can't be imported: it must be a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)


def _installed() -> list[_Named]:
    entries = sorted(set(entry_points(group=GROUP)), key=lambda entry: (entry.name, entry.value))
    return [
        _Named(entry.value, f"entry point {entry.name}", entry=entry, file=_origin(_module(entry.value)))
        for entry in entries
    ]


def _configured(file: Path) -> Iterator[_Named]:
    """The plugins that a configuration file names, and what in it can't be understood."""
    source = str(file)
    try:
        found = json.loads(without_comments(file.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        return
    except OSError as error:
        yield _Named("", source, error=f"{file}: can't be read: {error.strerror}")
        return
    except (ValueError, RecursionError) as error:
        yield _Named("", source, error=f"{file}: can't be read as JSON: {error}")
        return
    for where, name in (("the file", "memory"), ("memory", "plugins")):
        if not isinstance(found, dict):
            yield _Named("", source, error=f"{file}: {where} must be an object, not {kind_of(found)}")
            return
        if found.get(name) is None:
            if instead := _misspelt(file, name, found):
                yield _Named("", source, error=f'{file}: {where} has {instead}: plugins are named by "memory.plugins"')
            return
        found = found[name]
    if not isinstance(found, list):
        yield _Named("", source, error=f"{file}: memory.plugins must be a list, not {kind_of(found)}")
        return
    for number, entry in enumerate(found):
        yield _entry(file, f"{file}: memory.plugins[{number}]", entry)


def _misspelt(file: Path, name: str, found: dict[str, Any]) -> str:
    """The key that was probably meant to be `name`; empty if there is none. OpenCode's own file has keys like these."""
    if name == "memory" and file.name == OPENCODE:
        return ""
    meant = {name, "plugins"}
    return next(
        (json.dumps(key) for key in found if key != name and difflib.get_close_matches(key.lower(), meant, cutoff=0.8)),
        "",
    )


def _entry(file: Path, where: str, entry: Any) -> _Named:
    module = entry.get("module") if isinstance(entry, dict) else None
    if not isinstance(module, str) or not module.strip():
        return _Named("", str(file), error=f'{where} must look like {{"module": "my_plugin", "config": {{}}}}')
    config = entry.get("config") or {}
    if not isinstance(config, dict):
        return _Named(module, str(file), error=f"{where}.config must be an object, not {kind_of(config)}")
    named = _Named(module, str(file), config)
    try:
        return _located(named, file.parent)
    except (OSError, ValueError, RuntimeError) as error:
        return replace(named, error=f"{where}.module: {error}")


def _located(named: _Named, folder: Path) -> _Named:
    """With the file of its module: a path, a dotted name that is found in the folder, or else one that is installed."""
    if _is_path(named.module):
        file = (folder / Path(named.module).expanduser()).resolve()
        if file.suffix != ".py" or not file.is_file():
            return replace(named, error=f"{file}: there is no such .py file")
        start = file.parent if file.stem == "__init__" else file
        return replace(named, name=(start.stem, ""), folder=start.parent, file=file)
    top, _, rest = named.module.partition(".")
    inside = _file(folder, named.module)
    if inside is not None:
        return replace(named, name=(top, rest), folder=folder.resolve(), file=inside)
    return replace(named, name=(top, rest), file=_origin(named.module))


def _module(value: str) -> str:
    """Of what an entry point names, `module` or `module:callable`, the module."""
    return value.partition(":")[0].strip()


def _is_path(module: str) -> bool:
    return module.endswith(".py") or "/" in module or "\\" in module


def _file(folder: Path, module: str) -> Path | None:
    """The file of a dotted name in a folder."""
    if not all(part.isidentifier() for part in module.split(".")):
        return None
    path = folder.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file.resolve()
    return None


def _origin(module: str) -> Path | None:
    """The file of an installed module; None if it is not known. Runs none of its code."""
    top, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if rest:
        found = (_file(Path(place), rest) for place in spec.submodule_search_locations or ())
        return next((file for file in found if file), None)
    return Path(spec.origin).resolve() if spec.has_location and spec.origin else None


def without_comments(text: str) -> str:
    """JSON without the `//` and `/* */` comments and the trailing commas that OpenCode allows in its configuration.
    Lines and columns stay, so that what is said of an error holds."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])

    return _TRAILING_COMMA.sub(blank, _COMMENT.sub(blank, text))


def _explained(error: BaseException, file: Path | None) -> str:
    """The plugin's file, the line of it that failed, the kind of error and its message."""
    try:
        message = str(error)
    except Exception:
        message = ""
    what = message if isinstance(error, PluginInvalid) else f"{type(error).__name__}: {message}".removesuffix(": ")
    if isinstance(error, ModuleNotFoundError):
        what += f" (looked for beside the file that names it, and among what is installed for {sys.executable})"
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{file}:{error.lineno}: SyntaxError: {error.msg}"
    if file is None:
        return what
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f"{file}:{lines[-1]}: {what}" if lines else f"{file}: {what}"
