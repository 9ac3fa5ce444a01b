"""A snapshot and the events that go with it, as the Docker-event producer writes them, without an Engine or a producer."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dockbus import Bus, ContainerState, Event
from dockbus.snapshot import ENGINES, EngineState, ImageState, containers_key, images_key

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""When the first life of each container begins."""


def container_id(name: str) -> str:
    """An ID that is the same for the same name."""
    return name.encode().hex().ljust(64, "0")


def container(name: str, *, engine: str = "local", life: int = 1, **fields: Any) -> ContainerState:
    """A running container; each life begins a minute after the one before."""
    known: dict[str, Any] = {
        "id": container_id(name),
        "state": "running",
        "created": BEGUN,
        "started": BEGUN + timedelta(minutes=life - 1),
    }
    return ContainerState(engine=engine, name=name, **known | fields)


class Told:
    """What a producer has told of the Engines of a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    def engine(self, name: str = "local", **fields: Any) -> None:
        """The Engine is watched; all it has was seen just now, if not said otherwise."""
        seen: dict[str, Any] = {"id": f"id-of-{name}", "connected": True, "resynced": _now()}
        state = EngineState(name=name, **seen | fields)
        self.bus.redis.hset(ENGINES, name, state.model_dump_json())

    def has(self, state: ContainerState) -> None:
        """The container is in the snapshot, and no event says so."""
        self.bus.redis.hset(containers_key(state.engine), state.id, state.model_dump_json())

    def lost(self, name: str, engine: str = "local") -> None:
        """The container is no longer in the snapshot, and no event says so."""
        self.bus.redis.hdel(containers_key(engine), container_id(name))

    def image(self, state: ImageState) -> None:
        """The image is in the snapshot."""
        self.bus.redis.hset(images_key(state.engine), state.id, state.model_dump_json())

    def event(self, action: str, state: ContainerState) -> None:
        """Something happened to the container, which is in the snapshot already."""
        data: dict[str, Any] = {"action": action, "container": state.model_dump(mode="json")}
        self._publish(state.engine, f"docker.container.{action}", state.id, data)

    def happened(self, action: str, state: ContainerState) -> None:
        """Something happened to the container, and left it like this."""
        self.has(state)
        self.event(action, state)

    def died(self, state: ContainerState, code: int = 0) -> None:
        """The container has ended, with this exit code."""
        self.happened("die", state.model_copy(update={"state": "exited", "exit_code": code}))

    def destroyed(self, state: ContainerState) -> None:
        """The container is gone."""
        self.lost(state.name, state.engine)
        self.event("destroy", state)

    def resynced(self, engine: str = "local") -> None:
        """All of the Engine was seen."""
        self.engine(engine)
        self.engine_event("resynced", engine)

    def engine_event(self, action: str, engine: str = "local") -> None:
        """Something happened to the Engine."""
        self._publish(engine, f"engine.{action}", engine, {})

    def _publish(self, engine: str, kind: str, subject: str, data: dict[str, Any]) -> None:
        data |= {"engine": engine}
        self.bus.publish(
            Event(
                source=f"/engines/{engine}", type=f"io.dockbus.{kind}", subject=subject, data=data
            )
        )


def _now() -> datetime:
    return datetime.now(UTC)
