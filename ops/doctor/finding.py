"""What one check gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `ok`, a `warning` to look at, or a `failure` because of which something does not work."""

    check: str
    state: Literal["ok", "warning", "failure"]
    message: str
    #: What to do about it; empty where nothing is to be done.
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def failure(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "failure", message, remedy)
