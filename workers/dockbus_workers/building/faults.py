"""Why a build failed: from the words of a builder to an error that says what to do, the same for both builders."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dockbus.engine import EngineError, EngineUnavailable
from dockbus.engine.errors import (
    CommandNotFound,
    EngineConflict,
    EngineDiskFull,
    EngineFault,
    EngineRejected,
    classify,
)
from dockbus.errors import BuildFailed, DockbusError

TAIL = 10
"""Lines of an instruction's output that its failure repeats."""
_EXIT = re.compile(r"(?:exit code: |non-zero code: )(\d+)")
_SYNTAX = re.compile(
    r"dockerfile parse error|unknown instruction|unknown flag|file with no instructions|no build stage|"
    r"failed to parse|the Dockerfile \(.*\) cannot be empty|invalid reference format",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"code = Unavailable|cannot connect to the Docker daemon|error reading from server|transport is closing|"
    r"closed network connection|is the docker daemon running",
    re.IGNORECASE,
)
_PLUMBING = re.compile(
    r"rpc error: code = \w+ desc = |failed to solve(?: with frontend [\w.]+)?: |failed to create LLB definition: |"
    r"failed to compute cache key: "
)


class DockerfileInvalid(DockbusError):
    """The Dockerfile is not valid, so nothing was built.

    Correct the named line. Heredocs and other new syntax need an Engine whose BuildKit knows them.
    """


def explain(error: str, instruction: str = "", said: Iterable[str] = ()) -> DockbusError:
    """The error of a build that ended with these words.

    Args:
        error: the builder's own words.
        instruction: the instruction that failed, where it was one.
        said: the last lines of its output.
    """
    lines = list(said)[-TAIL:]
    words = " ".join(_PLUMBING.sub("", error).split())
    if re.search("no space left on device", "\n".join([error, *lines]), re.IGNORECASE):
        return EngineDiskFull(f"{instruction}: {words}" if instruction else words)
    if code := _EXIT.search(error):
        return BuildFailed(_told(f"{instruction or words}: exit code {code[1]}", lines))
    if _GONE.search(error):
        return EngineUnavailable(words)
    if _SYNTAX.search(error):
        return DockerfileInvalid(words)
    known = classify(None, words)
    if _is_the_builds_own(known):
        return BuildFailed(_told(f"{instruction}: {words}" if instruction else words, lines))
    return known


def _is_the_builds_own(error: EngineError) -> bool:
    """Whether it tells of what an instruction did, and not of what the Engine or a registry suffers from."""
    return isinstance(error, EngineFault | EngineRejected | EngineConflict | CommandNotFound)


def _told(what: str, lines: list[str]) -> str:
    return f"{what}; its last words: {' | '.join(lines)}" if lines else what
