"""`/v1/events`: what happens on the bus, live and from any point that is still kept; `/v1/events/history`: the same in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator, BaseModel, ConfigDict

from dockbus.event_reader import EventFilter, EventReader, position_of
from dockbus.events import Event, StoredEvent
from dockbus.ids import BEGINNING, StreamId
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.openapi import streams
from dockbus_producer.api.problems import Problem
from dockbus_producer.api.streams import Gone, LastEventId, bus_events, or_problem

router = APIRouter(tags=["events"])

LOOKS = 10
"""How many times some hundred events are looked through for one page."""
MOST = 20
"""Globs in one respect, since each event is held against each of them."""

Place = Annotated[str, AfterValidator(position_of)]
"""Text that becomes a position."""


def _wanted(
    types: Annotated[
        list[str] | None,
        Query(
            alias="type",
            max_length=MOST,
            description="Glob of types, such as `io.dockbus.job.*`; several: any.",
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        Query(alias="source", max_length=MOST, description="Likewise, such as `/engines/edge`."),
    ] = None,
    subjects: Annotated[
        list[str] | None,
        Query(alias="subject", max_length=MOST, description="Likewise, such as a job's ID."),
    ] = None,
) -> EventFilter:
    return EventFilter(types or (), sources or (), subjects or ())


Wanted = Annotated[EventFilter, Depends(_wanted)]


def _reader(
    bus: TheBus,
    wanted: Wanted,
    last_event_id: LastEventId = None,
    since: Annotated[
        Place | None,
        Query(
            description="Begin after this position (`0`: all that are kept), at this moment, or so long ago: `10m`. "
            "Default: now."
        ),
    ] = None,
) -> EventReader:
    given = last_event_id or since
    after = StreamId(given) if given else bus.event_stream.end()
    return EventReader(bus.event_stream, after, wanted)


@router.get(
    "/events", response_class=EventSourceResponse, openapi_extra=streams(Event, Gone, Problem)
)
async def events(
    request: Request, reader: Annotated[EventReader, Depends(_reader)]
) -> AsyncIterator[ServerSentEvent]:
    """Events as they happen, as server-sent events: the data is a CloudEvent, the id its position.

    To go on after a broken connection, ask again with the last id in `Last-Event-ID`. An event `gone` says that events
    before its `before` were removed before they were read. Trouble on the way is told by a last event `problem`.
    """
    happens = bus_events(reader, stopping=request.app.state.stopping)
    async for event in or_problem(request, happens):
        yield event


class Page(BaseModel):
    """Some of the events that are kept, oldest first."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    events: list[StoredEvent]
    next: StreamId
    """The `since` that gives what comes after these."""
    at_end: bool
    """Whether there was nothing after these."""
    gone: StreamId | None
    """Events before this position were removed, some of which came after `since`."""


@router.get("/events/history")
def event_history(
    bus: TheBus,
    wanted: Wanted,
    since: Annotated[
        Place,
        Query(description="As for `/v1/events`. Default: all that are kept."),
    ] = BEGINNING,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page:
    """Events that are kept, a page at a time. A page of few events, or none, is the last one only if it is `at_end`."""
    reader = EventReader(bus.event_stream, StreamId(since), wanted, follow=False)
    found: list[StoredEvent] = []
    for _ in range(LOOKS):
        found += reader.look()
        if reader.at_end or len(found) >= limit:
            break
    rest, found = found[limit:], found[:limit]
    return Page(
        events=found,
        next=found[-1].position if rest else reader.position,
        at_end=reader.at_end and not rest,
        gone=reader.gone,
    )
