"""`/v1/jobs`: put jobs on the bus, look at them, cancel them, order them again, follow their logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict

from dockbus import (
    InvalidSpec,
    JobHandle,
    JobNotCancelable,
    JobNotFound,
    JobNotReplayable,
    JobRecord,
    JobState,
    KeyConflict,
)
from dockbus.errors import JobRefused, JobTooNew
from dockbus.ids import BEGINNING, JobId, StreamId
from dockbus.joblog import LogLine, Progress
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.job_request import (
    BATCH_EXAMPLES,
    EXAMPLES,
    REPLAY_EXAMPLES,
    BatchRequest,
    JobRequest,
    ReplayRequest,
    read_batch,
    read_job_request,
    read_replay,
)
from dockbus_producer.api.openapi import problems, streams, takes
from dockbus_producer.api.problems import BodyTooLarge, InvalidRequest, Problem
from dockbus_producer.api.streams import LastEventId, job_log, or_problem

router = APIRouter(prefix="/jobs", tags=["jobs"])


def _job(job_id: str, bus: TheBus) -> JobHandle:
    return bus.job(job_id)


TheJob = Annotated[JobHandle, Depends(_job)]


class Accepted(BaseModel):
    """Jobs that the bus has."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    ids: list[JobId]
    """Their IDs, in the order in which they were sent."""


@router.post(
    "",
    status_code=202,
    responses=problems(JobNotFound, KeyConflict, BodyTooLarge, InvalidRequest, InvalidSpec),
    openapi_extra=takes(JobRequest, EXAMPLES),
)
def create_job(
    asked: Annotated[JobRequest, Depends(read_job_request)], bus: TheBus, response: Response
) -> JobRecord:
    """Put a job on the bus. When this answers, Redis has it; `Location` is where to look at it.

    `job-not-found` means that a job in `after` is not there.
    """
    (job,) = bus.enqueue_many([asked])
    return _accepted(job, response)


@router.post(
    "/batch",
    status_code=202,
    responses=problems(JobNotFound, KeyConflict, BodyTooLarge, InvalidSpec),
    openapi_extra=takes(BatchRequest, BATCH_EXAMPLES),
)
def create_jobs(asked: Annotated[BatchRequest, Depends(read_batch)], bus: TheBus) -> Accepted:
    """Put up to a thousand jobs on the bus, or, with `chain`, jobs each of which waits for the one before it.

    When this answers, Redis has them all. Where one order is not valid, none of them is put on the bus. After
    `key-conflict`, `job-not-found` and `redis-unavailable` the others may be: send the batch again, with
    the same keys, once the cause is removed.
    """
    jobs = bus.chain(*asked.orders) if asked.chain else bus.enqueue_many(asked.orders)
    return Accepted(ids=[job.id for job in jobs])


@router.get("")
def list_jobs(
    bus: TheBus,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    state: Annotated[
        list[JobState] | None, Query(description="Only those in this state; may be repeated.")
    ] = None,
) -> Sequence[JobRecord]:
    """The newest jobs, newest first."""
    return bus.jobs(limit=limit, offset=offset, states=state or ())


@router.get("/{job_id}", responses=problems(JobNotFound))
def get_job(job: TheJob) -> JobRecord:
    """A job as it stands."""
    return job.refresh()


@router.post("/{job_id}/cancel", status_code=202, responses=problems(JobNotFound, JobNotCancelable))
def cancel_job(job: TheJob) -> JobRecord:
    """Cancel a job. One that runs is stopped by its worker within a second or two."""
    job.cancel()
    return job.refresh()


@router.post(
    "/{job_id}/replay",
    status_code=202,
    responses=problems(
        JobNotFound, JobNotReplayable, JobRefused, JobTooNew, BodyTooLarge, InvalidSpec
    ),
    openapi_extra=takes(ReplayRequest, REPLAY_EXAMPLES, required=False),
)
def replay_job(
    job_id: str,
    asked: Annotated[ReplayRequest, Depends(read_replay)],
    bus: TheBus,
    response: Response,
) -> JobRecord:
    """Order a job that has ended again; answers with the new job.

    Without edits that is done once only: asked again, this answers with the same job.
    """
    return _accepted(bus.replay(job_id, asked.edits), response)


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


def _accepted(job: JobHandle, response: Response) -> JobRecord:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job.refresh()
