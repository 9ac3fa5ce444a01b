"""What `docker-buildx --progress=rawjson` writes, parsed: BuildKit's graph of steps as it is worked off.

It is a run of pretty-printed JSON objects, cut anywhere by the pipe, with plain lines between and after them, the
last of which says why it failed.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from dockbus.engine.streams import LONGEST_LINE
from dockbus_workers.building.faults import TAIL

_STEP = re.compile(
    r"\[(?:(?P<stage>[^\]]*?) )?(?P<number>\d+)/(?P<total>\d+)\] (?P<instruction>.*)", re.DOTALL
)
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}


@dataclass
class Vertex:
    """One step: an instruction of the Dockerfile, or something that BuildKit does by itself."""

    name: str
    stage: str = ""
    number: int = 0
    """Which instruction of its stage it is; 0 for what is no instruction."""
    total: int = 0
    instruction: str = ""
    cached: bool = False
    begun: bool = False
    error: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    """The last lines of its output."""

    @property
    def internal(self) -> bool:
        """Whether it tells nobody anything."""
        return self.name.startswith("[internal]")

    @classmethod
    def named(cls, name: str) -> Vertex:
        """From BuildKit's name for it, such as `[build 2/4] RUN make`."""
        if step := _STEP.fullmatch(name):
            return cls(
                name,
                step["stage"] or "",
                int(step["number"]),
                int(step["total"]),
                step["instruction"],
            )
        return cls(name)


@dataclass(frozen=True)
class Begun:
    """A step has begun, or was found in the cache."""

    vertex: Vertex


@dataclass(frozen=True)
class Failed:
    """A step has failed. That need not be the end: a cache that cannot be read is one of those."""

    vertex: Vertex


@dataclass(frozen=True)
class Line:
    """A line of a step's output."""

    text: str
    stream: Literal["stdout", "stderr"]


class Vertexes:
    """The steps of one build so far."""

    def __init__(self) -> None:
        self._text: str = ""
        self._decoder = json.JSONDecoder()
        self._known: dict[str, Vertex] = {}
        self._open: dict[tuple[str, int], str] = {}
        """Lines that are not at their end yet, by step and stream."""
        self.words: list[str] = []
        """The plain lines."""

    def feed(self, text: str) -> Iterator[Begun | Failed | Line]:
        """Take in what was read; what is new in it."""
        self._text = (self._text + text).lstrip()
        while self._text:
            if not self._text.startswith("{"):
                line, end, rest = self._text.partition("\n")
                if not end:
                    return
                self.words.append(line.strip())
                self._text = rest.lstrip()
                continue
            try:
                item, end_at = self._decoder.raw_decode(self._text)
            except json.JSONDecodeError:
                return  # the rest of this object is still to come
            self._text = self._text[end_at:].lstrip()
            yield from self._take(item)

    def finish(self) -> Iterator[Line]:
        """What is left when the program has ended."""
        if self._text:
            self.words.append(self._text.strip())
            self._text = ""
        for (digest, stream), rest in self._open.items():
            if rest:
                yield self._line(digest, stream, rest)
        self._open.clear()

    @property
    def steps(self) -> list[Vertex]:
        """The instructions."""
        return [vertex for vertex in self._known.values() if vertex.number]

    @property
    def cached(self) -> int:
        """How many instructions the cache answered; `FROM` is not among them."""
        return sum(
            vertex.cached and not vertex.instruction.startswith("FROM ") for vertex in self.steps
        )

    @property
    def failed(self) -> Vertex | None:
        """The step that failed; not one that was given up for another's sake."""
        broken = [vertex for vertex in self._known.values() if vertex.error]
        return next((v for v in broken if "context canceled" not in v.error), None)

    @property
    def error(self) -> str:
        """Why the build failed, in the program's words."""
        said = "\n".join(self.words)
        return said.partition("ERROR: ")[2] or said

    def _take(self, item: dict[str, Any]) -> Iterator[Begun | Failed | Line]:
        for raw in item.get("vertexes") or ():
            vertex = self._known.setdefault(raw["digest"], Vertex.named(raw["name"]))
            vertex.cached = vertex.cached or raw.get("cached", False)
            if (error := raw.get("error", "")) and not vertex.error:
                vertex.error = error
                yield Failed(vertex)
            if not vertex.begun and ("started" in raw or vertex.cached):
                vertex.begun = True
                yield Begun(vertex)
        for raw in item.get("logs") or ():
            yield from self._lines(raw["vertex"], raw.get("stream", 1), raw.get("data") or "")

    def _lines(self, digest: str, stream: int, data: str) -> Iterator[Line]:
        text = self._open.get((digest, stream), "") + base64.b64decode(data).decode(
            "utf-8", "replace"
        )
        *whole, self._open[digest, stream] = text.split("\n")
        if len(self._open[digest, stream]) > LONGEST_LINE:  # a program may never end its line
            whole.append(self._open.pop((digest, stream)))
        for line in whole:
            yield self._line(digest, stream, line)

    def _line(self, digest: str, stream: int, text: str) -> Line:
        text = text.rstrip("\r")
        if vertex := self._known.get(digest):
            vertex.tail.append(text)
        return Line(text, _STREAMS.get(stream, "stdout"))
