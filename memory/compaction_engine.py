"""When a session is compacted: strategies say whether and why, the engine starts it and remembers what came of it.

engine = CompactionEngine(project_root=Path("/home/dev/shop"))
engine.register_strategy(TokenCount(50_000))
decision = engine.decide({"token_count": 61_000})
if decision.compact:
    stats = await engine.run({"session_id": "s1", "token_count": 61_000}, decision)
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory.calling import call
from memory.hook_event import kind_of

log = logging.getLogger(__name__)

#: Runs that an engine remembers.
REMEMBERED = 100


class CompactionStrategy(ABC):
    """One reason to compact."""

    @abstractmethod
    def should_compact(self, context: dict[str, Any]) -> bool:
        """Whether to compact.

        Args:
            context: what is known of the session, none of it for certain there: `session_id`, `percentage` (of the
                model's context, 0 to 100), `context_size` and `limit` or `token_count` (tokens), `entry_count` (events
                since the last compaction), `last_activity` (ISO 8601).
        """

    @abstractmethod
    def get_trigger_reason(self) -> str:
        """Why, in words. Asked after `should_compact` said yes."""


class ContextPercentage(CompactionStrategy):
    """The model's context is filled to this percentage (0 to 100)."""

    def __init__(self, percentage: float = 80.0) -> None:
        self.percentage = percentage

    def should_compact(self, context: dict[str, Any]) -> bool:
        return _percentage(context) >= self.percentage

    def get_trigger_reason(self) -> str:
        return f"context is filled to {self.percentage:g} % or more"


class TokenCount(CompactionStrategy):
    """The session holds this many tokens."""

    def __init__(self, tokens: int = 100_000) -> None:
        self.tokens = tokens

    def should_compact(self, context: dict[str, Any]) -> bool:
        return _tokens(context) >= self.tokens

    def get_trigger_reason(self) -> str:
        return f"session holds {self.tokens:,} tokens or more"


class EntryCount(CompactionStrategy):
    """This many events came since the last compaction."""

    def __init__(self, entries: int = 1_000) -> None:
        self.entries = entries

    def should_compact(self, context: dict[str, Any]) -> bool:
        return _number(context, "entry_count", 0) >= self.entries

    def get_trigger_reason(self) -> str:
        return f"{self.entries:,} events or more since the last compaction"


class Inactivity(CompactionStrategy):
    """Nothing happened for this many hours, and something is there to be compacted."""

    def __init__(self, hours: float = 24.0) -> None:
        self.hours = hours

    def should_compact(self, context: dict[str, Any]) -> bool:
        try:
            last = datetime.fromisoformat(str(context.get("last_activity")))
        except ValueError:
            return False
        if _number(context, "entry_count", 1) <= 0:
            return False
        now = datetime.now(UTC if last.tzinfo else None)
        return (now - last).total_seconds() >= self.hours * 3600

    def get_trigger_reason(self) -> str:
        return f"nothing happened for {self.hours:g} hours or more"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to compact, why, and which strategy said so."""

    compact: bool
    reason: str
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class CompactionStats:
    """What came of one run. Tokens are 0 where nobody has counted them."""

    session_id: str
    reason: str
    success: bool
    message: str
    started: str
    seconds: float
    tokens_before: int = 0
    tokens_after: int = 0
    data: dict[str, Any] = field(default_factory=dict)


#: Compacts a session: takes the context and the `reason`, returns what it did (`tokens_before`, `tokens_after`,
#: `message`, …; `success` False and `error` if it could not). A coroutine function, or a plain one, run in a thread.
Compactor = Callable[[dict[str, Any]], Any]


class CompactionEngine:
    """Decides by its strategies, in the order in which they were registered, and runs. Touches no file."""

    def __init__(self, project_root: Path | str, compactor: Compactor | None = None) -> None:
        """
        Args:
            compactor: what compacts a session; without it, a run says that there is none.
        """
        self.project_root = Path(project_root)
        self.compactor = compactor
        #: In the order in which they are asked.
        self.strategies: list[CompactionStrategy] = []
        self._history: deque[CompactionStats] = deque(maxlen=REMEMBERED)

    @property
    def history(self) -> list[CompactionStats]:
        """The last runs, oldest first."""
        return list(self._history)

    def register_strategy(self, strategy: CompactionStrategy) -> None:
        """Add a strategy, to be asked behind the others.

        Raises:
            TypeError: it is no strategy.
        """
        if not isinstance(strategy, CompactionStrategy):
            raise TypeError(f"register_strategy takes a CompactionStrategy, not {kind_of(strategy)}")
        self.strategies.append(strategy)

    def decide(self, context: Mapping[str, Any]) -> Decision:
        """Ask the strategies. One that raises is left out."""
        for strategy in self.strategies:
            name = type(strategy).__name__
            try:
                if strategy.should_compact(dict(context)):
                    return Decision(True, str(strategy.get_trigger_reason()), name)
            except (Exception, SystemExit) as error:
                log.warning("strategy failed name=%s error=%s", name, type(error).__name__)
        asked = ", ".join(type(strategy).__name__ for strategy in self.strategies)
        return Decision(False, f"none of these said so: {asked}" if asked else "there is no strategy")

    async def run(
        self, context: Mapping[str, Any], decision: Decision | None = None, compactor: Compactor | None = None
    ) -> CompactionStats:
        """Compact now, whatever the strategies say. No compactor makes it raise; what came of it is in the history.

        Args:
            decision: why; without it: because it was asked for.
            compactor: compacts if the engine has none of its own.

        Raises:
            CancelledError: the caller's task was cancelled; that, too, is in the history.
        """
        reason = decision.reason if decision else "asked for"
        started, began = datetime.now(UTC), time.monotonic()
        found: dict[str, Any] = {}
        success, message = False, "no compactor is set: hand one to the engine"
        compact = self.compactor or compactor
        try:
            if compact is not None:
                found = dict(await call(compact, {**context, "reason": reason}) or {})
                success = found.get("success") is not False
                message = str(found.get("message") or found.get("error") or ("compacted" if success else "failed"))
        except asyncio.CancelledError:
            message = "was cancelled"
            raise
        except (Exception, SystemExit) as error:
            success, message = False, f"{type(error).__name__}: {error}"
        finally:
            stats = CompactionStats(
                session_id=str(context.get("session_id") or ""),
                reason=reason,
                success=success,
                message=message,
                started=started.isoformat(timespec="milliseconds"),
                seconds=round(time.monotonic() - began, 6),
                tokens_before=int(_number(found, "tokens_before", _tokens(context))),
                tokens_after=int(_number(found, "tokens_after", 0)),
                data=found,
            )
            self._history.append(stats)
        return stats


def _tokens(context: Mapping[str, Any]) -> float:
    return _number(context, "token_count", _number(context, "context_size", 0))


def _percentage(context: Mapping[str, Any]) -> float:
    limit = _number(context, "limit", 0)
    share = _number(context, "context_size", 0) / limit * 100 if limit > 0 else 0.0
    return _number(context, "percentage", share)


def _number(context: Mapping[str, Any], name: str, default: float) -> float:
    value = context.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return value if isinstance(value, int) or math.isfinite(value) else default
