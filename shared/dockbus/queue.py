"""The seam to RQ: how a spec becomes an RQ job and an RQ job a record. Nothing else knows how RQ keeps things.

RQ's own lists and registries stay true, so `rq info` works on a dockbus Redis. Two rules keep jobs from
being lost or doubled here: every job is added by one atomic script that refuses an ID which exists, and
counts are read without RQ's clean-up, which would fail or retry jobs as a side effect of looking.
"""

# RQ's and redis-py's own annotations are partial; what comes from them is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any, cast

from redis import Redis
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import JobStatus
from rq.registry import BaseRegistry, FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.worker_registration import get_keys as worker_keys

from dockbus.errors import JobNotCancelable, JobNotFound, JobRefused, KeyConflict
from dockbus.ids import JobId
from dockbus.jobs import KINDS, Kind, Spec, parse_result, parse_spec
from dockbus.records import Failure, JobRecord, JobState, QueueRecord
from dockbus.signing import SignedJob, signed_jobs

INDEX = "dockbus:jobs"
"""Sorted set of all job IDs by the second they were made, newest last."""
ATTEMPTS = 3
"""How often a job is tried in all when it fails for a reason that may pass, or when its worker dies."""

CANCEL_TTL = 7 * 24 * 3600
"""Seconds a request to cancel is kept for; longer than any job runs."""

UNBORN = 60.0
"""Seconds for which an entry of the index may be there without its job."""

_STATES: dict[JobStatus, JobState] = {
    JobStatus.CREATED: JobState.QUEUED,
    JobStatus.QUEUED: JobState.QUEUED,
    JobStatus.READY_TO_ENQUEUE: JobState.QUEUED,
    JobStatus.RATE_LIMITED: JobState.WAITING,
    JobStatus.DEFERRED: JobState.WAITING,
    JobStatus.SCHEDULED: JobState.SCHEDULED,
    JobStatus.STARTED: JobState.STARTED,
    JobStatus.FINISHED: JobState.SUCCEEDED,
    JobStatus.FAILED: JobState.FAILED,
    JobStatus.STOPPED: JobState.CANCELED,
    JobStatus.CANCELED: JobState.CANCELED,
}

# Moves a due job from the scheduled registry to its queue exactly once, however many processes try.
_PROMOTE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[3], 'status', 'queued')
  redis.call('RPUSH', KEYS[2], ARGV[1])
  return 1
end
return 0
"""


def queue_name(kind: Kind, engine: str | None) -> str:
    """The queue of a kind: `run` for any Engine, `run@NAME` for that Engine only."""
    return f"{kind.value}@{engine}" if engine else kind.value


def cancel_key(job: JobId) -> str:
    """The flag that asks the worker of a running job to stop it."""
    return f"dockbus:cancel:{job}"


class Jobs:
    """The jobs of one bus."""

    def __init__(self, redis: Redis, key: bytes, *, result_ttl: int, failure_ttl: int) -> None:
        self._redis = redis
        self._class = signed_jobs(key)
        self._result_ttl = result_ttl
        self._failure_ttl = failure_ttl
        self._promote = redis.register_script(_PROMOTE)

    def add(
        self,
        spec: Spec,
        *,
        key: str | None,
        engine: str | None,
        front: bool,
        delay: float,
        timeout: float | None,
    ) -> tuple[JobId, bool]:
        """Put a job on its queue; the ID of the job and whether it is new.

        Raises:
            KeyConflict: the key belongs to a job with another spec.
        """
        job_id = JobId(
            f"k-{hashlib.sha256(key.encode()).hexdigest()[:20]}" if key else token_hex(8)
        )
        queue = self._queue(queue_name(spec.kind, engine))
        job = cast(
            "SignedJob",
            queue.create_job(
                spec.kind.value,
                args=[spec.model_dump(mode="json")],
                job_id=job_id,
                description=spec.kind.value,
                timeout=max(1, round(timeout or KINDS[spec.kind].timeout)),
                result_ttl=self._result_ttl,
                failure_ttl=self._failure_ttl,
                retry=Retry(max=ATTEMPTS - 1),
            ),
        )
        # In the index first: an entry without a job is forgotten, a job without an entry would be hidden.
        self._redis.zadd(INDEX, {job_id: time.time()}, nx=True)
        try:
            if delay:
                queue.schedule_job(job, datetime.now(UTC) + timedelta(seconds=delay), unique=True)
            else:
                queue.enqueue_job(job, at_front=front, unique=True)
        except DuplicateJobError:
            there = self.get(job_id)
            if there.spec is None or there.spec.digest() != spec.digest():
                raise KeyConflict(f"{key!r} is job {job_id}") from None
            return job_id, False
        return job_id, True

    def get(self, job_id: JobId) -> JobRecord:
        """The record of a job.

        Raises:
            JobNotFound: there is none, or no longer.
        """
        return self._record(self._fetch(job_id))

    def newest(self, *, limit: int, offset: int = 0) -> list[JobRecord]:
        """Records of the newest jobs, newest first."""
        rows: Any = self._redis.zrevrange(INDEX, offset, offset + limit - 1, withscores=True)
        ids = [JobId(raw.decode()) for raw, _ in rows]
        found = self._class.fetch_many(ids, connection=self._redis)
        old = time.time() - UNBORN  # a younger one may be just about to be added
        if gone := [
            raw for (raw, made), job in zip(rows, found, strict=True) if job is None and made < old
        ]:
            self._redis.zrem(INDEX, *gone)
        return [self._record(cast("SignedJob", job)) for job in found if job is not None]

    def cancel(self, job_id: JobId) -> bool:
        """Cancel a job: at once if it has not begun (True), else by asking its worker to stop it (False).

        Raises:
            JobNotFound: there is none.
            JobNotCancelable: it has ended.
        """
        job = self._fetch(job_id)
        state = JobState.FAILED if job.refused else _STATES[job.get_status(refresh=False)]
        if state.ended:
            raise JobNotCancelable(f"job {job_id} {state.value}")
        self._redis.set(cancel_key(job_id), "1", ex=CANCEL_TTL)
        if state is JobState.STARTED:
            return False
        # A worker that pops it at this very moment sees the flag before it does anything.
        job.cancel()
        self._redis.expire(job.key, self._result_ttl)
        return True

    def queues(self) -> list[QueueRecord]:
        """All queues that have ever had a job, and the plain queue of each kind."""
        keys: Any = self._redis.smembers(Queue.redis_queues_keys)
        known = {raw.decode().removeprefix("rq:queue:") for raw in keys}
        names = sorted(known | {kind.value for kind in Kind})
        return [self._queue_record(name) for name in names]

    def promote_due(self, queue: str) -> int:
        """Move the scheduled jobs of `queue` whose time has come to the queue; how many."""
        scheduled = self._registry(ScheduledJobRegistry, queue).key
        due: Any = self._redis.zrangebyscore(scheduled, 0, time.time(), 0, 500)
        moved: list[Any] = [
            self._promote(
                [scheduled, self._queue(queue).key, self._class.key_for(raw.decode())], [raw]
            )
            for raw in due
        ]
        return sum(moved)

    def remember_failure(self, job_id: JobId, failure: Failure) -> None:
        """Keep why the latest attempt failed with the job's record."""
        self._redis.hset(self._class.key_for(job_id), "error", failure.model_dump_json())

    def _fetch(self, job_id: JobId) -> SignedJob:
        try:
            return cast("SignedJob", self._class.fetch(job_id, connection=self._redis))
        except (NoSuchJobError, ValueError):
            raise JobNotFound(job_id) from None

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self._redis, job_class=self._class)

    def _queue_record(self, name: str) -> QueueRecord:
        queue = self._queue(name)
        # A popped job waits in the intermediate list for a moment before it counts as started.
        popped = IntermediateQueue.get_intermediate_queue_key(queue.key)
        return QueueRecord(
            name=name,
            queued=self._redis.llen(queue.key) + self._redis.llen(popped),
            started=self._registry(StartedJobRegistry, name).get_job_count(cleanup=False),
            scheduled=self._registry(ScheduledJobRegistry, name).get_job_count(cleanup=False),
            failed=self._registry(FailedJobRegistry, name).get_job_count(cleanup=False),
            workers=self._redis.exists(*alive) if (alive := worker_keys(queue)) else 0,
        )

    def _registry(self, registry: Callable[..., BaseRegistry], queue: str) -> BaseRegistry:
        return registry(queue, connection=self._redis)

    def _record(self, job: SignedJob) -> JobRecord:
        state = _STATES[job.get_status(refresh=False)]
        if job.refused:
            return JobRecord(
                id=JobId(job.id),
                kind=None,
                state=JobState.FAILED,
                queue=job.origin,
                spec=None,
                created=job.created_at,
                error=Failure.of(JobRefused(job.refused)),
            )
        spec = parse_spec(json.dumps(job.args[0]))
        value: Any = job.return_value() if state is JobState.SUCCEEDED else None
        error = job.extra.get("error") if state is not JobState.SUCCEEDED else None
        return JobRecord(
            id=JobId(job.id),
            kind=spec.kind,
            state=state,
            queue=job.origin,
            spec=spec,
            result=parse_result(json.dumps(value)) if value else None,
            error=Failure.model_validate_json(error) if error else None,
            attempts=int(job.extra.get("attempts", 0)),
            created=job.created_at,
            started=job.started_at,
            ended=job.ended_at,
            worker=job.worker_name,
        )
