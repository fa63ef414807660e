"""What is wrong with a question to the history, as the command line tells it."""

from __future__ import annotations

import pytest

from ops.cli.history import own_words


@pytest.mark.parametrize(
    ("tool", "told", "said"),
    [
        (
            "search",
            "query: is missing; limit: must be small (`help` with tool: search explains its arguments)",
            "QUERY: is missing; --limit: must be small (`memlane history search --help`)",
        ),
        ("compare", "otherSessionId: name another session than sessionId", "OTHER: name another session than SESSION"),
        ("search", "sessionId: there is no session 'a: b' in g", "--session: there is no session 'a: b' in g"),
        (
            "compactions",
            "read: there is no compaction '9', `compactions` without read numbers them",
            "--read: there is no compaction '9', `memlane history compactions` without --read numbers them",
        ),
    ],
)
def test_history_speaks_as_the_command_line(tool: str, told: str, said: str) -> None:
    assert own_words(tool, told) == said
