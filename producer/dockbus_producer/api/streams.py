"""Logs and events as server-sent events, for any number of followers at once.

A follower holds no thread: each poll borrows one for a read that does not wait, and the pause between
polls is asyncio's. FastAPI encodes the events, keeps silent connections alive, and cancels these generators
when their client has gone; when the server stops, they end by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from pydantic import BaseModel, StringConstraints

from dockbus import Bus, DockbusError, JobHandle
from dockbus.event_reader import EventReader
from dockbus.ids import StreamId
from dockbus_producer.api.problems import problem

PAUSE = 0.2
"""Seconds between two looks at a stream that had nothing new."""

Position = Annotated[str, StringConstraints(pattern=r"^\d{1,19}(-\d{1,19})?$")]
LastEventId = Annotated[
    Position | None,
    Header(alias="Last-Event-ID", description="Go on after the event with this id."),
]


async def job_log(
    bus: Bus, job: JobHandle, after: StreamId, *, follow: bool, stopping: Callable[[], bool]
) -> AsyncIterator[ServerSentEvent]:
    """Log lines and progress after that entry, to the job's end or to what is there; then the job's record."""
    log, silent, over = bus.log(job.id), 0, False
    while not over:
        if stopping():
            return
        # Asked first: what came before the end is then still read below. The end mark makes it rarely needed.
        ended = not follow or (
            silent % 5 == 0 and (await run_in_threadpool(job.refresh)).state.ended
        )
        entries, over = await run_in_threadpool(log.read, after)
        for entry in entries:
            after = entry.id
            yield ServerSentEvent(id=entry.id, event=entry.type, data=entry)
        silent = 0 if entries else silent + 1
        over = over or (ended and not entries)
        if silent and not over:
            await asyncio.sleep(PAUSE)
    yield ServerSentEvent(event="end", data=await run_in_threadpool(job.refresh))


class Gone(BaseModel):
    """Events that came before this position were removed before they were read."""

    before: StreamId


async def bus_events(
    reader: EventReader, *, stopping: Callable[[], bool]
) -> AsyncIterator[ServerSentEvent]:
    """What the reader finds, as it happens."""
    told = None
    while not stopping():
        batch = await run_in_threadpool(reader.look)
        if reader.gone and reader.gone != told:
            told = reader.gone
            yield ServerSentEvent(event="gone", data=Gone(before=told))
        for stored in batch:
            yield ServerSentEvent(id=stored.position, data=stored.event)
        if reader.at_end:
            await asyncio.sleep(PAUSE)


async def or_problem(
    request: Request, events: AsyncIterator[ServerSentEvent]
) -> AsyncIterator[ServerSentEvent]:
    """These events; an error on the way, too late for a status, becomes a last event `problem`."""
    try:
        async for event in events:
            yield event
    except DockbusError as error:
        yield ServerSentEvent(event="problem", data=problem(request, error))
