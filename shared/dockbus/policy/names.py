"""Names of things in an allow-list."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns, in which `*` and `?` stand for anything, is meant for a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
