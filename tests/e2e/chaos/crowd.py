"""Containers that live short lives on a real Engine and write down each of them, and events about other things.

What a container has lived is read from a file that it keeps itself: neither what the Engine told nor what the
bus heard is asked.
"""

from __future__ import annotations

import io
import itertools
import random
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from dockbus.engine import (
    Container,
    ContainerNotFound,
    Engine,
    EngineError,
    EngineUnavailable,
)
from dockbus.engine.errors import translated
from dockbus.settings import EngineSettings
from e2e.chaos.dweller import IMAGE, LABEL, Dweller

T = TypeVar("T")
WAIT = 60.0
"""Seconds that a container may take to end, an Engine that is away not counted."""
REFUSALS = 20
"""Times that an Engine which answers may refuse before it is believed."""
PATIENCE = 40.0
"""Seconds that all its refusals may take: one that cannot end a container may take ten to say so."""


@dataclass
class Fact:
    """What is true of a container that is there at the end."""

    dweller: Dweller
    container: Container
    lives: list[float]
    """When each of its lives began, in seconds since 1970, give or take a few hundredths; by its own word."""


class Crowd:
    """`with Crowd(...)`: the containers live, a few at a time, and other things happen beside them.

    Args:
        host: of the Engine.
        dwellers: the containers.
        seconds: in which all of them are begun, about.
        noise: volumes that are made, and images that are tagged, in a second.
        dice: for when.
    """

    def __init__(
        self,
        host: str,
        dwellers: list[Dweller],
        *,
        seconds: float,
        noise: float,
        dice: random.Random,
    ) -> None:
        self.dwellers = dwellers
        self.noises = 0
        """Events about other things, at least."""
        self._host = host
        self._pause = seconds / len(dwellers)
        self._noise = noise
        self._dice = dice
        self._over = threading.Event()
        self._lives: list[Future[None]] = []
        self._noisy = threading.Thread(target=self._make_noise, name="noise")
        self._giving = threading.Thread(target=self._give, name="crowd")

    @property
    def done(self) -> int:
        """How many are what they were to become."""
        return sum(life.done() for life in list(self._lives))

    @property
    def is_done(self) -> bool:
        """Whether all are."""
        return not self._giving.is_alive() and self.done == len(self.dwellers)

    @property
    def unfinished(self) -> set[str]:
        """The names of those that are not, and of those that run on: what an Engine that is killed ends."""
        begun = zip(self.dwellers, list(self._lives), strict=False)
        return {one.name for one, life in begun if not life.done() or one.sort == "runs"}

    def waiting(self) -> list[str]:
        """Those that are not what they were to become, and how the Engine has them."""
        begun = zip(self.dwellers, list(self._lives), strict=False)
        return [f"{one}: {self._seen(one)}" for one, life in begun if not life.done()]

    def hush(self) -> None:
        """No more noise."""
        self._over.set()
        self._noisy.join()

    def facts(self) -> list[Fact]:
        """What is true of those that are there.

        Raises:
            EngineError: the Engine does not answer.
        """
        for life in self._lives:
            life.result()
        by_name = {dweller.name: dweller for dweller in self.dwellers}
        with closing(Engine(EngineSettings(host=self._host))) as engine:
            booted = time.time() - float(Path("/proc/uptime").read_text().split()[0])
            there = [engine.containers.get(one.id) for one in engine.containers.all()]
            return [
                Fact(
                    dweller=by_name[one.labels[LABEL]],
                    container=one,
                    lives=[booted + life for life in _lives(engine, one.id)],
                )
                for one in there
                if LABEL in one.labels
            ]

    def __enter__(self) -> Self:
        self._giving.start()
        self._noisy.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._giving.join()
        self._noisy.join()

    def _seen(self, dweller: Dweller) -> str:
        with closing(Engine(EngineSettings(host=self._host, timeout=10.0))) as engine:
            try:
                return repr(engine.containers.get(dweller.name))
            except EngineError as error:
                return str(error)

    # -- containers ------------------------------------------------------------------------

    def _give(self) -> None:
        with ThreadPoolExecutor(6, thread_name_prefix="crowd") as pool:
            for dweller in self.dwellers:
                if self._over.is_set():
                    break
                self._lives.append(pool.submit(self._live, dweller))
                self._over.wait(self._dice.uniform(0.0, 2.0) * self._pause)

    def _live(self, dweller: Dweller) -> None:
        with closing(Engine(EngineSettings(host=self._host, timeout=PATIENCE / 2))) as engine:
            try:
                self._lead(engine, dweller)
            except EngineError as error:
                # One that was killed may have forgotten that it began to start it, or that it has ended.
                dweller.refused = str(error)

    def _lead(self, engine: Engine, dweller: Dweller) -> None:
        dweller.begun = time.time()
        dweller.id = self._insist(engine, lambda: _made(engine, dweller))
        self._insist(engine, lambda: engine.containers.start(dweller.id))
        match dweller.sort:
            case "runs":
                return
            case "killed" | "thrown-out":
                time.sleep(dweller.rest)
            case _:
                self._await_end(engine, dweller)
        if dweller.sort == "killed":
            self._insist(engine, lambda: _kill(engine, dweller.id))
        elif dweller.sort == "again":
            self._insist(engine, lambda: engine.containers.start(dweller.id))
        elif dweller.sort in ("leaves", "thrown-out"):
            self._insist(engine, lambda: engine.containers.remove(dweller.id, force=True))
            dweller.removed = time.time()
            return
        self._await_end(engine, dweller)

    def _await_end(self, engine: Engine, dweller: Dweller) -> None:
        left = WAIT
        while not self._insist(engine, lambda: engine.containers.get(dweller.id)).is_stopped:
            if left <= 0:
                raise EngineError(f"it did not end in {WAIT:g} s")
            time.sleep(0.1)
            left -= 0.1

    def _insist(self, engine: Engine, call: Callable[[], T]) -> T:
        """What it gives, as soon as the Engine is there."""
        refusals, spent = 0, 0.0
        while True:
            begun = time.monotonic()
            try:
                return call()
            except EngineError as error:
                if not isinstance(error, EngineUnavailable):
                    refusals += 1
                    spent += time.monotonic() - begun
                if refusals > REFUSALS or spent > PATIENCE:
                    raise
                engine.close()  # its next call then looks first whether anybody listens
                time.sleep(0.2)

    # -- noise -----------------------------------------------------------------------------

    def _make_noise(self) -> None:
        with closing(Engine(EngineSettings(host=self._host))) as engine:
            for number in itertools.count():
                if self._over.wait(self._dice.expovariate(self._noise / 2)):
                    return
                name = f"chaos-noise-{number}"
                with suppress(EngineError), translated():
                    if number % 10:
                        engine.api.create_volume(name)
                        engine.api.remove_volume(name)
                    else:
                        engine.images.tag(IMAGE, f"{name}:1")
                        engine.images.remove(f"{name}:1")
                    self.noises += 2


def forget_all(host: str, tags: int = 300) -> None:
    """Have the Engine forget what it remembers, its newest 256 events; as far as it answers."""
    with closing(Engine(EngineSettings(host=host))) as engine, suppress(EngineError):
        for _ in range(tags):
            engine.images.tag(IMAGE, "chaos-forget:1")
        engine.images.remove("chaos-forget:1")


def _made(engine: Engine, dweller: Dweller) -> str:
    try:
        return engine.containers.get(dweller.name).id  # an Engine that was killed had made it
    except ContainerNotFound:
        return engine.containers.create(dweller.spec)


def _kill(engine: Engine, container: str) -> None:
    if engine.containers.get(container).state == "running":
        with translated():
            engine.api.kill(container)


def _lives(engine: Engine, container: str) -> list[float]:
    try:
        _, pieces = engine.containers.take(container, "/lives")
    except EngineError as error:
        if "Could not find the file" not in str(error):
            raise
        return []  # it has not lived, or not for so long
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        file = tar.extractfile("lives")
        assert file
        return [float(line) for line in file.read().split()]
