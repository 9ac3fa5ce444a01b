"""The programmatic face of dockbus: put jobs on the bus, follow them, cancel them, read events.

    bus = Bus.connect()
    job = bus.enqueue(Run(image="busybox", command=["echo", "hello"]))
    for line in job.logs(follow=True):
        print(line.text)
    print(job.wait(timeout=60).exit_code)

Every method that asks Redis raises `RedisUnavailable` when it does not answer; nothing is half done then.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Self

from pydantic import JsonValue
from redis import Redis

from dockbus.connection import connect, ping, reachable
from dockbus.errors import InvalidSpec, JobCanceled, JobFailed, RedisUnavailable, WaitTimeout
from dockbus.events import Event, EventStream, StoredEvent
from dockbus.ids import JobId, StreamId
from dockbus.joblog import JobLog, LogLine, Progress
from dockbus.jobs import Result, Spec
from dockbus.queue import Jobs
from dockbus.records import JobRecord, JobState, QueueRecord
from dockbus.settings import NAME_PATTERN, Settings

ENGINE_NAME = re.compile(NAME_PATTERN)
LONGEST_DELAY = 366 * 24 * 3600
LONGEST_TIMEOUT = 7 * 24 * 3600
JOBS_SOURCE = "/dockbus/jobs"


class Bus:
    """One bus: the Redis behind it and the key that signs its jobs. Safe to share between threads."""

    def __init__(self, settings: Settings, *, patience: float = 1.0) -> None:
        self.settings = settings
        self.redis: Redis = connect(settings.redis_url, patience=patience)
        kept = settings.bus
        self.job_store = Jobs(
            self.redis, settings.bus_key(), result_ttl=kept.result_ttl, failure_ttl=kept.failure_ttl
        )
        self.event_stream = EventStream(self.redis, keep=kept.events)

    @classmethod
    def connect(cls, settings: Settings | None = None) -> Self:
        """The bus that the environment names: `DOCKBUS_REDIS_URL`, or the one that `dockbus up` runs here.

        Raises:
            SettingsError: a setting is wrong or the bus's key is missing.
            RedisUnavailable: Redis does not answer.
        """
        bus = cls(settings or Settings.from_env())
        ping(bus.redis)
        return bus

    def close(self) -> None:
        """Let go of the connections."""
        self.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- jobs ------------------------------------------------------------------------------

    def enqueue(
        self,
        spec: Spec,
        *,
        key: str | None = None,
        engine: str | None = None,
        priority: str = "normal",
        delay: float = 0.0,
        timeout: float | None = None,
    ) -> JobHandle:
        """Put a job on the bus; when this returns, Redis has it.

        Args:
            spec: what to do.
            key: idempotency key: while the first job with it is kept, the same key and spec return that job.
            engine: name of the one Engine it must run on; None for any.
            priority: `normal`, or `high` to go before all that is queued now.
            delay: seconds to wait before it is queued.
            timeout: seconds one attempt may take; None for the kind's own limit.

        Raises:
            InvalidSpec: an argument is out of bounds.
            KeyConflict: the key belongs to a job with another spec.
            RedisUnavailable: Redis does not answer; the job may be sent again with the same key.
        """
        wrong = [
            text
            for fine, text in (
                (
                    priority in ("normal", "high"),
                    f"priority: {priority!r} is neither 'normal' nor 'high'",
                ),
                (
                    engine is None or ENGINE_NAME.fullmatch(engine),
                    f"engine: {engine!r} cannot be an Engine's name",
                ),
                (
                    0 <= delay <= LONGEST_DELAY,
                    f"delay: {delay} is not between 0 and {LONGEST_DELAY} seconds",
                ),
                (
                    timeout is None or 0 < timeout <= LONGEST_TIMEOUT,
                    f"timeout: {timeout} is not between 0 and {LONGEST_TIMEOUT} seconds",
                ),
            )
            if not fine
        ]
        if wrong:
            raise InvalidSpec("; ".join(wrong))
        with reachable():
            job_id, new = self.job_store.add(
                spec, key=key, engine=engine, front=priority == "high", delay=delay, timeout=timeout
            )
        if new:
            with suppress(RedisUnavailable):  # Redis has the job: that must not look like a refusal
                self.publish_state(job_id, JobState.SCHEDULED if delay else JobState.QUEUED, spec)
        return JobHandle(self, job_id)

    def job(self, job_id: str) -> JobHandle:
        """A handle on a job that exists.

        Raises:
            JobNotFound: it does not.
        """
        handle = JobHandle(self, JobId(job_id))
        handle.refresh()
        return handle

    def jobs(self, *, limit: int = 50, offset: int = 0) -> Sequence[JobRecord]:
        """The newest jobs, newest first."""
        with reachable():
            return self.job_store.newest(limit=limit, offset=offset)

    def cancel(self, job_id: str) -> None:
        """Cancel a job. One that runs is stopped by its worker, container and all, within a second or two.

        Raises:
            JobNotFound: there is none.
            JobNotCancelable: it has ended.
        """
        job = JobId(job_id)
        with reachable():
            if self.job_store.cancel(job):
                self.log(job).end(self.settings.bus.result_ttl)
                self.publish_state(job, JobState.CANCELED)

    def queues(self) -> list[QueueRecord]:
        """All queues as they stand."""
        with reachable():
            return self.job_store.queues()

    def log(self, job_id: JobId) -> JobLog:
        """The log of a job."""
        return JobLog(self.redis, job_id, lines=self.settings.bus.log_lines)

    # -- events ----------------------------------------------------------------------------

    def events(self, *, since: str = "", follow: bool = True) -> Iterator[StoredEvent]:
        """Events after the position `since` (`0`: all that are kept; default: from now on), as they happen.

        With `follow=False` it stops when it has given those that are there.
        """
        after = StreamId(since) if since else self.event_stream.end()
        return self.event_stream.follow(after) if follow else self.event_stream.kept(after)

    def publish(self, event: Event) -> StreamId | None:
        """Put an event on the stream; None if that very event is there already."""
        return self.event_stream.publish(event)

    def publish_state(
        self, job_id: JobId, state: JobState, spec: Spec | None = None, **data: str | float
    ) -> None:
        """Say that a job has entered a state, as the event `io.dockbus.job.STATE`; empty facts are left out."""
        facts = {"kind": spec.kind.value, "image": getattr(spec, "image", "")} if spec else {}
        said: dict[str, JsonValue] = {
            key: value for key, value in (facts | data).items() if value != ""
        }
        kind = f"io.dockbus.job.{state.value}"
        self.publish(Event(source=JOBS_SOURCE, type=kind, subject=job_id, data=said))


class JobHandle:
    """One job on the bus, to follow, wait for or cancel."""

    def __init__(self, bus: Bus, job_id: JobId) -> None:
        self._bus = bus
        self.id = job_id

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def refresh(self) -> JobRecord:
        """The job's record, as it stands now.

        Raises:
            JobNotFound: it is no longer kept.
        """
        with reachable():
            return self._bus.job_store.get(self.id)

    @property
    def state(self) -> JobState:
        """The job's state now."""
        return self.refresh().state

    def follow(
        self, *, after: str = "0", timeout: float | None = None
    ) -> Iterator[LogLine | Progress]:
        """Log lines and progress from the beginning (or after that entry) to the job's end, or for `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        yield from self._bus.log(self.id).follow(
            StreamId(after), ended=lambda: self.state.ended, deadline=deadline
        )

    def logs(self, *, after: str = "0", follow: bool = False) -> Iterator[LogLine]:
        """Log lines: those that are there, or with `follow` to the job's end."""
        if follow:
            yield from (entry for entry in self.follow(after=after) if isinstance(entry, LogLine))
            return
        position = StreamId(after)
        while batch := self._bus.log(self.id).read(position)[0]:
            yield from (entry for entry in batch if isinstance(entry, LogLine))
            position = batch[-1].id

    def wait(self, timeout: float | None = None) -> Result:
        """The job's result, as soon as there is one.

        Raises:
            JobFailed: it failed; the message says why and what to do.
            JobCanceled: it was canceled.
            WaitTimeout: it has not ended within `timeout` seconds.
        """
        for _ in self.follow(after=self._bus.log(self.id).newest(), timeout=timeout):
            pass
        record = self.refresh()
        if record.result is not None:
            return record.result
        if record.state is JobState.CANCELED:
            raise JobCanceled(self.id)
        if record.state is JobState.FAILED:
            raise JobFailed(f"{self.id}: {record.error}" if record.error else self.id)
        raise WaitTimeout(f"job {self.id} is {record.state.value} after {timeout} s")

    def cancel(self) -> None:
        """Cancel the job; see `Bus.cancel`."""
        self._bus.cancel(self.id)
