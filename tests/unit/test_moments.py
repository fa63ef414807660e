"""Times as they are given on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ops.cli.options import TimeInvalid, moment

DAY = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("given", ["2026-11-22", "20261122", "2026-W47-7"])
def test_a_date_alone_is_the_whole_day(given: str) -> None:
    assert moment(given, "--since") == DAY
    assert moment(given, "--until", end=True) == DAY + timedelta(days=1, milliseconds=-1)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-11-22T00:00", DAY),
        ("2026-11-22 10:30Z", DAY + timedelta(hours=10, minutes=30)),
        ("2026-11-22T10:00+02:00", DAY + timedelta(hours=8)),
    ],
)
def test_a_time_is_that_moment(given: str, meant: datetime) -> None:
    assert moment(given, "--since") == moment(given, "--until", end=True) == meant


def test_how_long_ago_is_that_moment() -> None:
    for end in (False, True):
        found = moment("2d", "--until", end=end)
        assert found is not None
        assert timedelta(0) <= datetime.now(UTC) - timedelta(days=2) - found < timedelta(minutes=1)


def test_what_is_no_time_is_named() -> None:
    assert moment(None, "--since") is None
    with pytest.raises(TimeInvalid, match=r"--until is 'tomorrow': a time as 2026-11-21"):
        moment("tomorrow", "--until", end=True)
