"""The containers of a Compose service: which there are, more of them, fewer.

Compose knows its containers by their labels, so a further one is a copy of the newest with the next number, named as
Compose itself would name it: `docker compose ps`, `logs`, `up` and `down` treat it like any other. One that somebody
has stopped stays so and keeps its place.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from dockbus.engine import Container, Engine, Raw
from dockbus.errors import DockbusError
from dockbus_workers.scaling.fleet import Replica
from dockbus_workers.scaling.leaving import Leaving
from dockbus_workers.scaling.services import Service

log = logging.getLogger(__name__)

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONEOFF = "com.docker.compose.oneoff"
REPLACES = "com.docker.compose.replace"
"""What one container has that was made in another's place, and no other may have."""
COPIED = "dockbus.scaler"
"""The label of containers that a scaler has made."""
AT_WORK = ("running", "restarting", "paused")
"""States of containers that do their work, or are about to."""


class Compose:
    """The services of Compose projects on one Engine."""

    def __init__(self, engine: Engine, leaving: Leaving) -> None:
        self._engine = engine
        self._leaving = leaving

    def fleet(self, service: Service) -> ComposeFleet | None:
        """The workers of a service; None where none of them runs.

        Raises:
            ContainerNotFound: one went away at this very moment.
            EngineError: the Engine does not answer.
            RedisUnavailable: Redis does not answer.
        """
        labels = {SERVICE: service.service, PROJECT: service.project, ONEOFF: "False"}
        leaving = self._leaving.all()
        there = sorted(self._engine.containers.all(labels=labels), key=_number)
        staying = [it for it in there if it.state in AT_WORK and it.id not in leaving]
        if not staying:
            return None
        pattern = self._engine.containers.inspect(staying[-1].id)
        return ComposeFleet(self._engine, self._leaving, there, leaving, staying, pattern)


class ComposeFleet:
    """The containers of one service that are to stay, by number."""

    def __init__(
        self,
        engine: Engine,
        leaving: Leaving,
        there: Sequence[Container],
        on_their_way: Collection[str],
        staying: Sequence[Container],
        pattern: Raw,
    ) -> None:
        self._engine = engine
        self._leaving = leaving
        self._pattern = pattern
        """What the Engine says of the newest."""
        self._last = _number(there[-1])
        host = str(pattern["Config"]["Hostname"])
        chosen = "" if host == str(pattern["Id"])[:12] else host
        self.replicas = [Replica(it.id, chosen or it.id[:12]) for it in staying]
        stopped = [it for it in there if it.state not in AT_WORK and it.id not in on_their_way]
        self._halves = [it for it in stopped if it.state == "created" and COPIED in it.labels]
        """Those that a scaler has made and not started, for it died in between."""
        self._stopped = len(stopped) - len(self._halves)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.replicas)

    def keep(self, number: int, *, busy: Collection[Replica], silent: Collection[Replica]) -> None:
        """Make those that are missing, or have as many leave as there are too many, the newest first.

        The silent are of no use, so they leave before the others.

        Raises:
            EngineError: one cannot be made or started; nothing is left of that one.
            RedisUnavailable: Redis does not answer.
        """
        for half in self._halves:
            self._leaving.add(half.id)
        missing = number - self.size - self._stopped
        for _ in range(missing):
            self._add(self._last + 1)
            self._last += 1
        spare = max(0, self.size - number)
        idle = [it for it in reversed(self.replicas) if it not in busy]
        for each in sorted(idle, key=lambda it: it not in silent)[:spare]:
            log.info("container %s has nothing to do and leaves", each.id[:12])
            self._leaving.add(each.id)

    def _add(self, number: int) -> None:
        containers, labels = self._engine.containers, dict(self._pattern["Config"]["Labels"])
        stem = self._pattern["Name"].lstrip("/").removesuffix(labels[NUMBER])
        labels |= {NUMBER: str(number), COPIED: "1"}
        labels.pop(REPLACES, None)
        name = f"{stem}{number}"
        made = containers.copy(self._pattern, name=name, image=self._image(), labels=labels)
        try:
            containers.start(made)
        except DockbusError:
            containers.remove(made, force=True)
            raise
        log.info("%s is started", name)

    def _image(self) -> str:
        """The image's name, as long as that still is the image which the pattern runs; else its ID."""
        name, image = str(self._pattern["Config"]["Image"]), str(self._pattern["Image"])
        found = self._engine.images.find(name)
        return name if found and found.id == image else image


def _number(container: Container) -> int:
    number = container.labels.get(NUMBER, "")
    return int(number) if number.isdecimal() else 0
