"""A Dockerfile as a list of instructions: enough of its grammar to say something about it, not to carry it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_FLAG = re.compile(r"--(\S+)\s*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?[^}]*\}|(\w+))")
_LONGEST_NAME = 1024
PREDEFINED = frozenset(
    name
    for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (base, base.lower())
)
"""Arguments that every instruction may use without an `ARG`."""


@dataclass(frozen=True)
class Instruction:
    """One instruction."""

    line: int
    """Where it begins; 1 is the first line."""
    name: str
    """In capitals."""
    flags: tuple[str, ...]
    """What it says behind `--`, such as `from=build`."""
    text: str
    """The rest, in one line."""
    heredoc: bool = False
    """Whether it is followed by a text of its own."""

    def __str__(self) -> str:
        return " ".join((self.name, *(f"--{flag}" for flag in self.flags), self.text)).strip()


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile; what is none of them is one all the same, of a strange name."""
    lines = text.splitlines()
    escape = "`" if _directives(lines).get("escape") == "`" else "\\"
    found: list[Instruction] = []
    waiting = iter(enumerate(lines, 1))
    for number, line in waiting:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = [line.strip()]
        while parts[-1].endswith(escape):
            parts[-1] = parts[-1][:-1].rstrip()
            parts.append(_next_part(waiting))
        whole = " ".join(filter(None, parts))
        found.append(_instruction(number, whole))
        if found[-1].heredoc:
            for _, end in _HEREDOC.findall(whole):
                for _, part in waiting:
                    if part.strip() == end:
                        break
    return found


def _next_part(lines: Iterator[tuple[int, str]]) -> str:
    """The line that goes on after an escaped line end; comments and empty lines are passed over."""
    return next(
        (part.strip() for _, part in lines if part.strip() and not part.lstrip().startswith("#")),
        "",
    )


def _directives(lines: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        match = _DIRECTIVE.fullmatch(line.strip())
        if not match:
            break
        found[match[1].lower()] = match[2]
    return found


def _instruction(line: int, whole: str) -> Instruction:
    name, _, rest = whole.partition(" ")
    flags: list[str] = []
    rest = rest.strip()
    while match := _FLAG.match(rest):
        flags.append(match[1])
        rest = rest[match.end() :]
    name = name.upper()
    heredoc = name in ("RUN", "COPY", "ADD") and bool(_HEREDOC.search(rest))
    return Instruction(line, name, tuple(flags), rest, heredoc)


def unused_args(instructions: Iterable[Instruction], args: Iterable[str]) -> list[str]:
    """Arguments that are given to a build and taken by none of its instructions."""
    declared = {
        word.partition("=")[0]
        for item in instructions
        if item.name == "ARG"
        for word in item.text.split()
    }
    known = declared | PREDEFINED
    return [name for name in args if name not in known and not name.startswith("BUILDKIT_")]


def base_images(instructions: Iterable[Instruction], args: Mapping[str, str]) -> list[str]:
    """The images that the build stands on or copies from, in the order of their first use; not its own stages."""
    values: dict[str, str] = {}
    stages: set[str] = {"scratch"}
    found: list[str] = []
    for item in instructions:
        if item.name == "ARG" and not found:
            name, _, default = item.text.partition("=")
            values[name] = args.get(name, default.strip("\"'"))
        names = [flag.removeprefix("from=") for flag in item.flags if flag.startswith("from=")]
        if item.name == "FROM":
            names = item.text.split()[:1]
        filled = [_filled(name, values) for name in names]
        found += [n for n in filled if n and n.lower() not in stages and not n.isdigit()]
        words = item.text.split()
        if item.name == "FROM" and len(words) == 3 and words[1].upper() == "AS":
            stages.add(words[2].lower())
    return list(dict.fromkeys(found))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(
        lambda found: values.get(found[1] or found[3], "") or found[2] or "", text[:_LONGEST_NAME]
    )


def buildkit_only(instructions: Iterable[Instruction]) -> Instruction | None:
    """The first instruction that only BuildKit understands."""
    return next(
        (
            item
            for item in instructions
            if item.heredoc
            or any(
                flag.startswith(("mount=", "link", "network=", "security=")) for flag in item.flags
            )
            or ("--mount=" in item.text and item.name == "RUN")
        ),
        None,
    )
