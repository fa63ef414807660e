"""The ledger: the SQL log of every event, in lane order; the truth from which everything else can be rebuilt."""

from memory.ledger.engine import Ledger, LedgerUnavailable
from memory.ledger.migrations import migrate

__all__ = ["Ledger", "LedgerUnavailable", "migrate"]
