"""What a git history becomes: every commit once, whatever stands in it, and nothing of it is run."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memory.events import create_encoded
from producers.git_log import MOST_PATHS, GitFailed, Range, Repository, count, id_of, read_commits
from tests.git_repositories import commit, git, repository

IDS = json.loads((Path(__file__).parents[1] / "vectors" / "ids.json").read_text("utf-8"))["ids"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return repository(tmp_path / "shop")


def read(folder: Path, **chosen: Any) -> list[dict[str, Any]]:
    found = Repository.at(folder)
    events = list(read_commits(found, Range(**chosen), group="g"))
    assert len(events) == count(found, Range(**chosen))
    return events


def test_a_commit(shop: Path) -> None:
    sha = commit(shop, "Add a cart\n\nIt holds things.\n", {"src/cart.py": "a", "README": "b"})
    (event,) = read(shop)
    assert event == {
        "id": id_of(sha, "g"),
        "source": "git",
        "type": "vcs.commit",
        "time": datetime(2026, 11, 21, 10, tzinfo=UTC),
        "group": "g",
        "agent": "Ann",
        "user": "ann@example.org",
        "project": str(shop),
        "data": {
            "sha": sha,
            "message": "Add a cart\n\nIt holds things.",
            "author": "Ann",
            "paths": ["README", "src/cart.py"],
        },
    }
    assert create_encoded(event, source="git", group="g")[0].paths == ["README", "src/cart.py"]


def test_id_is_that_of_the_vectors() -> None:
    (vector,) = (vector for vector in IDS if vector["source"] == "git")
    assert id_of(vector["native"], vector["session"]) == vector["id"]
    assert id_of(vector["native"], "other") != vector["id"]


def test_messages_and_paths_of_any_kind(shop: Path) -> None:
    shas = [
        commit(shop, "", {"a": "1"}),
        commit(shop, "no change", {}),
        commit(shop, "\n:100644 100644 0 0 M\tx\ndiff --git a/x b/x\n" + "0" * 40, {"new\nline": "1", " blank ": "1"}),
        commit(shop, "Größe \x01 日本", {"ä/ü.py": "1", "-n": "1", 'quo"te': "1"}, GIT_AUTHOR_NAME="Zoë <b>"),
    ]
    events = read(shop)
    assert [event["data"]["sha"] for event in events] == shas
    assert [event["data"]["message"] for event in events][:2] == ["", "no change"]
    assert events[2]["data"]["message"].endswith("0" * 40)
    assert [event["data"]["paths"] for event in events] == [
        ["a"],
        [],
        [" blank ", "new\nline"],
        ["-n", 'quo"te', "ä/ü.py"],
    ]
    assert events[3]["agent"] == "Zoë b"
    assert events[3]["data"]["message"] == "Größe \x01 日本"


def test_text_in_another_encoding_and_bytes_that_are_no_text(shop: Path) -> None:
    stream = b"""commit refs/heads/main
author \xffn <a@x> 1 +0000
committer C <c@x> 1795255200 +0000
encoding latin1
data 4
\xfcber
M 644 inline bad\xff.txt
data 1
x

"""
    git(shop, "fast-import", "--quiet", stdin=stream)
    (event,) = read(shop)
    assert event["data"]["message"] == "über"
    assert event["data"]["paths"] == ["bad\ufffd.txt"]


def test_rename_deletion_and_merge(shop: Path) -> None:
    commit(shop, "one", {"a": "1\n", "b": "1\n"})
    git(shop, "mv", "a", "c")
    (shop / "b").unlink()
    commit(shop, "two", {})
    git(shop, "checkout", "-q", "-b", "side")
    commit(shop, "side", {"c": "side\n", "s": "1"})
    git(shop, "checkout", "-q", "main")
    commit(shop, "main", {"c": "main\n"})
    subprocess.run(["git", "-C", str(shop), "merge", "-q", "side"], capture_output=True, check=False)  # a conflict
    commit(shop, "merge", {"c": "both\n"})
    git(shop, "checkout", "-q", "-b", "again")
    commit(shop, "more", {"m": "1"})
    git(shop, "checkout", "-q", "main")
    git(shop, "merge", "-q", "--no-ff", "-m", "nothing new", "again")
    paths = {event["data"]["message"]: event["data"]["paths"] for event in read(shop)}
    assert paths == {
        "one": ["a", "b"],
        "two": ["a", "b", "c"],
        "side": ["c", "s"],
        "main": ["c"],
        "merge": ["c"],  # what was settled in it; `s` is of `side`
        "more": ["m"],
        "nothing new": [],
    }


def test_which_commits(shop: Path) -> None:
    for day in range(1, 6):
        date = f"2026-11-0{day}T10:00:00Z"
        commit(shop, str(day), {"a": str(day)}, GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
    git(shop, "branch", "old", "HEAD~3")
    said = [event["data"]["message"] for event in read(shop)]
    assert said == ["1", "2", "3", "4", "5"]
    assert [event["data"]["message"] for event in read(shop, limit=2)] == ["4", "5"]
    assert [event["data"]["message"] for event in read(shop, branch="old")] == ["1", "2"]
    since = datetime(2026, 11, 3, tzinfo=UTC)
    assert [event["data"]["message"] for event in read(shop, since=since)] == ["3", "4", "5"]


def test_huge_commit_is_bounded(shop: Path) -> None:
    files = "".join(f"M 644 :1 dir/file{n:06}\n" for n in range(50_000))
    message = "x" * 3_000_000
    stream = "blob\nmark :1\ndata 1\nx\ncommit refs/heads/main\ncommitter C <c@x> 1795255200 +0000\n"
    stream += f"data {len(message)}\n{message}\n{files}\ncommit refs/heads/main\ncommitter C <c@x> 1795255201 +0000\n"
    stream += "data 5\nafter\nM 644 :1 z\n\n"
    git(shop, "fast-import", "--quiet", stdin=stream.encode())
    huge, after = read(shop)
    assert len(huge["data"]["paths"]) == MOST_PATHS
    assert huge["data"]["more_paths"] == 50_000 - MOST_PATHS
    event, raw = create_encoded(huge, source="git", group="g")
    assert len(raw) < 256 * 1024
    assert set(event.data["clipped"]) == {"message"}
    assert after["data"] == after["data"] | {"message": "after", "paths": ["z"]}


def test_bare_shallow_and_worktree(shop: Path, tmp_path: Path) -> None:
    commit(shop, "one", {"a": "1"})
    commit(shop, "two", {"a": "2"})
    git(shop, "clone", "-q", "--bare", str(shop), str(tmp_path / "bare.git"))
    bare = Repository.at(tmp_path / "bare.git")
    assert (bare.worktree, bare.shallow) == (None, False)
    assert [event["project"] for event in read(tmp_path / "bare.git")] == [None, None]
    git(shop, "clone", "-q", "--depth", "1", f"file://{shop}", str(tmp_path / "shallow"))
    assert Repository.at(tmp_path / "shallow").shallow
    assert len(read(tmp_path / "shallow")) == 1
    git(shop, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "w")
    tree = Repository.at(tmp_path / "tree")
    assert tree.group == Repository.at(shop).group
    assert tree.worktree == tmp_path / "tree"


def test_what_is_no_repository_and_what_is_empty(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="no commit yet"):
        read(shop)
    commit(shop, "one", {})
    with pytest.raises(GitFailed, match="no branch or revision 'gone'"):
        read(shop, branch="gone")
    with pytest.raises(GitFailed, match="no branch or revision '--output=x'"):
        read(shop, branch="--output=x")
    with pytest.raises(GitFailed, match="not a git repository"):
        Repository.at(tmp_path)
    with pytest.raises(GitFailed, match="there is no folder"):
        Repository.at(tmp_path / "gone")


def test_damaged_repository_is_told_of(shop: Path) -> None:
    commit(shop, "one", {"a": "1"})
    sha = commit(shop, "two", {"b": "1"})
    tree = git(shop, "rev-parse", f"{sha}~1^{{tree}}")
    (shop / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(GitFailed, match="git can't read"):
        read(shop)


@pytest.mark.parametrize("where", ["config", "environment"])
def test_nothing_that_a_repository_names_is_run(
    shop: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything in git's configuration that `git log` could be led to run writes a file here."""
    mark = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {mark}\n')
    program.chmod(0o755)
    signed = b"""tree %s
author A <a@x> 1795255200 +0000
committer A <a@x> 1795255200 +0000
gpgsig -----BEGIN PGP SIGNATURE-----
 %s
 -----END PGP SIGNATURE-----

signed
"""
    commit(shop, "one", {"a": "1", ".gitattributes": "* diff=evil filter=evil\n"})
    tree = git(shop, "rev-parse", "HEAD^{tree}").encode()
    sha = git(shop, "hash-object", "-t", "commit", "-w", "--stdin", stdin=signed % (tree, b"abc"))
    git(shop, "update-ref", "refs/heads/main", sha)
    names = {
        "core.fsmonitor": str(program),
        "core.pager": str(program),
        "pager.log": str(program),
        "core.editor": str(program),
        "core.sshCommand": str(program),
        "core.gitProxy": str(program),
        "core.alternateRefsCommand": str(program),
        "core.hooksPath": str(tmp_path),
        "log.showSignature": "true",
        "gpg.program": str(program),
        "gpg.openpgp.program": str(program),
        "diff.external": str(program),
        "diff.evil.command": str(program),
        "diff.evil.textconv": str(program),
        "filter.evil.clean": str(program),
        "filter.evil.smudge": str(program),
        "credential.helper": str(program),
        "alias.log": f"!{program}",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": str(program),
        "protocol.ext.allow": "always",
        "diff.orderFile": "/dev/zero",
        "mailmap.file": "/dev/zero",
    }
    if where == "config":
        for name, value in names.items():
            git(shop, "config", name, value)
    else:
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(names)))
        for n, (name, value) in enumerate(names.items()):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{n}", name)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{n}", value)
        for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH_COMMAND", "GIT_PROXY_COMMAND"):
            monkeypatch.setenv(name, str(program))
        monkeypatch.setenv("GIT_DIR", str(tmp_path))
    (event,) = read(shop)
    assert event["data"]["message"] == "signed"
    # Without a tree it would have to be fetched, by a program that the configuration names.
    (shop / ".git" / "objects" / tree.decode()[:2] / tree.decode()[2:]).unlink()
    with pytest.raises(GitFailed):
        read(shop)
    assert not mark.exists()
