"""Loading plugins: from each source, in order; and what is broken is skipped, whole, with its error."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memory.compaction_engine import CompactionEngine
from memory.plugin_adapter import MemoryPluginAdapter, PluginContext
from memory.plugins import Loaded, load, without_comments

#: A plugin that registers one hook, named by its configuration or by the module.
PLUGIN = """
from memory.plugin_adapter import FunctionBasedHook

def register_plugin(adapter, config):
    name = config.get("name", __name__.partition("@")[0])
    adapter.register_hook(FunctionBasedHook(name, "session.start", lambda context: {"config": config}))
"""


@pytest.fixture(autouse=True)
def _path_and_modules() -> Iterator[None]:
    """What plugins add to Python's path and modules goes again."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def module(folder: Path, name: str, source: str = PLUGIN) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, "utf-8")
    return file


def configuration(file: Path, *plugins: Any) -> Path:
    """A file that names plugins; a text is a module without configuration."""
    entries = [{"module": plugin} if isinstance(plugin, str) else plugin for plugin in plugins]
    file.write_text(json.dumps({"other": True, "memory": {"plugins": entries}}), "utf-8")
    return file


def installed(folder: Path, entries: str, name: str = "theirs") -> None:
    """As pip leaves a package: its metadata in a folder of Python's path."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[memlane.plugins]\n{entries}\n")


def ran(adapter: MemoryPluginAdapter) -> dict[str, Any]:
    """The hooks of a session's start, with the configuration that each was given."""
    results = asyncio.run(adapter.trigger("session.start", PluginContext("s1")))
    return {result.message.partition(":")[0]: result.data.get("config") for result in results}


def test_without_anything_named_nothing_is_loaded(home: Path, project: Path) -> None:
    assert load(MemoryPluginAdapter(), home=home, project_root=project) == []
    assert load(MemoryPluginAdapter(), home=home / "not there") == []


def test_all_sources_in_their_order(home: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given plugins from two entry points, a module and a callable, and from each configuration file. If they are loaded
    for a project, I expect them in order, with their configuration; for a worker, none of the project's."""
    site = tmp_path / "site"
    module(site, "their_module.py")
    module(site, "their_package/__init__.py", PLUGIN.replace("register_plugin", "set_up"))
    installed(site, "zebra = their_module\nant = their_package:set_up")
    monkeypatch.syspath_prepend(str(site))
    module(home, "of_user.py")
    of_user = configuration(home / "config.json", {"module": "of_user", "config": {"a": 1}})
    module(project, "of_opencode.py")
    of_opencode = configuration(project / "opencode.json", "of_opencode")
    module(project, "of_project.py")
    of_project = configuration(project / ".memlane.json", {"module": "of_project", "config": {"name": "mine"}})

    adapter = MemoryPluginAdapter(project_root=project)
    everywhere = [
        Loaded("their_package:set_up", "entry point ant", ("their_package",)),
        Loaded("their_module", "entry point zebra", ("their_module",)),
        Loaded("of_user", str(of_user), ("of_user",)),
    ]
    assert load(adapter, home=home, project_root=project) == [
        *everywhere,
        Loaded("of_opencode", str(of_opencode), ("of_opencode",), in_workers=False),
        Loaded("of_project", str(of_project), ("mine",), in_workers=False),
    ]
    assert list(ran(adapter).items()) == [
        ("their_package", {}),
        ("their_module", {}),
        ("of_user", {"a": 1}),
        ("of_opencode", {}),
        ("mine", {"name": "mine"}),
    ]
    assert load(MemoryPluginAdapter(), home=home) == everywhere


def test_hooks_of_create_plugin_are_registered(home: Path) -> None:
    source = """
from memory.plugin_adapter import FunctionBasedHook

def create_plugin(config):
    return [FunctionBasedHook(name, "session.start", lambda context: {}) for name in config["names"]]
"""
    module(home, "creates.py", source)
    configuration(home / "config.json", {"module": "creates", "config": {"names": ["a", "b"]}})

    assert load(MemoryPluginAdapter(), home=home)[0].hooks == ("a", "b")


@pytest.mark.parametrize("named", ["plugins/mine.py", "./plugins/mine.py", "{folder}/plugins/mine.py", "plugins.mine"])
def test_a_module_is_named_by_its_path_or_by_dots(project: Path, home: Path, named: str) -> None:
    """Given a module in a folder below the configuration file, which is no package. If it is named by its path, I expect
    that it is found; and by dots as well, if the folder is a package."""
    module(project, "plugins/mine.py")
    if "/" not in named:
        module(project, "plugins/__init__.py", "")
    configuration(project / ".memlane.json", named.format(folder=project))

    [one] = load(MemoryPluginAdapter(), home=home, project_root=project)

    assert one.error == ""
    assert len(one.hooks) == 1


def test_a_package_may_import_its_own_modules_and_its_neighbours(project: Path, home: Path) -> None:
    module(project, "helper_beside.py", "NAME = 'helped'")
    module(project, "pack/names.py", "NAME = 'inside'")
    module(
        project,
        "pack/__init__.py",
        "from .names import NAME as inside\nfrom helper_beside import NAME as beside\n"
        + PLUGIN.replace('__name__.partition("@")[0]', 'f"{inside} {beside}"'),
    )
    configuration(project / ".memlane.json", "pack")

    assert load(MemoryPluginAdapter(), home=home, project_root=project)[0].hooks == ("inside helped",)


def test_plugins_of_the_same_name_in_two_folders_are_two(home: Path, project: Path) -> None:
    """Given a plugin.py in the home and another one in the project. I expect both, and that neither hides a module of
    that name elsewhere."""
    for folder, name in ((home, "of home"), (project, "of project")):
        module(folder, "plugin.py", PLUGIN.replace('__name__.partition("@")[0]', repr(name)))
    configuration(home / "config.json", "plugin")
    configuration(project / ".memlane.json", "plugin")

    assert [one.hooks for one in load(MemoryPluginAdapter(), home=home, project_root=project)] == [
        ("of home",),
        ("of project",),
    ]
    assert "plugin" not in sys.modules


def test_a_module_named_again_keeps_its_place_and_gets_the_later_configuration(home: Path, project: Path) -> None:
    """Given a plugin that opencode.json names first, and .memlane.json again, by its path. If they are loaded, I expect
    that it is registered once, before the other, with what .memlane.json says."""
    module(project, "twice.py")
    module(project, "once.py")
    configuration(project / "opencode.json", {"module": "twice", "config": {"n": 1, "old": True}}, "once")
    later = configuration(project / ".memlane.json", {"module": "./twice.py", "config": {"n": 2, "name": "twice"}})
    adapter = MemoryPluginAdapter()

    assert load(adapter, home=home, project_root=project) == [
        Loaded("./twice.py", str(later), ("twice",), in_workers=False),
        Loaded("once", str(project / "opencode.json"), ("once",), in_workers=False),
    ]
    assert ran(adapter) == {"twice": {"n": 2, "name": "twice"}, "once": {}}


@pytest.mark.parametrize(
    ("first", "again"), [("pack.deep", "pack/deep.py"), ("pack/deep.py", "pack.deep"), ("pack", "pack/__init__.py")]
)
def test_a_module_is_known_again_however_it_is_named(project: Path, home: Path, first: str, again: str) -> None:
    module(project, "pack/__init__.py")
    module(project, "pack/deep.py")
    configuration(project / ".memlane.json", first, {"module": again, "config": {"name": "again"}})

    [one] = load(MemoryPluginAdapter(), home=home, project_root=project)

    assert (one.module, one.hooks, one.error) == (again, ("again",), "")


def test_an_installed_module_is_known_again_by_its_path(
    project: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = module(tmp_path / "site", "on_the_path.py")
    monkeypatch.syspath_prepend(str(file.parent))
    configuration(project / ".memlane.json", "on_the_path", {"module": str(file), "config": {"name": "again"}})

    [one] = load(MemoryPluginAdapter(), home=home, project_root=project)

    assert (one.hooks, one.error) == (("again",), "")
    assert "on_the_path" in sys.modules


def test_a_project_s_configuration_is_not_read_without_its_root(home: Path, project: Path) -> None:
    """Given a project whose module would write a file. If plugins are loaded for a worker that stands in it, I expect
    none, and no file."""
    module(project, "evil.py", "from pathlib import Path\nPath(__file__).with_name('ran').touch()")
    configuration(project / ".memlane.json", "evil")
    configuration(project / "opencode.json", "evil")

    assert load(MemoryPluginAdapter(), home=home) == []
    assert not (project / "ran").exists()


def test_an_installed_plugin_gets_the_configuration_that_names_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an entry point that names a callable. If config.json names its module, I expect that the callable is called,
    in its place, with that configuration."""
    site = tmp_path / "site"
    module(site, "callable_one.py", PLUGIN.replace("register_plugin", "set_up"))
    installed(site, "one = callable_one:set_up")
    monkeypatch.syspath_prepend(str(site))
    configuration(home / "config.json", {"module": "callable_one", "config": {"name": "set up"}})

    assert load(MemoryPluginAdapter(), home=home) == [Loaded("callable_one", str(home / "config.json"), ("set up",))]


HALF = """
from pathlib import Path
from memory.compaction_engine import CompactionEngine
from memory.plugin_adapter import FunctionBasedHook

def register_plugin(adapter, config):
    adapter.register_hook(FunctionBasedHook("half", "session.start", lambda context: {}))
    adapter.register_hook(FunctionBasedHook("good", "session.start", lambda context: {}))
    adapter.set_compaction_engine(CompactionEngine(Path("/half")))
    raise RuntimeError("half-way")
"""


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module", ":1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\ny = x.z", ":2: AttributeError: 'int' object has no attribute 'z'"),
        ("def broken(:", ":1: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit('bye')", ":2: SystemExit: bye"),
        ("raise GeneratorExit", ":1: GeneratorExit"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", ":3: E"),
        ("def f(): f()\nf()", ":1: RecursionError: maximum recursion depth exceeded"),
        ("\0", ": SyntaxError: source code string cannot contain null bytes"),
        ("x = 1", ": must offer register_plugin(adapter, config) or create_plugin(config)"),
        ("register_plugin = 3", ": must offer register_plugin(adapter, config) or create_plugin(config)"),
        ("def register_plugin(adapter): pass", ": TypeError: register_plugin() takes 1 positional argument but 2 were"),
        ("async def register_plugin(adapter, config): pass", ": register_plugin must be a plain function, not a corou"),
        ("def create_plugin(config): return None", ": create_plugin must return a list of hooks, not None"),
        ("def create_plugin(config): return [7]", ": TypeError: register_hook takes a MemoryPluginHook, not an int"),
        ("def create_plugin(config):\n    yield\n", ": TypeError: register_hook takes a MemoryPluginHook, not None"),
        (HALF, ":10: RuntimeError: half-way"),
    ],
)
def test_a_broken_module_is_skipped_with_its_error(home: Path, source: str, error: str) -> None:
    """Given a broken plugin between two good ones. If they are loaded, I expect the good ones' hooks and engine as if it
    was not there, and its file and what is wrong."""
    good = PLUGIN.replace("__name__", "'good'")
    module(home, "good.py", good)
    module(home, "last.py")
    broken = module(home, "broken.py", source)
    configuration(home / "config.json", "good", "broken", "last")
    adapter = MemoryPluginAdapter()
    engine = CompactionEngine(home)
    adapter.set_compaction_engine(engine)

    found = load(adapter, home=home)

    assert [(one.module, one.hooks, bool(one.error)) for one in found] == [
        ("good", ("good",), False),
        ("broken", (), True),
        ("last", ("last",), False),
    ]
    assert found[1].error.startswith(f"{broken}{error}")
    assert ran(adapter) == {"good": {}, "last": {}}
    assert adapter.compaction_engine is engine


def test_a_module_that_was_broken_can_be_loaded_once_it_is_mended(home: Path) -> None:
    module(home, "mended.py", "raise ValueError")
    configuration(home / "config.json", "mended")
    assert load(MemoryPluginAdapter(), home=home)[0].error

    module(home, "mended.py")

    assert load(MemoryPluginAdapter(), home=home)[0] == Loaded("mended", str(home / "config.json"), ("mended",))


def test_broken_entry_points_are_skipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    module(site, "entered.py", "register_plugin = None")
    installed(site, "a = entered:missing\nb = gone_module\nc = entered:register_plugin\nd = not/a/name")
    monkeypatch.syspath_prepend(str(site))

    found = load(MemoryPluginAdapter(), home=home)

    assert [(one.source, one.hooks) for one in found] == [(f"entry point {name}", ()) for name in "abcd"]
    assert all(one.error for one in found)


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ("no_such_plugin", "No module named 'no_such_plugin'"),
        ("no/such/plugin.py", "no/such/plugin.py: there is no such .py file"),
        ("plugins", "No module named 'plugins'"),
        ("folder/", "there is no such .py file"),
        ("..", "TypeError"),
        ("a..b", "No module named 'a'"),
        ("nul\0.py", "memory.plugins[0].module: "),
        ("json", "must offer register_plugin(adapter, config)"),
    ],
)
def test_a_module_that_is_not_there_is_named(home: Path, named: str, error: str) -> None:
    configuration(home / "config.json", named)
    (home / "folder").mkdir()

    [one] = load(MemoryPluginAdapter(), home=home)

    assert (one.module, one.hooks) == (named, ())
    assert error in one.error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "can't be read as JSON: Expecting value: line 1"),
        ("{", "can't be read as JSON"),
        ('{"memory": /* never closed', "can't be read as JSON"),
        ("[" * 200_000, "can't be read as JSON"),
        ("7", "the file must be an object, not an int"),
        ('{"memory": []}', "memory must be an object, not a list"),
        ('{"memory": {"plugins": {}}}', "memory.plugins must be a list, not a dict"),
        ('{"memory": {"plugins": ["my_plugin"]}}', 'memory.plugins[0] must look like {"module": "my_plugin", "config"'),
        ('{"memory": {"plugins": [{"module": 7}]}}', "memory.plugins[0] must look like"),
        ('{"memory": {"plugins": [{"module": " "}]}}', "memory.plugins[0] must look like"),
        ('{"memory": {"plugins": [{"module": "a", "config": [1]}]}}', "memory.plugins[0].config must be an object"),
    ],
)
def test_garbage_configuration_is_reported_and_the_rest_goes_on(
    home: Path, project: Path, text: str, error: str
) -> None:
    """Given a config.json that is garbage, and a good .memlane.json. I expect the error, with the file, and the plugin."""
    (home / "config.json").write_text(text, "utf-8")
    module(project, "mine.py")
    configuration(project / ".memlane.json", "mine")

    broken, good = load(MemoryPluginAdapter(), home=home, project_root=project)

    assert (broken.source, broken.hooks) == (str(home / "config.json"), ())
    assert broken.error.startswith(f"{home / 'config.json'}: {error}")
    assert good.hooks == ("mine",)


def test_what_cannot_be_read_is_reported(home: Path) -> None:
    (home / "config.json").write_bytes(b'{"memory": "\xff"}')
    assert "can't be read" in load(MemoryPluginAdapter(), home=home)[0].error
    (home / "config.json").unlink()
    (home / "config.json").mkdir()
    assert "can't be read" in load(MemoryPluginAdapter(), home=home)[0].error


@pytest.mark.parametrize("text", ["{}", '{"memory": null}', '{"memory": {}}', '{"memory": {"plugins": null}}'])
def test_a_configuration_without_plugins_is_none(home: Path, text: str) -> None:
    (home / "config.json").write_text(text)
    assert load(MemoryPluginAdapter(), home=home) == []


def test_opencode_json_may_hold_comments(home: Path, project: Path) -> None:
    """Given an opencode.json as people write them: comments, trailing commas, a byte order mark, and texts that look like
    comments. I expect its plugin, with these texts whole."""
    module(project, "mine.py")
    (project / "opencode.json").write_text(
        """\ufeff{
  "$schema": "https://opencode.ai/config.json", // where it is from
  /* of Memlane:
     { "memory": 7 } */
  "memory": { "plugins": [ { "module": /* here */ "mine", "config": {
    "url": "http://host/*a*/", "regex": "\\\\\\"//,]", "list": [1, 2,], // the last
  }, }, ] },
}
""",
        "utf-8",
    )
    adapter = MemoryPluginAdapter()

    assert load(adapter, home=home, project_root=project)[0].error == ""
    assert ran(adapter) == {"mine": {"url": "http://host/*a*/", "regex": '\\"//,]', "list": [1, 2]}}


def test_what_is_said_of_an_error_behind_a_comment_names_its_line() -> None:
    text = '{ // a comment\n/* and\nanother */ "a": nope }'

    with pytest.raises(json.JSONDecodeError, match="line 3 column 17"):
        json.loads(without_comments(text))


def test_no_part_of_a_configuration_takes_long_to_read() -> None:
    """Given texts that lead regular expressions astray. I expect them as they are, within the test's time."""
    for text in ('"' + "\\" * 200_000, "/*" * 100_000, "," + " " * 20_000, '"\\"' * 100_000):
        without_comments(text)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.json", '{"plugins": []}', 'the file has "plugins"'),
        ("config.json", '{"Memory": {}}', 'the file has "Memory"'),
        ("config.json", '{"memory": {"plugin": []}}', 'memory has "plugin"'),
        ("opencode.json", '{"memory": {"plugin": []}}', 'memory has "plugin"'),
        ("opencode.json", '{"plugin": ["opencode-wakatime"]}', None),
        ("config.json", '{"theme": "dark"}', None),
    ],
)
def test_a_key_that_is_misspelt_is_named(home: Path, file: str, text: str, said: str | None) -> None:
    """OpenCode's own file has a key `plugin` for plugins of its own."""
    (home / file).write_text(text)

    found = [one.problem() for one in load(MemoryPluginAdapter(), home=home, project_root=home)]

    if said is None:
        assert found == []
    else:
        [problem] = found
        assert problem == f'{home / file} was skipped: {said}: plugins are named by "memory.plugins"'
