"""A queue to itself: that of an Engine by a name of its own, and the workers that serve it."""

from __future__ import annotations

from pathlib import Path

from dockbus.settings import Settings
from processes import Program


class Lane:
    """Workers of one kind for the queue `KIND@NAME`; what they write is kept in `folder`."""

    def __init__(self, kind: str, name: str, settings: Settings, folder: Path) -> None:
        self.name = name
        self.queue = f"{kind}@{name}"
        self._kind = kind
        self._folder = folder
        engine = settings.engine.model_copy(update={"name": name})
        self._settings = settings.model_copy(update={"engine": engine})
        self._started: list[Program] = []

    def start(self) -> Program:
        """Start a worker; it takes jobs when this returns."""
        log = self._folder / f"{self.queue}-{len(self._started)}.log"
        worker = Program(["worker", self._kind], self._settings, log)
        self._started.append(worker)
        worker.wait_until_said("taking jobs", timeout=60)
        return worker

    def close(self) -> None:
        """Kill those that still run."""
        for worker in self._started:
            worker.process.kill()
            worker.process.wait()
