"""A watcher whose calls are noted, and containers for it to find."""

from __future__ import annotations

from pydantic import Field

from dockbus import Bus, ContainerState, LabelModel, Watcher
from dockbus.watcher import Callback
from snapshots import Told, container
from waiting import wait_for


class Route(LabelModel):
    domain: str
    port: int = Field(ge=1, le=65535)


def shop(
    name: str = "shop", *, engine: str = "local", life: int = 1, **labels: str
) -> ContainerState:
    given = {"web.enabled": "true", "web.domain": f"{name}.example", "web.port": "80"}
    given |= {f"web.{label}": value for label, value in labels.items()}
    return container(name, engine=engine, life=life, labels=given)


class Seen:
    """What a watcher has called back, in order: `+shop.1` for the first life of `shop`, `-shop.1` for its end."""

    def __init__(self, bus: Bus, first: Callback[Route] | None = None) -> None:
        self.bus = bus
        self.watcher = Watcher(bus, labels={"web.enabled": "true"}, prefix="web", schema=Route)
        self.calls: list[str] = []
        self.last: ContainerState | None = None
        if first:
            self.watcher.on_add(first)
            self.watcher.on_remove(first)
        self.watcher.on_add(lambda container, route: self._note("+", container, route))
        self.watcher.on_remove(lambda container, route: self._note("-", container, route))

    def _note(self, sign: str, state: ContainerState, route: Route) -> None:
        assert route.domain
        assert state.started
        self.last = state
        self.calls.append(f"{sign}{state.name}.{state.started.minute - 3}")

    def wait(self, *calls: str, timeout: float = 10.0) -> None:
        """Exactly these calls come, in this order."""
        wait_for(lambda: len(self.calls) >= len(calls), timeout, f"{calls}, has {self.calls}")
        assert self.calls == list(calls)

    @property
    def now(self) -> list[str]:
        return [state.name for state, _ in self.watcher.now]


def begun(seen: Seen) -> None:
    """The watcher runs, and has looked once: a container of its own shows that."""
    told = Told(seen.bus)
    told.has(shop("first"))
    seen.watcher.start()
    seen.wait("+first.1")
    seen.calls.clear()
