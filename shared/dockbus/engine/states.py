"""What an Engine has answered, as the snapshot and expressions know it."""

from __future__ import annotations

from collections.abc import Mapping

from dockbus.engine.views import Container, Image
from dockbus.snapshot import ContainerState, ImageState, PortState

MOST_LABELS = 500
MOST_CHARACTERS = 64 * 1024
"""Of all labels of one container or image. An Engine takes megabytes, and what is too many here is cut."""
MOST_OF_PROBE = 500
"""Characters that are kept of what a healthcheck says."""


def state_of(container: Container, engine: str) -> ContainerState:
    """A container of the Engine with this name, as seen by a whole look at it (`Containers.get`)."""
    over = container.finished is not None and container.state not in ("running", "paused")
    return ContainerState(
        engine=engine,
        id=container.id,
        name=container.name,
        image=container.image,
        image_id=container.image_id,
        state=container.state,
        exit_code=container.exit_code if over else None,
        oom_killed=container.oom_killed,
        health=container.health,
        probe=container.probe[:MOST_OF_PROBE] if container.health == "unhealthy" else "",
        restart_count=container.restart_count,
        labels=bounded(container.labels),
        created=container.created,
        started=container.started,
        finished=container.finished,
        addresses=dict(container.addresses),
        ports=[
            PortState(
                container=port.container,
                protocol=port.protocol,
                address=port.address,
                host=port.host,
            )
            for port in container.ports
        ],
    )


def image_state_of(image: Image, engine: str) -> ImageState:
    """An image of the Engine with this name."""
    return ImageState(
        engine=engine,
        id=image.id,
        tags=list(image.tags),
        digests=list(image.digests),
        size=image.size,
        created=image.created,
        labels=bounded(image.labels),
    )


def bounded(labels: Mapping[str, str]) -> dict[str, str]:
    """As many of these labels as are kept: their first ones, by name."""
    kept: dict[str, str] = {}
    left = MOST_CHARACTERS
    for name in sorted(labels)[:MOST_LABELS] if len(labels) > MOST_LABELS else labels:
        left -= len(name) + len(labels[name])
        if left < 0:
            break
        kept[name] = labels[name]
    return kept
