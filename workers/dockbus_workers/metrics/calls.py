"""What is asked of the Engine, counted by what came of it: a monitor must show what it costs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from dockbus.engine import ContainerNotFound, EngineError, EngineTimeout

T = TypeVar("T")

OUTCOMES = ("ok", "gone", "late", "failed")
"""An answer; there is no such container any more; no answer in time; any other error."""


def outcome(said: object) -> str:
    """Which of `OUTCOMES` this stands for; what is no error is an answer."""
    if isinstance(said, ContainerNotFound):
        return "gone"
    if isinstance(said, EngineTimeout):
        return "late"
    return "failed" if isinstance(said, EngineError) else "ok"


class Calls:
    """Counts calls; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def make(self, call: Callable[[], T]) -> T:
        """Make a call, whatever it raises, and count it."""
        try:
            answer = call()
        except EngineError as error:
            self.count(outcome(error))
            raise
        self.count("ok")
        return answer

    def count(self, result: str) -> None:
        """Count a call by what came of it, of `OUTCOMES`."""
        with self._lock:
            self._counts[result] += 1

    @property
    def counts(self) -> Mapping[str, int]:
        """How many calls there were until now, by each of `OUTCOMES`."""
        with self._lock:
            return {result: self._counts[result] for result in OUTCOMES}
