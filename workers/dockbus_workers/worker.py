"""One RQ worker with slots: it serves one queue and carries out as many of its jobs at once as it may.

Built on the hooks that RQ 3.0 prepared for concurrent workers; what differs from RQ's own workers is why
jobs are not lost here: one queue, so that a popped job stays in the intermediate list until it has
started; no signal handler that raises; no pub/sub commands, which anybody on Redis could send; no pickle;
heartbeats for every running job; and a Redis client that rides an outage out.
"""

# RQ's and redis-py's own annotations are partial, and RQ's worker is subclassed here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, cast

import redis.exceptions
from rq import Queue, get_current_job, worker_registration
from rq.exceptions import DequeueTimeout
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry, StartedJobRegistry, clean_registries
from rq.timeouts import BaseDeathPenalty
from rq.worker import BaseWorker, WorkerStatus

from dockbus.bus import Bus
from dockbus.connection import connect
from dockbus.engine import Engine
from dockbus.errors import DockbusError, JobCanceled, WorkerLost
from dockbus.ids import JobId
from dockbus.jobs import Kind, parse_spec
from dockbus.queue import ATTEMPTS, cancel_key
from dockbus.records import Failure, JobState
from dockbus.signing import SignedJob, signed_jobs
from dockbus_workers.context import HandBack, JobContext
from dockbus_workers.handlers import HANDLERS

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds one pop waits for a job; also how soon a worker notices that it should stop."""
BACKOFF = 2.0
"""Seconds before the second attempt; three times as long before each further one."""

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class NoAlarm(BaseDeathPenalty):
    """RQ's time limits interrupt; ours are deadlines that the handler looks at."""

    def setup_death_penalty(self) -> None:
        """Nothing."""

    def cancel_death_penalty(self) -> None:
        """Nothing."""


class SlotWorker(BaseWorker):
    """Serves one queue with a share of the process's slots."""

    death_penalty_class = NoAlarm
    log_job_description = False
    log_result_lifespan = False

    def __init__(
        self,
        *,
        kind: Kind,
        queue: str,
        bus: Bus,
        engine: Engine,
        slots: threading.Semaphore,
        pool: ThreadPoolExecutor,
        name: str,
    ) -> None:
        self._bus = bus
        self._engine = engine
        self._slots = slots
        self._pool = pool
        self._heartbeat = bus.settings.worker.heartbeat
        self.leaving = threading.Event()
        """Set when running jobs have to go back to the queue."""
        self._running: dict[str, tuple[SignedJob, Execution]] = {}
        jobs = signed_jobs(bus.settings.bus_key(), {kind.value: self._carry_out})
        super().__init__(
            [queue],
            name=name,
            connection=connect(bus.settings.redis_url, patience=bus.settings.redis.outage),
            job_class=jobs,
            worker_ttl=round(self._heartbeat * 2),
            job_monitoring_interval=max(1, round(self._heartbeat / 3)),
            default_result_ttl=bus.settings.bus.result_ttl,
        )
        # RQ logs every step; dockbus says its own, shorter lines.
        self.log = logging.getLogger("rq.worker")
        self.log.setLevel(logging.CRITICAL)

    @property
    def queue(self) -> Queue:
        """The one queue."""
        return self.queues[0]

    @property
    def busy(self) -> int:
        """How many jobs run now."""
        return len(self._running)

    # -- the loop --------------------------------------------------------------------------

    def serve(self, stopping: threading.Event, ready: Callable[[], bool]) -> None:
        """Take jobs until `stopping` is set, as long as `ready` says that work can be done."""
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(WorkerStatus.IDLE)
        while not stopping.is_set():
            if not ready() or not self._slots.acquire(timeout=POLL):
                continue
            taken = False
            try:
                job = self._pop()
                if job is not None and stopping.is_set():
                    self._push_back(job)
                elif job is not None and self._is_due(job):
                    self._start(job)
                    taken = True
            except redis.exceptions.RedisError as error:  # away, starting, full, read-only
                log.warning("Redis does not answer; trying again: %s", error)
                stopping.wait(1.0)
            except Exception:
                log.exception("something on queue %s cannot be taken", self.queue.name)
                stopping.wait(1.0)
            finally:
                if not taken:
                    self._slots.release()

    def _pop(self) -> SignedJob | None:
        try:
            result = self.queue_class.dequeue_any(
                [self.queue],
                cast("int", POLL),
                connection=self.connection,
                job_class=self.job_class,
            )
        except DequeueTimeout:
            return None
        return cast("SignedJob", result[0]) if result else None

    def _is_due(self, job: SignedJob) -> bool:
        """Whether a popped job is to be run; one that runs, has ended or was canceled is dropped from the queue."""
        if job.refused or job.get_status(refresh=False) == JobStatus.QUEUED:
            return True
        log.info("job %s is %s; not run again", job.id, job.get_status(refresh=False).value)
        self.connection.lrem(
            IntermediateQueue.get_intermediate_queue_key(self.queue.key), 1, job.id
        )
        return False

    def _push_back(self, job: SignedJob) -> None:
        with self.connection.pipeline() as pipe:
            pipe.lrem(IntermediateQueue.get_intermediate_queue_key(self.queue.key), 1, job.id)
            pipe.lpush(self.queue.key, job.id)
            pipe.execute()

    def _start(self, job: SignedJob) -> None:
        if job.origin != self.queue.name:
            job.refused = job.refused or f"it belongs to queue {job.origin!r}"
            job.origin = self.queue.name
        execution = self.prepare_execution(job)
        self._running[execution.id] = (job, execution)
        self._pool.submit(self._perform, job, execution)

    def _perform(self, job: SignedJob, execution: Execution) -> None:
        try:
            self.perform_job(job, self.queue, execution)
        except Exception:
            log.exception("job %s: its end could not be recorded; it will be tried again", job.id)
        finally:
            self._running.pop(execution.id, None)
            self.executions.pop(execution.id, None)
            self._slots.release()

    # -- signs of life ---------------------------------------------------------------------

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002
        """Seconds until a running job without a further sign of life counts as orphaned."""
        return round(self._heartbeat)

    def beat(self) -> None:
        """Give a sign of life for the worker and for every job it runs."""
        running = list(self._running.values())
        self.heartbeat(self.worker_ttl)
        worker_registration.register(self)  # again, for a Redis that has forgotten it
        self.set_state(WorkerStatus.BUSY if running else WorkerStatus.IDLE)
        for job, execution in running:
            self.maintain_heartbeats(job, execution)

    def maintain(self) -> None:
        """Queue what is due, and return orphaned jobs to their queue; one process at a time does this for a queue."""
        lock = self.connection.lock(
            f"dockbus:maintenance:{self.queue.name}", timeout=60, blocking=False
        )
        if not lock.acquire():
            return
        try:
            self._bus.job_store.promote_due(self.queue.name)
            self._bus.job_store.sweep()
            clean_registries(self.queue, [self._abandoned])
            self.queue.intermediate_queue.cleanup(self, self.queue)
        finally:
            lock.release()

    def _abandoned(self, job: Job, *_: object) -> None:
        """An orphan whose attempts are used up goes to a worker once more, which clears away what it left."""
        if not job.retries_left:
            job.retries_left = 1
            self.connection.hset(job.key, "lost", "1")

    # -- one job ---------------------------------------------------------------------------

    def _carry_out(self, raw: dict[str, Any]) -> dict[str, Any]:
        """What RQ calls for every kind: make the context, call the handler, return its result as JSON values."""
        job = cast("SignedJob", get_current_job())
        job_id = JobId(job.id)
        attempt = self.connection.hincrby(job.key, "attempts", 1)
        spec = parse_spec(json.dumps(raw))
        ctx = JobContext(
            job=job_id,
            engine=self._engine,
            settings=self._bus.settings,
            log=self._bus.log(job_id),
            timeout=float(job.timeout or 1),
            last_attempt=not job.retries_left,
            stopped=lambda: self._why_stop(job),
            is_active=self._is_active,
            leaving=self.leaving,
        )
        log.info("job %s: %s begins (attempt %d)", job_id, spec.kind.value, attempt)
        self._bus.publish_state(job_id, JobState.STARTED, spec, attempt=attempt, worker=self.name)
        try:
            result = HANDLERS[spec.kind](spec, ctx)
        except HandBack:
            raise
        except Exception as error:
            ctx.log(str(Failure.of(error)))
            raise
        finally:
            ctx.flush()
        return result.model_dump(mode="json")

    def _why_stop(self, job: SignedJob) -> DockbusError | None:
        if self._is_canceled(job):
            return JobCanceled(job.id)
        return WorkerLost(job.id) if "lost" in job.extra else None

    def _is_canceled(self, job: Job) -> bool:
        return bool(self.connection.exists(cancel_key(JobId(job.id))))

    def _is_active(self, job_id: str) -> bool:
        try:
            return not self._bus.job(job_id).state.ended
        except DockbusError:
            return False

    # -- its end ---------------------------------------------------------------------------

    def handle_job_success(
        self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry, execution: Execution
    ) -> None:
        """Record the result, as RQ does, then tell."""
        super().handle_job_success(job, queue, started_job_registry, execution)
        self._ended(job, JobState.SUCCEEDED)

    def _finalize_failure(
        self, job: Job, queue: Queue, execution: Execution, exc_info: ExcInfo
    ) -> None:
        """Decide what an exception means: back to the queue, canceled, another attempt later, or failed."""
        error = cast("BaseException", exc_info[1])
        if isinstance(error, HandBack):
            self._hand_back(job, execution)
        elif isinstance(error, JobCanceled):
            self._cancel(job, execution)
        else:
            failure = Failure.of(error)
            self._bus.job_store.remember_failure(JobId(job.id), failure)
            if isinstance(error, DockbusError) and not error.retryable:
                job.retries_left = 0
            pause = 0
            if job.retries_left:
                tried = ATTEMPTS - job.retries_left
                pause = round(BACKOFF * 3 ** (tried - 1) * random.uniform(1.0, 1.5))  # noqa: S311
                job.retry_intervals = [pause]
            super()._finalize_failure(job, queue, execution, exc_info)
            if job.get_status(refresh=False) == JobStatus.FAILED:
                self._ended(job, JobState.FAILED, failure)
            else:
                log.info("job %s: another attempt in about %d s", job.id, pause)
                self._bus.publish_state(JobId(job.id), JobState.SCHEDULED, error=failure.code)
                if self._is_canceled(job):  # asked for while the attempt was failing: no pause then
                    self._bus.job_store.promote(self.queue.name, JobId(job.id))

    def handle_exception(self, job: Job, *exc_info: Any) -> None:  # noqa: ANN401
        """Log why a job failed: one line for what users meet, the traceback for what is our fault."""
        error = exc_info[1]
        if isinstance(error, DockbusError):
            log.warning("job %s: %s", job.id, error)
        else:
            log.error("job %s: a bug in dockbus", job.id, exc_info=error)

    def _hand_back(self, job: Job, execution: Execution) -> None:
        """Put a running job back to the front of its queue; the attempt does not count."""
        with self.connection.pipeline() as pipe:
            self.cleanup_execution(job, pipeline=pipe, execution=execution)
            job.set_status(JobStatus.QUEUED, pipeline=pipe)
            pipe.lpush(self.queue.key, job.id)
            pipe.execute()
        log.info("job %s: handed back to queue %s", job.id, self.queue.name)

    def _cancel(self, job: Job, execution: Execution) -> None:
        with self.connection.pipeline() as pipe:
            self.cleanup_execution(job, pipeline=pipe, execution=execution)
            job.set_status(JobStatus.CANCELED, pipeline=pipe)
            CanceledJobRegistry(job.origin, self.connection, job_class=self.job_class).add(
                job, pipeline=pipe
            )
            job.ended_at = datetime.now(UTC)
            job.save(pipeline=pipe, include_meta=False, include_result=False)
            job.cleanup(self._bus.settings.bus.result_ttl, pipeline=pipe, remove_from_queue=False)
            pipe.execute()
        self._ended(job, JobState.CANCELED)

    def _ended(self, job: Job, state: JobState, failure: Failure | None = None) -> None:
        job_id = JobId(job.id)
        kept = self._bus.settings.bus
        self.connection.delete(cancel_key(job_id))  # a later job of the same key is another
        self._bus.log(job_id).end(kept.failure_ttl if failure else kept.result_ttl)
        self._bus.publish_state(job_id, state, error=failure.code if failure else "")
        log.info("job %s: %s", job_id, state.value)
