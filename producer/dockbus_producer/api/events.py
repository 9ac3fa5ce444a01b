"""`/v1/events`: what happens on the bus, live and from any point that is still kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from dockbus.events import Event
from dockbus.ids import StreamId
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.openapi import streams
from dockbus_producer.api.problems import Problem
from dockbus_producer.api.streams import LastEventId, Position, bus_events, or_problem

router = APIRouter(tags=["events"])


def _start(
    bus: TheBus,
    last_event_id: LastEventId = None,
    since: Annotated[
        Position | None,
        Query(description="Begin after this position; `0`: all that are kept. Default: now."),
    ] = None,
) -> StreamId:
    given = last_event_id or since
    return StreamId(given) if given else bus.event_stream.end()


@router.get("/events", response_class=EventSourceResponse, openapi_extra=streams(Event, Problem))
async def events(
    request: Request, bus: TheBus, start: Annotated[StreamId, Depends(_start)]
) -> AsyncIterator[ServerSentEvent]:
    """Events as they happen, as server-sent events: the data is a CloudEvent, the id its position.

    To go on after a broken connection, ask again with the last id in `Last-Event-ID`. Trouble on the way is told
    by a last event `problem`.
    """
    happens = bus_events(bus, start, stopping=request.app.state.stopping)
    async for event in or_problem(request, happens):
        yield event
