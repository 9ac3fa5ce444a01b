"""`/v1/jobs`: put jobs on the bus, look at them, cancel them, follow their logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from dockbus import InvalidSpec, JobHandle, JobNotCancelable, JobNotFound, JobRecord, KeyConflict
from dockbus.ids import BEGINNING, StreamId
from dockbus.joblog import LogLine, Progress
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.job_request import JobRequest, read_job_request
from dockbus_producer.api.openapi import problems, streams, takes_job
from dockbus_producer.api.problems import BodyTooLarge, InvalidRequest, Problem
from dockbus_producer.api.streams import LastEventId, job_log, or_problem

router = APIRouter(prefix="/jobs", tags=["jobs"])


def _job(job_id: str, bus: TheBus) -> JobHandle:
    return bus.job(job_id)


TheJob = Annotated[JobHandle, Depends(_job)]


@router.post(
    "",
    status_code=202,
    responses=problems(KeyConflict, BodyTooLarge, InvalidRequest, InvalidSpec),
    openapi_extra=takes_job(),
)
def create_job(
    asked: Annotated[JobRequest, Depends(read_job_request)], bus: TheBus, response: Response
) -> JobRecord:
    """Put a job on the bus. When this answers, Redis has it; `Location` is where to look at it."""
    job = bus.enqueue(
        asked.spec,
        key=asked.key,
        engine=asked.engine,
        priority=asked.priority,
        delay=asked.delay,
        timeout=asked.timeout,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job.refresh()


@router.get("")
def list_jobs(
    bus: TheBus,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Sequence[JobRecord]:
    """The newest jobs, newest first."""
    return bus.jobs(limit=limit, offset=offset)


@router.get("/{job_id}", responses=problems(JobNotFound))
def get_job(job: TheJob) -> JobRecord:
    """A job as it stands."""
    return job.refresh()


@router.post("/{job_id}/cancel", status_code=202, responses=problems(JobNotFound, JobNotCancelable))
def cancel_job(job: TheJob) -> JobRecord:
    """Cancel a job. One that runs is stopped by its worker within a second or two."""
    job.cancel()
    return job.refresh()


@router.get(
    "/{job_id}/logs",
    response_class=EventSourceResponse,
    responses=problems(JobNotFound),
    openapi_extra=streams(LogLine, Progress, JobRecord, Problem),
)
async def job_logs(
    request: Request,
    bus: TheBus,
    job: TheJob,
    last_event_id: LastEventId = None,
    follow: bool = True,
) -> AsyncIterator[ServerSentEvent]:
    """A job's log as server-sent events: `log`, `progress`, and at the job's end `end` with its record.

    Close the connection at `end`; after any other end of it, ask again with the last id in `Last-Event-ID`.
    With `follow=false`, `end` comes after what is there. Trouble on the way is told by a last event `problem`.
    """
    after = StreamId(last_event_id or BEGINNING)
    log = job_log(bus, job, after, follow=follow, stopping=request.app.state.stopping)
    async for event in or_problem(request, log):
        yield event
