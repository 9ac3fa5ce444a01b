"""The services of a Swarm, as far as they are scaled: how many tasks one is to have, and which of them run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dockbus.engine.errors import EngineFault, translated
from dockbus.engine.views import Raw

if TYPE_CHECKING:
    from dockbus.engine.client import Engine


@dataclass(frozen=True, kw_only=True)
class ServiceView:
    """A service of a Swarm."""

    id: str
    version: int
    """Of its description; a change is made to the newest only."""
    replicas: int | None
    """Tasks that it is to have; None where that is one on each node."""
    spec: Raw
    """Its whole description, as a change of it has to repeat it."""

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From one entry of `GET /services`."""
        spec: Raw = raw["Spec"]
        replicated: Raw | None = spec["Mode"].get("Replicated")
        return cls(
            id=raw["ID"],
            version=raw["Version"]["Index"],
            replicas=None if replicated is None else replicated.get("Replicas", 1),
            spec=spec,
        )


class Services:
    """The services of the Swarm that an Engine manages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, name: str) -> ServiceView | None:
        """The service of this name; None where there is none, or this Engine manages no Swarm.

        Raises:
            EngineError: the Swarm does not answer.
        """
        try:
            with translated():
                found = self._engine.api.services(filters={"name": name})  # those that begin so
        except EngineFault as error:
            if "not a swarm manager" in str(error):
                return None
            raise
        return next((ServiceView.parse(raw) for raw in found if raw["Spec"]["Name"] == name), None)

    def running(self, service: str) -> list[str]:
        """The IDs of the containers of its tasks that run, on whichever node."""
        with translated():
            tasks = self._engine.api.tasks(filters={"service": service, "desired-state": "running"})
        states = [task["Status"] for task in tasks]
        return [it["ContainerStatus"]["ContainerID"] for it in states if it["State"] == "running"]

    def scale(self, service: ServiceView, replicas: int) -> None:
        """Have the Swarm keep so many tasks of it; which of them go, if they are fewer, is the Swarm's choice.

        Raises:
            EngineError: it has been changed since it was looked at, or is gone.
        """
        spec = {**service.spec, "Mode": {"Replicated": {"Replicas": replicas}}}
        params = {"version": service.version}
        self._engine.call("POST", f"/services/{service.id}/update", params=params, body=spec)
