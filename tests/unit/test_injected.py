"""Recalled context is told from what was said."""

from __future__ import annotations

from memory.injected import HEADING, without_injected

CONTEXT = f"{HEADING}\n- UTC only (s1, build, 2026-11-21 10:00)\n- carts are cached (s2)"


def test_what_was_injected_is_not_said() -> None:
    assert without_injected(CONTEXT) == ""
    assert without_injected(f"user: {CONTEXT}") == ""
    assert without_injected(f"user: {CONTEXT}\n\nwhy does it fail?").split() == ["user:", "why", "does", "it", "fail?"]
    assert without_injected(f"before\n{CONTEXT}\nafter\n- a list of theirs") == "before\nafter\n- a list of theirs"
    assert without_injected("nothing of it") == "nothing of it"
