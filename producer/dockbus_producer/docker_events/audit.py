"""Looking at an Engine, beside hearing it: what it remembers, and which containers are not as they were told.

What was not heard must look the same for a second before it is believed, for the Engine's own event may be on its way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from dockbus.engine import Container, ContainerNotFound, Engine, EngineError, EngineEvent
from dockbus.engine.states import image_state_of
from dockbus.snapshot import ImageState
from dockbus_producer.docker_events.envelope import stamp
from dockbus_producer.docker_events.world import World

DOUBT = 1.0
"""Seconds for which something must look the same that was not heard."""
HISTORY = 60 * 10**9
"""Nanoseconds of the Engine's memory that are looked through."""
SETTLED = 2 * 10**9
"""Nanoseconds after which an event should have come by the stream."""


class Audit:
    """Looks at one Engine, now and then."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._doubts: dict[str, tuple[object, float]] = {}

    @property
    def in_doubt(self) -> bool:
        """Whether something was seen that must be looked at again."""
        return bool(self._doubts)

    def forget(self) -> None:
        """Begin anew."""
        self._doubts.clear()

    def remembered(self, after: int) -> Iterator[EngineEvent]:
        """What the Engine remembers of the last minute, after a moment, and should have been heard by now.

        Raises:
            EngineError: it does not answer.
        """
        until = time.time_ns() - SETTLED
        since = max(after + 1, until - HISTORY)
        if since >= until:
            return
        history = self._engine.events(since=stamp(since), until=stamp(until), idle=5.0)
        with contextlib.closing(history):
            yield from history

    def containers(self) -> dict[str, Container]:
        """All containers by ID, as a list has them.

        Raises:
            EngineError: the Engine does not answer.
        """
        return {one.id: one for one in self._engine.containers.all()}

    def images(self) -> list[ImageState]:
        """All images.

        Raises:
            EngineError: the Engine does not answer.
        """
        return [image_state_of(image, self._engine.name) for image in self._engine.images.all()]

    def look(self, container: str) -> Container | None:
        """A whole look at a container; None where it is gone, or the Engine does not answer."""
        with contextlib.suppress(EngineError):
            return self._engine.containers.get(container)
        return None

    def differing(
        self, listed: Mapping[str, Container], world: World, *, full: bool
    ) -> Iterator[tuple[str, Container | None]]:
        """Containers that, for sure, are not as told: each with a whole look at it, or None where it is gone.

        Args:
            listed: all there are.
            world: what was told; looked at anew for each container.
            full: look at each of them, not only where the list shows a difference.

        Raises:
            EngineError: the Engine does not answer.
        """
        doubts: dict[str, tuple[object, float]] = {}
        for container, short in listed.items():
            if not full and container not in self._doubts and world.is_as_told(short):
                continue
            try:
                seen = self._engine.containers.get(container)
            except ContainerNotFound:
                continue
            actions = world.compare(seen)
            if not actions or self._is_sure(container, (actions, seen.started), doubts):
                yield container, seen
        for container in set(world.containers) - set(listed):
            is_gone = self._is_sure(container, "gone", doubts)
            if is_gone and container in world.containers:  # its end may have been heard by now
                yield container, None
        self._doubts = doubts

    def _is_sure(
        self, container: str, sight: object, doubts: dict[str, tuple[object, float]]
    ) -> bool:
        now = time.monotonic()
        before, since = self._doubts.get(container, (None, now))
        if before != sight:
            since = now
        if now - since >= DOUBT:
            return True
        doubts[container] = (sight, since)
        return False
