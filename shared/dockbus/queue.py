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
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, cast

import redis.exceptions
from redis import Redis
from redis.exceptions import WatchError
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import JobStatus
from rq.registry import BaseRegistry, FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.worker_registration import get_keys as worker_keys

from dockbus.errors import InvalidSpec, JobNotCancelable, JobNotFound, JobRefused, KeyConflict
from dockbus.ids import JobId
from dockbus.jobs import KINDS, Kind, Spec, parse_result, parse_spec
from dockbus.records import Failure, JobRecord, JobState, QueueRecord
from dockbus.signing import MAX_BYTES, SignedJob, signed_jobs

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

# Notes a job that is about to be added. One that is there keeps its place.
_NOTE = """
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
"""

# Forgets jobs that are no longer kept, among some picked at random, as Redis itself expires keys.
_SWEEP = """
for _, id in ipairs(redis.call('ZRANDMEMBER', KEYS[1], 100)) do
  if redis.call('EXISTS', ARGV[2] .. id) == 0
      and tonumber(redis.call('ZSCORE', KEYS[1], id)) < tonumber(ARGV[1]) then
    redis.call('ZREM', KEYS[1], id)
  end
end
"""

# Removes what is left of a record after its job was deleted; no job could be added in its place.
_BURY = """
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HEXISTS', KEYS[1], 'data') == 0 then
  redis.call('DEL', KEYS[1])
end
"""

# Moves a due job from the scheduled registry to its queue exactly once, however many processes try.
_PROMOTE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 and redis.call('EXISTS', KEYS[3]) == 1 then
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
        self._note = redis.register_script(_NOTE)
        self._sweep = redis.register_script(_SWEEP)
        self._bury = redis.register_script(_BURY)
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
            InvalidSpec: the spec is too large.
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
        if len(job.data) > MAX_BYTES:
            raise InvalidSpec(f"it takes {len(job.data)} bytes; a job may have {MAX_BYTES}")
        # In the index first: an entry without a job is forgotten, a job without an entry would be hidden.
        self._note([INDEX, job.key], [job_id, time.time()])
        try:
            if delay:
                due = math.ceil(
                    time.time() + delay
                )  # RQ keeps whole seconds, and would begin early
                queue.schedule_job(job, datetime.fromtimestamp(due, UTC), unique=True)
            else:
                queue.enqueue_job(job, at_front=front, unique=True)
        except DuplicateJobError:
            try:
                there = self.get(job_id)
            except JobNotFound:  # it has expired this very moment, or is a stump
                self._bury([job.key])
                return self.add(
                    spec, key=key, engine=engine, front=front, delay=delay, timeout=timeout
                )
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
        raws: Any = self._redis.zrevrange(INDEX, offset, offset + limit - 1) if limit > 0 else []
        ids = [JobId(raw.decode("utf-8", "replace")) for raw in raws]
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(self._class.key_for(job_id))
            found: list[Any] = pipe.execute(raise_on_error=False)
        records: list[JobRecord] = []
        for job_id, fields in zip(ids, found, strict=True):
            if isinstance(fields, dict):  # and not an error
                with suppress(NoSuchJobError, ValueError):  # no longer kept, or no job's ID
                    job = self._class(job_id, connection=self._redis)
                    job.restore(fields)
                    records.append(self._record(job))
        return records

    def sweep(self) -> None:
        """Forget some of the jobs that are no longer kept; called now and then, it forgets them all."""
        self._sweep([INDEX], [time.time() - UNBORN, self._class.redis_job_namespace_prefix])

    def cancel(self, job_id: JobId) -> bool:
        """Cancel a job: at once if it has not begun (True), else by asking its worker to stop it (False).

        Raises:
            JobNotFound: there is none.
            JobNotCancelable: it has ended.
        """
        key = self._class.key_for(job_id)
        while True:
            with suppress(WatchError, InvalidJobOperation), self._redis.pipeline() as pipe:
                pipe.watch(key)  # type: ignore[no-untyped-call]
                job = self._fetch(job_id)
                record = self._record(job)
                if record.state.ended:
                    raise JobNotCancelable(f"job {job_id} {record.state.value}")
                begun = record.attempts > 0 or record.state is JobState.STARTED
                pipe.multi()
                if begun:
                    # Its container may be there still: whoever takes the job next clears that away.
                    pipe.set(cancel_key(job_id), "1", ex=CANCEL_TTL)
                    self._promote(*self._promotion(record.queue, job_id), client=pipe)
                else:
                    # A worker that pops it at this very moment sees the flag before it does anything.
                    pipe.set(cancel_key(job_id), "1", ex=self._result_ttl)
                    job.cancel(pipeline=pipe)
                    pipe.expire(key, self._result_ttl)
                pipe.execute()
                return not begun

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
            self._promote(*self._promotion(queue, raw.decode("utf-8", "replace"))) for raw in due
        ]
        return sum(moved)

    def promote(self, queue: str, job_id: JobId) -> None:
        """Move a scheduled job to its queue before its time."""
        self._promote(*self._promotion(queue, job_id))

    def _promotion(self, queue: str, job_id: str) -> tuple[list[str], list[str]]:
        scheduled = self._registry(ScheduledJobRegistry, queue).key
        return [scheduled, self._queue(queue).key, self._class.key_for(job_id)], [job_id]

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
        refused = job.refused
        if not refused:
            try:
                return self._honest_record(job)
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                raise
            except Exception as error:  # noqa: BLE001  fields that are not signed may hold anything
                refused = f"it is damaged ({type(error).__name__})"
        return JobRecord(
            id=JobId(job.id),
            kind=None,
            state=JobState.FAILED,
            queue=job.origin,
            spec=None,
            created=job.created_at,
            error=Failure.of(JobRefused(refused)),
        )

    def _honest_record(self, job: SignedJob) -> JobRecord:
        state = _STATES[job.get_status(refresh=False)]
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
