"""Why a model gave no answer. None of these holds anything of what it was asked, or of the key."""

from __future__ import annotations


class ModelAway(Exception):
    """The model can't be used now, whoever asks: it is down, slow, overloaded, or set up wrongly. The message says what
    to do."""


class AnswerInvalid(Exception):
    """The model answered, and not what it was asked for: no JSON, of another shape, nothing, or a refusal."""


class BudgetSpent(Exception):
    """A group has used up its tokens of the day. `seconds` are those until the next one begins, in UTC; `setting` is
    where the limit is set."""

    def __init__(self, group: str, tokens: int, limit: int, seconds: float, setting: str) -> None:
        super().__init__(group, tokens, limit, seconds, setting)
        self.group, self.tokens, self.limit, self.seconds, self.setting = group, tokens, limit, seconds, setting

    def __str__(self) -> str:
        return (
            f"group {self.group} has used {self.tokens:,} of its {self.limit:,} tokens of the day: it goes on at "
            f"midnight UTC, or with a larger {self.setting}"
        )
