"""Queues, workers, Redis, event stream and Engines as Redis' answers tell of them, and as metrics. Pure.

Redis may hold anything: what cannot be parsed is as if it were not there.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self, cast

from prometheus_client import Metric
from pydantic import ValidationError

from dockbus.jobs import Queue
from dockbus.queue.keys import RQ
from dockbus.snapshot import EngineState
from dockbus_workers.metrics import bus_families as has

REGISTRIES = {
    "started": "wip",
    "finished": "finished",
    "failed": "failed",
    "deferred": "deferred",
    "scheduled": "scheduled",
    "canceled": "canceled",
}
"""States of jobs other than queued, as RQ names them, and where they are."""


@dataclass(frozen=True)
class QueueState:
    """One queue."""

    name: str
    jobs: Mapping[str, int]
    """How many, by state."""
    oldest: datetime | None
    """Since when the job has been queued that has been so longest."""

    @classmethod
    def parse(cls, name: str, queued: Any, ends: Sequence[Any], oldest: Any) -> Self:  # noqa: ANN401  Redis' answers
        """The queue in these answers."""
        counts = dict(zip(REGISTRIES, ends, strict=True))
        jobs = {state: n for state, n in counts.items() if isinstance(n, int)}
        waiting = {"queued": queued} if isinstance(queued, int) else {}
        return cls(name, waiting | jobs, _moment(oldest))

    @property
    def base(self) -> str:
        """The queue whose slots its jobs take."""
        return self.name.partition("@")[0]


@dataclass(frozen=True)
class WorkerState:
    """One worker."""

    name: str
    state: str
    queues: str
    """Their names, separated by commas."""
    last_heartbeat: datetime | None
    successful_job_count: float
    failed_job_count: float
    total_working_time: float
    slots: float

    @property
    def is_free(self) -> bool:
        """Whether it has no job: it waits for one, or takes none for now."""
        return self.state in ("idle", "suspended")

    @classmethod
    def parse(cls, key: bytes, answer: Any) -> Self | None:  # noqa: ANN401  Redis' answer
        """The worker in this answer; None where it is none, or no longer there."""
        if not isinstance(answer, list):
            return None
        found = dict(zip(WORKER_FIELDS, cast("list[bytes | None]", answer), strict=True))
        if not found["queues"]:
            return None
        return cls(
            name=_text(key).removeprefix(f"{RQ}:worker:"),
            state=_text(found["state"]) or "?",
            queues=_text(found["queues"]),
            last_heartbeat=_moment(found["last_heartbeat"]),
            successful_job_count=_number(found["successful_job_count"]),
            failed_job_count=_number(found["failed_job_count"]),
            total_working_time=_number(found["total_working_time"]),
            slots=_number(found["slots"]),
        )


WORKER_FIELDS = tuple(field.name for field in fields(WorkerState) if field.name != "name")
"""Fields of a worker's hash, RQ's own and `slots`."""


@dataclass(frozen=True)
class BusState:
    """All of it, at one moment."""

    now: datetime
    """By the clock of Redis."""
    memory: float
    memory_limit: float
    events: int
    groups: Sequence[tuple[str, float, float | None]]
    """Name, pending, lag; the lag may not be known."""
    suspended: Mapping[str, int]
    """How many objects, by rule."""
    engines: Sequence[EngineState]
    queues: Sequence[QueueState]
    workers: Sequence[WorkerState]

    @classmethod
    def parse(
        cls,
        now: tuple[int, int],
        memory: Mapping[str, Any],
        events: int,
        groups: Iterable[Mapping[str, Any]],
        suspended: Iterable[tuple[bytes, float]],
        engines: Mapping[bytes, bytes],
        queues: Sequence[QueueState],
        workers: Sequence[WorkerState],
    ) -> Self:
        """The state in these answers."""
        seconds = now[0] + now[1] / 1e6
        held: list[EngineState] = []
        for raw in engines.values():
            with contextlib.suppress(ValidationError):
                held.append(EngineState.model_validate_json(raw))
        return cls(
            now=datetime.fromtimestamp(seconds, UTC),
            memory=_number(memory.get("used_memory")),
            memory_limit=_number(memory.get("maxmemory")),
            events=events,
            groups=[(_text(one["name"]), one["pending"], one.get("lag")) for one in groups],
            suspended=Counter(_text(r).partition(":")[0] for r, end in suspended if end > seconds),
            engines=held,
            queues=queues,
            workers=workers,
        )


def described(bus: BusState) -> Iterator[Metric]:
    """The families that tell of it."""
    yield has.REDIS_MEMORY.of(bus.memory)
    yield has.REDIS_LIMIT.of(bus.memory_limit)
    yield has.EVENTS_STORED.of(bus.events)
    yield has.GROUP_PENDING.of(*((pending, {"group": name}) for name, pending, _ in bus.groups))
    yield has.GROUP_LAG.of(
        *((lag, {"group": name}) for name, _, lag in bus.groups if lag is not None)
    )
    yield has.SUSPENDED.of(*((count, {"rule": rule}) for rule, count in bus.suspended.items()))
    yield has.CONNECTED.of(*((float(one.connected), {"engine": one.name}) for one in bus.engines))
    yield has.RESYNC_AGE.of(
        *((_age(bus, one.resynced), {"engine": one.name}) for one in bus.engines if one.resynced)
    )
    yield from _of_queues(bus)
    yield from _of_workers(bus)


def _of_queues(bus: BusState) -> Iterator[Metric]:
    yield has.JOBS.of(
        *(
            (number, {"queue": queue.name, "status": state})
            for queue in bus.queues
            for state, number in queue.jobs.items()
        )
    )
    yield has.OLDEST_JOB.of(
        *((_age(bus, queue.oldest), {"queue": queue.name}) for queue in bus.queues)
    )
    workers = Counter({queue.name: 0 for queue in bus.queues})
    beats: dict[str, float] = defaultdict(float)
    slots: dict[str, float] = {queue.value: 0.0 for queue in Queue}
    for worker in bus.workers:
        for name in worker.queues.split(","):
            workers[name] += 1
            beats[name] = max(beats[name], _age(bus, worker.last_heartbeat))
            if "@" not in name:  # a process' two workers share its slots
                slots[name] = slots.get(name, 0.0) + worker.slots
    busy = Counter(dict.fromkeys(slots, 0))
    for queue in bus.queues:
        busy[queue.base] += queue.jobs.get("started", 0)
    yield from (
        family.of(*((value, {"queue": name}) for name, value in values.items()))
        for family, values in (
            (has.QUEUE_WORKERS, workers),
            (has.HEARTBEAT, beats),
            (has.SLOTS, slots),
            (has.SLOTS_BUSY, busy),
        )
    )


def _of_workers(bus: BusState) -> Iterator[Metric]:
    named = [(worker, {"name": worker.name, "queues": worker.queues}) for worker in bus.workers]
    yield has.WORKERS.of(*((1.0, labels | {"state": one.state}) for one, labels in named))
    yield has.WORKER_SUCCESSES.of(*((one.successful_job_count, labels) for one, labels in named))
    yield has.WORKER_FAILURES.of(*((one.failed_job_count, labels) for one, labels in named))
    yield has.WORKING_TIME.of(*((one.total_working_time, labels) for one, labels in named))


def _age(bus: BusState, since: datetime | None) -> float:
    """Seconds, never less than none: another machine's clock may be ahead."""
    return max(0.0, (bus.now - since).total_seconds()) if since else 0.0


def _text(raw: bytes | str | None) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""


def _number(raw: bytes | float | None) -> float:
    try:
        return float(raw or 0.0)
    except ValueError:
        return 0.0


def _moment(raw: Any) -> datetime | None:  # noqa: ANN401  Redis' answer
    """A time as RQ writes it."""
    try:
        return datetime.fromisoformat(_text(raw)).astimezone(UTC)
    except (ValueError, TypeError, AttributeError):
        return None
