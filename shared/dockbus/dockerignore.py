"""`.dockerignore`: which files of a context a build does not get. The same answer for every builder and for uploads.

Patterns mean what they mean to Docker: `*` and `?` stay within a folder, `**` does not, a pattern that matches a
folder matches all that is in it, `!` takes back, and the last pattern that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

_PARTS = re.compile(r"\*\*/?|\*|\?|\[\^?(?:\\.|[^\]\\])+\]|\\.|.", re.DOTALL)
_INSIDE = "(?:/.*)?"
"""What follows a pattern that matches a folder, in the path of something in it."""
_FEW = 2
"""Wildcards up to which a regular expression cannot take long, whatever it is matched with."""


class _Pattern(Protocol):
    def fullmatch(self, string: str, /) -> object: ...


class DockerIgnore:
    """The patterns of one context."""

    def __init__(self, lines: Iterable[str] = (), *, always: Iterable[str] = ()) -> None:
        """From the lines of the file; `always` are names that the builder needs in any case."""
        self._always = frozenset(always)
        self._patterns = [
            (takes_back, _compile(pattern))
            for line in lines
            if not line.startswith("#") and (text := line.strip()) not in ("", "!")
            for takes_back, pattern in [(text[0] == "!", _cleaned(text.removeprefix("!")))]
            if pattern != "."
        ]
        self.takes_back = any(takes_back for takes_back, _ in self._patterns)
        """Whether something in a folder that is left out may be in all the same."""

    @classmethod
    def read(cls, context: Path, dockerfile: str) -> Self:
        """The patterns for building `context` with that Dockerfile: a file of the Dockerfile's own goes first."""
        for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
            if (context / name).is_file():
                text = (context / name).read_text(encoding="utf-8-sig", errors="surrogateescape")
                return cls(text.splitlines(), always=(posixpath.normpath(dockerfile), name))
        return cls()

    def needs(self, folder: str) -> bool:
        """Whether that folder holds something that the builder needs in any case."""
        return any(path.startswith(f"{folder}/") for path in self._always)

    def leaves_out(self, path: str) -> bool:
        """Whether the build does not get that file or folder; its path is relative to the context."""
        if path in self._always:
            return False
        out = False
        for takes_back, pattern in self._patterns:
            if out == takes_back and pattern.fullmatch(path):
                out = not takes_back
        return out


def _cleaned(pattern: str) -> str:
    return posixpath.normpath(pattern.strip()).lstrip("/") or "."


def _compile(pattern: str) -> _Pattern:
    parts = _PARTS.findall(pattern)
    try:
        if sum(part.startswith("*") for part in parts) > _FEW:
            return _Patient(parts)
        return re.compile("".join(_translated(parts)) + _INSIDE, re.DOTALL)
    except re.error:  # such as [z-a]
        return re.compile(re.escape(pattern) + _INSIDE, re.DOTALL)


def _translated(parts: Sequence[str]) -> Iterator[str]:
    for number, part in enumerate(parts, 1):
        if part.startswith("**"):
            yield ".*" if number == len(parts) else "(?:.*/)?"
        elif part == "*":
            yield "[^/]*"
        else:
            yield _one(part)


def _one(part: str) -> str:
    """The expression for exactly one character."""
    if part == "?":
        return "[^/]"
    if part.startswith("[") and len(part) > 1:
        return "[" + re.sub(r"[\[&|~]|(?<=-)-", r"\\\g<0>", part[1:])
    return re.escape(part[-1])


class _Patient:
    """A pattern of many wildcards, followed through all its places at once: it takes no longer for a hostile one."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._steps: list[str | re.Pattern[str]] = []
        for number, part in enumerate(parts, 1):
            if part.startswith("**"):
                self._steps += ["all"] if number == len(parts) else ["maybe", "folders"]
            else:
                self._steps.append("name" if part == "*" else re.compile(_one(part), re.DOTALL))

    def fullmatch(self, string: str, /) -> bool:
        """Whether the pattern is that of a path, or of a folder it lies in."""
        places = self._reached({0})
        for character in string:
            if character == "/" and len(self._steps) in places:
                return True
            places = self._reached(
                {after for place in places for after in self._after(place, character)}
            )
        return len(self._steps) in places

    def _after(self, place: int, character: str) -> Iterator[int]:
        step = self._steps[place] if place < len(self._steps) else "maybe"
        if isinstance(step, re.Pattern):
            if step.fullmatch(character):
                yield place + 1
        elif step in ("all", "folders") or (step == "name" and character != "/"):
            yield place
        if step == "folders" and character == "/":
            yield place + 1

    def _reached(self, places: set[int]) -> set[int]:
        """These places, and those that nothing needs to be read for."""
        waiting = list(places)
        while waiting:
            place = waiting.pop()
            step = self._steps[place] if place < len(self._steps) else ""
            further = (
                {"all": (1,), "name": (1,), "maybe": (1, 2)}.get(step, ())
                if isinstance(step, str)
                else ()
            )
            for after in (place + more for more in further):
                if after not in places:
                    places.add(after)
                    waiting.append(after)
        return places
