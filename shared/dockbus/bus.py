"""The programmatic face of dockbus: put jobs on the bus, follow them, cancel them, read events.

    bus = Bus.connect()
    job = bus.enqueue(Run(image="busybox", command=["echo", "hello"]))
    for line in job.logs(follow=True):
        print(line.text)
    print(job.wait(timeout=60).exit_code)

Every method that asks Redis raises `RedisUnavailable` when it does not answer; nothing is half done then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import JsonValue, ValidationError
from redis import Redis

from dockbus.artefacts import Artefact, pick
from dockbus.blobs import PIECE, Blob, Blobs
from dockbus.connection import connect, ping, reachable
from dockbus.errors import (
    InvalidSpec,
    JobCanceled,
    JobFailed,
    JobNotReplayable,
    WaitTimeout,
)
from dockbus.event_reader import EventFilter, EventReader, Since, position_of
from dockbus.events import WINDOW, Event, EventStream
from dockbus.ids import JobId, StreamId
from dockbus.joblog import JobLog, LogLine, Progress
from dockbus.jobs import Result, Spec, explain, parse_spec
from dockbus.orders import Order
from dockbus.queue import Jobs
from dockbus.records import JobRecord, JobState, QueueRecord
from dockbus.retries import RetryPolicy
from dockbus.settings import Settings
from dockbus.snapshot import Snapshot
from dockbus.stats import Stats
from dockbus.subscription import Subscription


class Bus:
    """One bus: the Redis behind it and the key that signs its jobs. Safe to share between threads."""

    def __init__(self, settings: Settings, *, patience: float = 1.0) -> None:
        self.settings = settings
        self.redis: Redis = connect(settings.redis_url, patience=patience)
        self.job_store = Jobs(self.redis, settings.bus_keys(), settings.bus)
        self.event_stream = EventStream(
            self.redis, keep=settings.bus.events, age=settings.bus.events_age
        )
        self.blobs = Blobs(self.redis, limit=settings.bus.blob_size)
        self.snapshot = Snapshot(self.redis)
        self.stats = Stats(self.redis)

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
        after: Sequence[JobHandle | JobId | str] = (),
        after_failure: str = "fail",
        exclusive: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> JobHandle:
        """Put a job on the bus; when this returns, Redis has it.

        Args:
            spec: what to do.
            key: idempotency key: while the first job with it is kept, the same key and spec return that job.
            engine: name of the one Engine it must run on; None for any.
            priority: `normal`, or `high` to go before all that is queued now.
            delay: seconds to wait before it is queued.
            timeout: seconds one attempt may take; None for the kind's own limit.
            after: jobs that must end before it is queued.
            after_failure: what becomes of it when one of those does not succeed: `fail`, `skip` (it is
                canceled) or `run` all the same.
            exclusive: name of a thing that only one job at a time may work on.
            retry: how often it is tried again; None for the kind's own policy.

        Raises:
            InvalidSpec: an argument is out of bounds.
            JobNotFound: one of `after` is not there.
            KeyConflict: the key belongs to a job with another spec.
            RedisUnavailable: Redis does not answer; the job may be sent again with the same key.
        """
        order = _order(
            spec,
            key=key,
            engine=engine,
            priority=priority,
            delay=delay,
            timeout=timeout,
            after=after,
            after_failure=after_failure,
            exclusive=exclusive,
            retry=retry,
        )
        return self.enqueue_many([order])[0]

    def enqueue_many(self, orders: Iterable[Order | Spec]) -> list[JobHandle]:
        """Put many jobs on the bus, a thousand in one round trip, each as `enqueue` does.

        Raises:
            InvalidSpec: one is too large; none was put on the bus.
            JobNotFound: a job that one of them waits for is not there; the others are on the bus.
            KeyConflict: a key belongs to a job with another spec; the others are on the bus.
            RedisUnavailable: Redis does not answer. A part may be on the bus: send them again with the same keys.
        """
        with reachable():
            ids = self.job_store.add([_ordered(order) for order in orders])
        return [JobHandle(self, job_id) for job_id in ids]

    def chain(self, *orders: Order | Spec) -> list[JobHandle]:
        """Put jobs on the bus that run one after the other; each waits for the one before it.

        Raises:
            the same as `enqueue_many`.
        """
        with reachable():
            ids: list[JobId] = []
            linked: list[Order] = []
            for order in map(_ordered, orders):
                after = (*order.after, *ids[-1:])
                linked.append(order.model_copy(update={"after": after}))
                ids.append(self.job_store.identify(order))
            ids = self.job_store.add(linked, ids)
        return [JobHandle(self, job_id) for job_id in ids]

    def replay(self, job_id: str, edits: Mapping[str, JsonValue] | None = None) -> JobHandle:
        """Order a job that has ended again: on the same terms, but at once. Without edits, that is done once only.

        Args:
            job_id: the job.
            edits: fields of its spec to change.

        Raises:
            JobNotFound: there is none.
            JobNotReplayable: it has not ended yet.
            JobRefused: its record is not to be trusted, or is of a newer dockbus.
            InvalidSpec: an edit is not valid.
        """
        record = self.job(job_id).refresh()
        if record.spec is None or record.terms is None:
            raise record.refusal()
        if not record.state.ended:
            raise JobNotReplayable(f"job {job_id} is {record.state.value}")
        spec = record.spec
        if edits:
            spec = parse_spec(json.dumps({**spec.model_dump(mode="json"), **edits}))
        terms = record.terms.model_dump(
            include={"engine", "priority", "timeout", "exclusive", "retry"}, exclude_defaults=True
        )
        key = None if edits else f"replay {job_id}"
        return self.enqueue_many([Order(spec=spec, key=key, replay_of=record.id, **terms)])[0]

    def job(self, job_id: str) -> JobHandle:
        """A handle on a job that exists.

        Raises:
            JobNotFound: it does not.
        """
        handle = JobHandle(self, JobId(job_id))
        handle.refresh()
        return handle

    def jobs(
        self, *, limit: int = 50, offset: int = 0, states: Collection[JobState] = ()
    ) -> Sequence[JobRecord]:
        """The newest jobs, newest first; with `states`, those in one of them."""
        with reachable():
            return self.job_store.newest(limit=limit, offset=offset, states=states)

    def cancel(self, job_id: str) -> None:
        """Cancel a job. One that runs is stopped by its worker, container and all, within a second or two.

        Raises:
            JobNotFound: there is none.
            JobNotCancelable: it has ended.
        """
        with reachable():
            self.job_store.cancel(JobId(job_id))

    def queues(self) -> list[QueueRecord]:
        """All queues as they stand."""
        with reachable():
            return self.job_store.queues()

    def log(self, job_id: JobId) -> JobLog:
        """The log of a job."""
        return JobLog(self.redis, job_id)

    def upload(self, source: bytes | str | Path | Iterable[bytes]) -> Blob:
        """Put bytes on the bus that a job is to use, such as the tar of a build context. They stay as long as an order holds.

        Args:
            source: the bytes, the path of a file that holds them, or pieces of them.

        Raises:
            BlobTooLarge: they are too many.
            RedisUnavailable: Redis does not answer.
        """
        ttl = self.settings.bus.job_ttl
        if isinstance(source, str | Path):
            with Path(source).open("rb") as file:
                return self.blobs.put(iter(lambda: file.read(PIECE), b""), ttl=ttl)
        return self.blobs.put([source] if isinstance(source, bytes) else source, ttl=ttl)

    # -- events ----------------------------------------------------------------------------

    def events(
        self,
        *,
        since: Since = "",
        follow: bool = True,
        types: str | Sequence[str] = (),
        sources: str | Sequence[str] = (),
        subjects: str | Sequence[str] = (),
    ) -> EventReader:
        """Events as they happen, or with `follow=False` those that are there, to iterate over.

        Args:
            since: begin after a position (`0`: all that are kept), at a moment, or so long ago (`10m`, a timedelta);
                default: from now on. Where some since then are gone, the log says so, and `gone` of the answer.
            follow: go on for ever.
            types: globs such as `io.dockbus.docker.container.*`, one of which must match; none: any.
            sources: likewise, such as `/engines/edge`.
            subjects: likewise, such as a job's ID.

        Raises:
            NoSuchPlace: `since` cannot be made out.
        """
        after = position_of(since) if since else self.event_stream.end()
        wanted = EventFilter(types, sources, subjects)
        return EventReader(self.event_stream, after, wanted, follow=follow)

    def subscription(
        self,
        name: str,
        *,
        since: Since = "",
        types: str | Sequence[str] = (),
        sources: str | Sequence[str] = (),
        subjects: str | Sequence[str] = (),
    ) -> Subscription:
        """A part in the events, shared with all others who subscribe by that name; to iterate over, for ever.

        Each event goes to one of them, at least once. It is done when the loop asks for the next; what one has left
        undone for a minute goes to another. The group remembers its place: `since` holds when it is new.

        `name` is the group's, the rest as for `events`; all members of a group must ask for the same events.

        Raises:
            NoSuchPlace: `since` cannot be made out.
        """
        wanted = EventFilter(types, sources, subjects)
        return Subscription(self.redis, name, wanted, position_of(since) if since else None)

    def publish(self, event: Event, *, window: float = WINDOW) -> StreamId | None:
        """Put an event on the stream; None if that very event was put there within the last `window` seconds."""
        return self.event_stream.publish(event, window=window)


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
            StreamId(after), ended=lambda: _is_over(self.refresh()), deadline=deadline
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
            JobRefused: its record is not to be trusted, another key signed it, or it is of a newer dockbus.
            WaitTimeout: it has not ended within `timeout` seconds.
        """
        if not _is_over(record := self.refresh()):
            for _ in self.follow(after=self._bus.log(self.id).newest(), timeout=timeout):
                pass
            record = self.refresh()
        if record.result is not None:
            return record.result
        if record.spec is None:
            raise record.refusal()
        told = f"{self.id}: {record.error}" if record.error else self.id
        if record.state is JobState.CANCELED:
            raise JobCanceled(told)
        if record.state.ended:
            raise JobFailed(told)
        raise WaitTimeout(f"job {self.id} is {record.state.value} after {timeout} s")

    def artefacts(self) -> Sequence[Artefact]:
        """The files that the job has left; none as long as it has not succeeded."""
        return getattr(self.refresh().result, "artefacts", ())

    def artefact(self, name: str) -> Iterator[bytes]:
        """One of the files that the job has left, in pieces.

        Raises:
            ArtefactNotFound: it has left none of that name.
            BlobNotFound: it is no longer kept.
        """
        return self._bus.blobs.read(pick(self.artefacts(), name).digest)

    def cancel(self) -> None:
        """Cancel the job; see `Bus.cancel`."""
        self._bus.cancel(self.id)


def _is_over(record: JobRecord) -> bool:
    """Whether there is nothing more to learn of that job; of one that another key signed, there never is."""
    return record.state.ended or record.spec is None


def _order(spec: Spec, **terms: Any) -> Order:  # noqa: ANN401  they are checked here
    try:
        return Order(spec=spec, **terms)
    except ValidationError as error:
        raise InvalidSpec(explain(error)) from None


def _ordered(order: Order | Spec) -> Order:
    return order if isinstance(order, Order) else Order(spec=order)
