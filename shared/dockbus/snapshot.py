"""The snapshot: what each Engine holds now, kept in Redis by the Docker-event producer, to be read without asking an Engine.

Events keep it and a resync corrects it, so it follows the Engine by a moment, and says since when it is right. Who
acts on a container asks its Engine once more.

    dockbus:containers:ENGINE   hash: a container's ID, a `ContainerState` as JSON
    dockbus:images:ENGINE       hash: an image's ID, an `ImageState` as JSON
    dockbus:engines             hash: an Engine's name, an `EngineState` as JSON
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from dockbus.connection import reachable

ENGINES = "dockbus:engines"


def containers_key(engine: str) -> str:
    """Where the containers of an Engine are."""
    return f"dockbus:containers:{engine}"


def images_key(engine: str) -> str:
    """Where the images of an Engine are."""
    return f"dockbus:images:{engine}"


class _State(BaseModel):
    # What a later version adds must not keep this one from reading.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class PortState(_State):
    """A port of a container that the Engine's machine answers for."""

    container: int
    protocol: str = "tcp"
    address: str = ""
    host: int


class ContainerState(_State):
    """A container, as it was last seen."""

    engine: str
    """The Engine's name."""
    id: str
    name: str
    image: str = ""
    """The name it was made by."""
    image_id: str = ""
    state: str = "created"
    """`created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`."""
    exit_code: int | None = None
    """How it ended last; None while it runs, where it never did, and where nobody saw it."""
    oom_killed: bool = False
    health: str = ""
    """`healthy`, `unhealthy` or `starting`; empty where nothing probes it."""
    probe: str = ""
    """What the last probe said when it was found `unhealthy`: the first 500 characters."""
    restart_count: int = 0
    """How often the Engine itself has started it anew."""
    labels: dict[str, str] = {}
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    addresses: dict[str, str] = {}
    """Its address on each of its networks, while it runs."""
    ports: list[PortState] = []


class ImageState(_State):
    """An image, as it was last seen."""

    engine: str
    id: str
    tags: list[str] = []
    digests: list[str] = []
    """Names with the registry's digest, `name@sha256:…`."""
    size: int = 0
    """Bytes on disk, layers shared with other images included."""
    created: datetime | None = None
    labels: dict[str, str] = {}


class EngineState(_State):
    """An Engine that is being watched, or was."""

    name: str
    id: str = ""
    """The Engine's own ID."""
    connected: bool = False
    """Whether the producer hears it."""
    resynced: datetime | None = None
    """When all of the snapshot was last compared with the Engine."""


S = TypeVar("S", ContainerState, ImageState, EngineState)


class Snapshot:
    """The snapshot of all Engines of a bus, to read."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def engines(self) -> list[EngineState]:
        """All Engines that have been watched, by name.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        return sorted(self._all(ENGINES, EngineState), key=lambda one: one.name)

    def containers(
        self, *, engine: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[ContainerState]:
        """The containers of one Engine, or of all, by Engine and name; with all of `labels`, an empty value matching any.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        found = [
            container
            for name in self._names(engine)
            for container in self._all(containers_key(name), ContainerState)
            if all(
                key in container.labels and value in ("", container.labels[key])
                for key, value in (labels or {}).items()
            )
        ]
        return sorted(found, key=lambda one: (one.engine, one.name))

    def container(self, engine: str, container: str) -> ContainerState | None:
        """The container with this ID on this Engine, or None.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            raw: Any = self._redis.hget(containers_key(engine), container)
        return _parsed(ContainerState, raw) if raw else None

    def images(self, *, engine: str | None = None) -> list[ImageState]:
        """The images of one Engine, or of all, by Engine and first tag.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        found = [
            image
            for name in self._names(engine)
            for image in self._all(images_key(name), ImageState)
        ]
        return sorted(found, key=lambda one: (one.engine, one.tags[:1], one.id))

    def _names(self, engine: str | None) -> list[str]:
        return [engine] if engine else [each.name for each in self.engines()]

    def _all(self, key: str, model: type[S]) -> list[S]:
        with reachable():
            raws: Any = self._redis.hvals(key)
        return [one for raw in raws if (one := _parsed(model, raw))]


def _parsed(model: type[S], raw: bytes) -> S | None:
    with contextlib.suppress(ValidationError):  # not ours
        return model.model_validate_json(raw)
    return None
