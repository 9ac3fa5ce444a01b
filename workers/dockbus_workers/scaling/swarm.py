"""The tasks of a Swarm service. Swarm itself chooses which of them it stops, so none leaves before all are idle."""

from __future__ import annotations

from collections.abc import Collection

from dockbus.engine import Engine, ServiceView
from dockbus_workers.scaling.fleet import Replica
from dockbus_workers.scaling.services import Service


class Swarm:
    """The services of stacks on the Swarm that one Engine manages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def fleet(self, service: Service) -> SwarmFleet | None:
        """The workers of a service; None where it has none, is not there, or has one on each node.

        Raises:
            EngineError: the Engine or its Swarm does not answer.
        """
        found = self._engine.services.find(f"{service.project}_{service.service}")
        return SwarmFleet(self._engine, found, found.replicas) if found and found.replicas else None


class SwarmFleet:
    """The tasks of one service."""

    def __init__(self, engine: Engine, service: ServiceView, size: int) -> None:
        self._engine = engine
        self._service = service
        self.size = size
        self.replicas = [Replica(it, it[:12]) for it in engine.services.running(service.id)]

    def keep(self, number: int, *, busy: Collection[Replica], silent: Collection[Replica]) -> None:
        """Have the Swarm run so many; fewer only where all that run are known to do nothing.

        Raises:
            EngineError: the Swarm does not take it, for the service has just been changed.
        """
        if number > self.size or (number < self.size and not busy and not silent):
            self._engine.services.scale(self._service, number)
