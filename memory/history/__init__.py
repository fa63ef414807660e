"""A group's history: what its sessions did and said, for agents and for people.

    router.answer(ledger, "shop-3f2a", "search", {"query": "limiter"}).text

Each operation reads one group in one snapshot, and gives data and, of the same, Markdown that is bounded in tokens.
What each gives: docs/history.md. Nothing is imported here: who only asks needs no database.
"""
