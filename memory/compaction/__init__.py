"""Compaction: what a session needs to know to carry on as itself, taken from the events of the ledger."""
