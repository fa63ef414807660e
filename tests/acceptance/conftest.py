"""One running system that the tests of the command line share, each with a group of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import CommandLine, validated
from tests.acceptance.test_up import Up, up


@pytest.fixture(scope="package")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("cli") / "home") as stack:
        validated("up", json.dumps(stack.answer) + "\n")
        yield stack


@pytest.fixture
def memlane(shared_stack: Up, tmp_path: Path, group: str) -> CommandLine:
    """Commands that go to the running system."""
    return CommandLine(shared_stack.home, tmp_path, {"MEMLANE_GROUP": group})
