"""Groups: the shared vectors, and real repositories with worktrees, submodules and bare ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from producers.group import (
    GROUP,
    GroupInvalid,
    common_git_directory,
    group_of,
    group_of_folder,
    group_of_repository,
    slug,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "groups.json").read_text("utf-8"))
#: No MEMLANE_GROUP.
NOTHING: dict[str, str] = {}


def git(folder: Path, *arguments: str) -> None:
    """Run git, untouched by this machine's configuration."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "dev@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    options = ("-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *options, *arguments], cwd=folder, env=environ, check=True, capture_output=True)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository with a commit and a subfolder."""
    folder = tmp_path / "Shop API"
    (folder / "src" / "cart").mkdir(parents=True)
    git(folder, "init", ".")
    git(folder, "commit", "--allow-empty", "-m", "first")
    return folder


@pytest.mark.parametrize("case", VECTORS["slugs"], ids=lambda case: repr(case["name"]))
def test_slug_vectors(case: dict[str, str]) -> None:
    assert slug(case["name"]) == case["slug"]


@pytest.mark.parametrize("case", VECTORS["groups"], ids=lambda case: case["group"])
def test_group_vectors(case: dict[str, str]) -> None:
    if "git" in case:
        assert group_of_repository(PurePosixPath(case["git"])) == case["group"]
    else:
        assert group_of_folder(PurePosixPath(case["folder"])) == case["group"]
    assert GROUP.fullmatch(case["group"])


@pytest.mark.parametrize("case", VECTORS["given"], ids=lambda case: repr(case["value"]))
def test_a_given_group_is_taken_if_it_is_valid(case: dict[str, Any], tmp_path: Path) -> None:
    environ = {"MEMLANE_GROUP": case["value"]}
    if case["valid"]:
        assert group_of(tmp_path, environ) == case["value"]
    else:
        with pytest.raises(GroupInvalid, match=r"MEMLANE_GROUP .* 1 to 64 of the characters"):
            group_of(tmp_path, environ)


def test_an_empty_group_is_none(tmp_path: Path) -> None:
    assert group_of(tmp_path, {"MEMLANE_GROUP": ""}) == group_of(tmp_path, NOTHING)


def test_all_worktrees_and_subfolders_share_their_repositorys_group(shop: Path, tmp_path: Path) -> None:
    git(shop, "worktree", "add", str(tmp_path / "agents" / "one"))
    git(shop, "worktree", "add", "--detach", str(shop / "nested"))
    group = group_of(shop, NOTHING)

    assert group == group_of_repository(shop / ".git")
    assert group.startswith("shop-api-")
    for folder in (
        shop / "src" / "cart",
        tmp_path / "agents" / "one",
        shop / "nested",
        shop / ".git" / "worktrees" / "one",
    ):
        assert group_of(folder, NOTHING) == group


def test_links_lead_to_the_same_group(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shop)

    assert group_of(tmp_path / "link" / "src", NOTHING) == group_of(shop, NOTHING)


def test_two_repositories_of_one_name_differ(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / shop.name
    other.mkdir(parents=True)
    git(other, "init", ".")

    assert group_of(other, NOTHING) != group_of(shop, NOTHING)
    assert group_of(other, NOTHING).startswith("shop-api-")


def test_a_bare_repository_and_its_worktrees_share_a_group(shop: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--bare", str(shop), "served.git")
    git(tmp_path / "served.git", "worktree", "add", str(tmp_path / "tree"))

    assert group_of(tmp_path / "served.git", NOTHING) == group_of(tmp_path / "tree", NOTHING)
    assert group_of(tmp_path / "served.git" / "hooks", NOTHING).startswith("served-")


def test_a_hidden_bare_repository_is_named_by_its_folder(shop: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--bare", str(shop), "trees/.bare")
    (tmp_path / "trees" / ".git").write_text("gitdir: ./.bare\n")
    git(tmp_path / "trees", "worktree", "add", "feature")

    assert group_of(tmp_path / "trees", NOTHING) == group_of(tmp_path / "trees" / "feature", NOTHING)
    assert group_of(tmp_path / "trees", NOTHING).startswith("trees-")


def test_a_git_directory_elsewhere_names_the_group(tmp_path: Path) -> None:
    (tmp_path / "stores").mkdir()
    git(tmp_path, "init", "--separate-git-dir", str(tmp_path / "stores" / "shop.git"), "work")

    assert group_of(tmp_path / "work", NOTHING) == group_of_repository(tmp_path / "stores" / "shop.git")


def test_a_submodule_is_a_repository_of_its_own(shop: Path, tmp_path: Path) -> None:
    cart = tmp_path / "cart"
    cart.mkdir()
    git(cart, "init", ".")
    git(cart, "commit", "--allow-empty", "-m", "first")
    git(shop, "submodule", "add", str(cart), "libs/cart")
    git(shop / "libs" / "cart", "worktree", "add", str(tmp_path / "cart-tree"))

    group = group_of(shop / "libs" / "cart", NOTHING)
    assert group == group_of_repository(shop / ".git" / "modules" / "libs" / "cart")
    assert group.startswith("cart-")
    assert group_of(tmp_path / "cart-tree", NOTHING) == group
    assert group not in (group_of(shop, NOTHING), group_of(cart, NOTHING))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"gitdir: ", b"gitdir: /nowhere/.git/worktrees/x\n", b"\xff\xfe"]
)
def test_a_git_file_that_leads_nowhere_stands_for_the_repository(shop: Path, content: bytes) -> None:
    lost = shop / "lost"
    (lost / "deep").mkdir(parents=True)
    (lost / ".git").write_bytes(content)

    assert group_of(lost / "deep", NOTHING) == group_of(lost, NOTHING) == group_of_repository(lost / ".git")


def test_an_empty_git_folder_is_no_repository(shop: Path) -> None:
    (shop / "src" / ".git").mkdir()

    assert group_of(shop / "src", NOTHING) == group_of(shop, NOTHING)


def test_without_git_the_folder_itself_counts(tmp_path: Path) -> None:
    assert common_git_directory(tmp_path) is None
    assert group_of(tmp_path / "notes", NOTHING) == group_of_folder(tmp_path / "notes")
    (tmp_path / "notes").mkdir()
    assert group_of(tmp_path / "notes", NOTHING) == group_of_folder(tmp_path / "notes")


def test_the_working_folder_is_the_default(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop / "src")

    assert group_of(environ=NOTHING) == group_of(Path(), NOTHING) == group_of(shop, NOTHING)


def test_only_the_standard_library_is_imported() -> None:
    # By its path, since the package's __init__ imports the publisher.
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'__main__'}))"
    )
    source = Path(__file__).parents[2] / "producers" / "group.py"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, source], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == ""
