"""What the Engine itself says has happened: every event of the run's containers, from a connection of our own."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Self

from dockbus.engine import Engine, EngineError, EngineEvent, Stream
from dockbus.jobs import LABEL_BUS, LABEL_JOB
from dockbus.settings import EngineSettings


class Witness:
    """`with Witness(host, bus) as seen`: collects from the Engine's event stream, and asks again when it breaks."""

    def __init__(self, host: str, bus: str) -> None:
        self._engine = Engine(EngineSettings(host=host))
        self._bus = bus
        self._since = f"{time.time():.9f}"
        self._over = False
        self._stream: Stream[EngineEvent] | None = None
        self._seen: set[tuple[int, str, str]] = set()
        self._thread = threading.Thread(target=self._watch, name="witness")
        self.events: dict[str, list[EngineEvent]] = defaultdict(list)
        """By job, oldest first."""

    def count(self, job: str, action: str) -> int:
        """How often that has happened to the containers of a job."""
        return sum(event.action == action for event in self.events[job])

    def span(self, job: str) -> tuple[int, int] | None:
        """When the container of a job ran, in nanoseconds; None if its start or end was not seen."""
        times = {event.action: event.time_nano for event in self.events[job]}
        return (times["start"], times["die"]) if times.keys() >= {"start", "die"} else None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._stream:
            self._stream.close()
        self._thread.join()
        self._engine.close()

    def _watch(self) -> None:
        while not self._over:
            try:
                self._stream = self._engine.events(since=self._since)
                for event in self._stream:
                    self._note(event)
            except EngineError:
                self._engine.close()  # its next call then looks first whether anybody listens
                time.sleep(0.02)

    def _note(self, event: EngineEvent) -> None:
        known = (event.time_nano, event.actor, event.action)
        self._since = f"{event.time_nano // 10**9}.{event.time_nano % 10**9:09d}"
        mine = event.type == "container" and event.attributes.get(LABEL_BUS) == self._bus
        if mine and known not in self._seen:  # told again where the stream was opened again
            self._seen.add(known)
            self.events[event.attributes[LABEL_JOB]].append(event)
