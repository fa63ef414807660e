"""Retrying dead letters."""

from __future__ import annotations

from memory import lua
from memory.events import EventInvalid, parse
from memory.ledger import dead
from memory.ledger.dead import Letter
from memory.ledger.generations import RETRIED
from memory.privacy import redact_text
from workers import resources
from workers.stage import Follower
from workers.stages import STAGES


class RetryFailed(Exception):
    """The event still can't be dealt with; its letter is as it was."""


def retry(letter: Letter) -> None:
    """Have the event of a dead letter dealt with now, out of its order. One that never came into the ledger goes to
    the end of its lane again; it is not counted as captured once more.

    Raises:
        RetryFailed, NoSuchLetter, LedgerUnavailable
    """
    stage = STAGES[letter.stage]
    try:
        if isinstance(stage, Follower):
            stage.retry(letter)
        else:
            _back_to_the_lane(letter)
    except EventInvalid as error:
        raise RetryFailed(f"dead letter {letter.n} is still no event: {error}") from None
    except (dead.NoSuchLetter, RetryFailed):
        raise
    except Exception as error:
        why = redact_text(f"{type(error).__name__}: {error}")
        raise RetryFailed(f"dead letter {letter.n} failed again: {why}") from error


def _back_to_the_lane(letter: Letter) -> None:
    raw = letter.event.encode()
    if parse(raw).group != letter.group:
        raise RetryFailed(f"dead letter {letter.n} was found in the lane of another group than its own")
    client = resources.valkey()
    with resources.ledger().write() as connection:
        dead.remove(connection, letter)
        # Before the commit: if this process ends between the two, the event is there twice, and changes nothing.
        with client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(lua.lane(letter.group), {"e": raw, "g": RETRIED})
            pipeline.lpush(lua.BELL, f"lane {letter.group}")
            pipeline.execute()
