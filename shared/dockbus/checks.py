"""What the doctor says: one check each for what it has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check has ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not everything does, or not safely."""
    MISSING = "missing"
    """Nothing works without it."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    level: Level
    found: str
    advice: str = ""
    """What to do about it."""


def judged(name: str, found: str, advice: str = "") -> Check:
    """A check that is a warning where there is something to do."""
    return Check(name, Level.WARNING if advice else Level.OK, found, advice)
