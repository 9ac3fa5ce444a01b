"""`/v1/stats` and what belongs to one container: what containers use now, and how they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from dockbus import Bus, inventory
from dockbus.inventory import ContainerAmbiguous, ContainerStopped, ContainerUnknown
from dockbus.snapshot import ContainerState
from dockbus.stats import (
    ContainerStats,
    EngineStats,
    HealthStatus,
    StatsUnavailable,
    Wanted,
    health_status,
)
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.inventory import OnEngine
from dockbus_producer.api.openapi import problems, streams
from dockbus_producer.api.problems import Problem
from dockbus_producer.api.streams import PAUSE, or_problem

router = APIRouter(tags=["stats"])
MOST = 20
"""Names and labels in one request, since each container is held against each of them."""


class ContainerHealth(BaseModel):
    """How a container is, as its own healthcheck says."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    engine: str
    id: str
    name: str
    state: str
    """Such as `running`; what does not run has no health."""
    health: HealthStatus
    probe: str
    """What the last probe said, where it is unhealthy: the first 500 characters."""


def _wanted(
    engine: OnEngine = None,
    name: Annotated[
        list[str] | None,
        Query(
            max_length=MOST,
            description="Only with such a name (`*`, `?` and `[…]` are wildcards), or with an ID that begins so; several: any.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        Query(
            max_length=MOST,
            description="Only with this label, `KEY` or `KEY=VALUE`; may be repeated.",
        ),
    ] = None,
) -> Wanted:
    pairs = (each.partition("=") for each in label or ())
    return Wanted(engine, name or (), {key: value for key, _, value in pairs})


TheWanted = Annotated[Wanted, Depends(_wanted)]


@router.get("/stats", responses=problems(StatsUnavailable))
async def stats(bus: TheBus, wanted: TheWanted) -> Sequence[ContainerStats]:
    """What running containers use now, by Engine and name.

    It is measured for the asking, by the metrics worker of each Engine, so an answer takes up to some three seconds. An
    Engine that does not answer is left out, unless none does.
    """
    return await _round(bus, wanted)


@router.get(
    "/stats/stream",
    response_class=EventSourceResponse,
    openapi_extra=streams(EngineStats, Problem),
)
async def stream_stats(
    request: Request, bus: TheBus, wanted: TheWanted
) -> AsyncIterator[ServerSentEvent]:
    """What running containers use, as server-sent events: one for each measurement of an Engine, every two seconds.

    Trouble on the way is told by a last event `problem`.
    """
    async for event in or_problem(request, _measurements(request, bus, wanted)):
        yield event


@router.get(
    "/containers/{container}/stats",
    responses=problems(ContainerUnknown, ContainerAmbiguous, ContainerStopped, StatsUnavailable),
)
async def container_stats(container: str, bus: TheBus, engine: OnEngine = None) -> ContainerStats:
    """What the container with this name or ID, or with an ID that begins like this, uses now."""
    return await _of_one(bus, container, engine)


@router.get(
    "/containers/{container}/health", responses=problems(ContainerUnknown, ContainerAmbiguous)
)
def container_health(container: str, bus: TheBus, engine: OnEngine = None) -> ContainerHealth:
    """How the container is, as it was last seen. What nothing probes is `unknown`, not healthy."""
    seen = inventory.container(bus.snapshot, container, engine)
    health = health_status(seen.health if seen.state == "running" else "")
    return ContainerHealth(
        engine=seen.engine,
        id=seen.id,
        name=seen.name,
        state=seen.state,
        health=health,
        probe=seen.probe if health is HealthStatus.UNHEALTHY else "",
    )


async def _round(bus: Bus, wanted: Wanted) -> list[ContainerStats]:
    this = bus.stats.round(wanted)
    while (found := await run_in_threadpool(this.look)) is None:
        await asyncio.sleep(PAUSE)
    return found


async def _of_one(bus: Bus, container: str, engine: str | None) -> ContainerStats:
    def seen() -> ContainerState | None:
        with contextlib.suppress(ContainerUnknown):  # perhaps nobody watches that Engine
            return inventory.container(bus.snapshot, container, engine)
        return None

    known = await run_in_threadpool(seen)
    if known and known.state not in ("running", "paused"):
        raise ContainerStopped(f"{known.name} is {known.state}")
    found = await _round(bus, Wanted(known.engine if known else engine))
    try:
        return inventory.pick(found, known.id if known else container, engine)
    except ContainerUnknown:
        if known:  # it has ended just now
            raise ContainerStopped(known.name) from None
        raise


async def _measurements(
    request: Request, bus: Bus, wanted: Wanted
) -> AsyncIterator[ServerSentEvent]:
    feed = bus.stats.feed(wanted)
    while not request.app.state.stopping():
        for measured in (await run_in_threadpool(feed.look))[1]:
            yield ServerSentEvent(id=str(measured.sequence), event="stats", data=measured)
        await asyncio.sleep(PAUSE)
