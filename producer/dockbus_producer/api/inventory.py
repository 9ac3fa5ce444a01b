"""`/v1/containers`, `/v1/images`, `/v1/engines`: what the Engines hold, from the snapshot. No Engine is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from dockbus import inventory
from dockbus.inventory import ContainerAmbiguous, ContainerUnknown
from dockbus.snapshot import ContainerState, EngineState, ImageState
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.openapi import problems

router = APIRouter(tags=["inventory"])

OnEngine = Annotated[str | None, Query(description="Only of the Engine with this name.")]


@router.get("/containers")
def list_containers(
    bus: TheBus,
    engine: OnEngine = None,
    label: Annotated[
        list[str] | None,
        Query(description="Only with this label, `KEY` or `KEY=VALUE`; may be repeated."),
    ] = None,
    state: Annotated[
        list[str] | None,
        Query(description="Only in this state, such as `running`; may be repeated."),
    ] = None,
    health: Annotated[
        str | None, Query(description="Only of this health, such as `unhealthy`.")
    ] = None,
    name: Annotated[
        str, Query(description="Only with such a name; `*`, `?` and `[…]` are wildcards.")
    ] = "*",
) -> Sequence[ContainerState]:
    """The containers, by Engine and name, as they were last seen; `/v1/engines` says when that was."""
    pairs = (each.partition("=") for each in label or ())
    return inventory.containers(
        bus.snapshot,
        engine=engine,
        labels={key: value for key, _, value in pairs},
        states=state or (),
        health=health,
        name=name,
    )


@router.get("/containers/{container}", responses=problems(ContainerUnknown, ContainerAmbiguous))
def get_container(container: str, bus: TheBus, engine: OnEngine = None) -> ContainerState:
    """The container with this name or ID, or with an ID that begins like this, as it was last seen."""
    return inventory.container(bus.snapshot, container, engine)


@router.get("/images")
def list_images(bus: TheBus, engine: OnEngine = None) -> Sequence[ImageState]:
    """The images, by Engine and name, as they were last seen."""
    return bus.snapshot.images(engine=engine)


@router.get("/engines")
def list_engines(bus: TheBus) -> Sequence[EngineState]:
    """The Engines that are watched, or were: whether each is heard, and when all of it was last seen."""
    return bus.snapshot.engines()
