"""Settings: the environment over the running stack over the defaults, and no secret shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from memory.settings import NotConfigured, Settings

SECRET = "s3cret-pass"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and nothing else set."""
    for name in [name for name in os.environ if name.startswith("MEMLANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEMLANE_HOME", str(tmp_path))
    return tmp_path


def stack(home: Path, /, **addresses: str) -> None:
    """As a running `memlane up` leaves its addresses."""
    (home / "run").mkdir()
    (home / "run" / "stack.json").write_text(json.dumps(addresses))


def test_without_anything_set_the_ledger_is_in_the_home(home: Path) -> None:
    settings = Settings()

    assert settings.database == f"sqlite:///{home}/ledger.sqlite3"
    assert settings.batch_size == 500
    with pytest.raises(NotConfigured, match="memlane up"):
        _ = settings.valkey
    with pytest.raises(NotConfigured, match="MEMLANE_GRAPH_URL"):
        _ = settings.graph


def test_a_running_stack_names_its_servers(home: Path) -> None:
    stack(home, valkey_url="redis://stack", graph_url="unix:///stack.sock", pid="1")
    settings = Settings()

    assert settings.valkey == "redis://stack"
    assert settings.graph == "unix:///stack.sock"
    assert settings.database == f"sqlite:///{home}/ledger.sqlite3"


def test_a_worker_of_a_running_stack_has_an_address_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(home, valkey_url="redis://operator@stack", worker_url="redis://worker@stack")
    monkeypatch.setenv("MEMLANE_VALKEY_USER", "worker")

    assert Settings().valkey == "redis://worker@stack"
    monkeypatch.setenv("MEMLANE_VALKEY_URL", "redis://environment")
    assert Settings().valkey == "redis://environment"


def test_a_worker_of_a_stack_of_an_earlier_version_takes_the_only_address(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack(home, valkey_url="redis://stack")
    monkeypatch.setenv("MEMLANE_VALKEY_USER", "worker")

    assert Settings().valkey == "redis://stack"


def test_the_environment_comes_before_the_running_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(home, valkey_url="redis://stack", database_url="sqlite:///stack", graph_url="unix:///stack.sock")
    monkeypatch.setenv("MEMLANE_VALKEY_URL", "redis://environment")
    monkeypatch.setenv("MEMLANE_DATABASE_URL", "sqlite:///environment")
    settings = Settings()

    assert settings.valkey == "redis://environment"
    assert settings.database == "sqlite:///environment"
    assert settings.graph == "unix:///stack.sock"


def test_only_addresses_are_taken_from_a_running_stack(home: Path) -> None:
    """Given a stack file with other words in it, I expect none of them to become an option."""
    stack(home, batch_size="7", home="/elsewhere")
    settings = Settings()

    assert settings.batch_size == 500
    assert settings.home == home


@pytest.mark.parametrize("text", ["", "{", "\0"])
def test_a_stack_file_that_is_half_written_is_as_none(home: Path, text: str) -> None:
    (home / "run").mkdir()
    (home / "run" / "stack.json").write_text(text)

    with pytest.raises(NotConfigured):
        _ = Settings().valkey


def test_the_home_may_be_named_from_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEMLANE_HOME", "~/memory")
    (tmp_path / "memory").mkdir()
    stack(tmp_path / "memory", valkey_url="redis://stack")

    assert Settings().home == tmp_path / "memory"
    assert Settings().valkey == "redis://stack"


def test_numbers_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMLANE_BATCH_SIZE", "0")

    with pytest.raises(ValidationError, match="batch_size"):
        Settings()


def test_no_secret_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given addresses with passwords, from the environment and from the stack, I expect none in what may be logged."""
    stack(home, graph_url=f"redis://:{SECRET}@graph")
    monkeypatch.setenv("MEMLANE_VALKEY_URL", f"redis://:{SECRET}@queue")
    monkeypatch.setenv("MEMLANE_DATABASE_URL", f"postgresql://u:{SECRET}@db/memlane")
    settings = Settings()

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET in settings.valkey
    assert SECRET in settings.database
    assert SECRET in settings.graph


def test_no_secret_is_shown_when_another_option_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMLANE_VALKEY_URL", f"redis://:{SECRET}@queue")
    monkeypatch.setenv("MEMLANE_LEASE_SECONDS", SECRET)

    with pytest.raises(ValidationError) as wrong:
        Settings()
    assert SECRET not in str(wrong.value)
