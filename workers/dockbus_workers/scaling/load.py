"""What Redis knows of the queues and workers that are scaled, in two round trips however many there are.

A queue that any Engine may serve is shared between the Engines whose workers serve it: each scaler provides for its
part, so that two of them do not both make workers for the same jobs.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from dockbus.connection import reachable
from dockbus.jobs import Queue
from dockbus.queue import queue_name
from dockbus.queue.keys import RQ, queue_key
from dockbus_workers.metrics.bus_collector import read_each
from dockbus_workers.metrics.bus_state import QueueState, WorkerState


@dataclass(frozen=True)
class Jobs:
    """What is to be done by the workers of one service."""

    queued: int
    started: int
    oldest: float
    """Seconds that the oldest of those that wait has waited."""


@dataclass(frozen=True)
class Load:
    """All of it, at one moment."""

    now: datetime
    """By the clock of Redis."""
    queues: Mapping[str, QueueState]
    workers: tuple[WorkerState, ...]

    def jobs(self, queue: Queue, serving: Iterable[WorkerState], engine: str) -> Jobs:
        """Those that only the Engines of these workers may do, and their part of those that any Engine may do.

        Args:
            queue: which jobs.
            serving: the workers.
            engine: the Engine that they are taken to have as long as there are none.
        """
        pinned = _pinned(queue, serving) or {queue_name(queue, engine)}
        everywhere = pinned | _pinned(queue, self.workers)
        shared = self._states({queue_name(queue, None)})
        own = self._states(pinned)

        def number(state: str) -> int:
            mine, all_of_them = (
                sum(it.jobs.get(state, 0) for it in each) for each in (own, shared)
            )
            return mine + math.ceil(all_of_them * len(pinned) / len(everywhere))

        since = [it.oldest for it in (*own, *shared) if it.oldest]
        oldest = max((max(0.0, (self.now - it).total_seconds()) for it in since), default=0.0)
        return Jobs(number("queued"), number("started"), oldest)

    def serving(self, queue: Queue, host: str) -> tuple[WorkerState, ...]:
        """The workers of a queue in the container with this host name; a process has two."""
        return tuple(it for it in self.workers if it.name.startswith(f"{host}-{queue.value}-"))

    def _states(self, names: Iterable[str]) -> list[QueueState]:
        return [self.queues[name] for name in names if name in self.queues]


def slots_of(workers: Iterable[WorkerState], default: int) -> float:
    """Slots of one worker process, on average; the default where there is none."""
    found = [it.slots for it in workers if "@" not in it.queues and it.slots > 0]
    return sum(found) / len(found) if found else float(default)


def read_load(redis: Redis, queues: Collection[Queue]) -> Load:
    """What there is to know of these queues, those for single Engines included.

    Raises:
        RedisUnavailable: Redis does not answer.
    """
    with reachable():
        with redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.smembers(f"{RQ}:queues")
            pipe.smembers(f"{RQ}:workers")
            (seconds, micros), known, workers = pipe.execute()
        names = {raw.decode().removeprefix(queue_key("")) for raw in known}
        wanted = {name for name in names if name.partition("@")[0] in queues}
        states, found = read_each(redis, wanted, sorted(workers))
    return Load(
        now=datetime.fromtimestamp(seconds + micros / 1e6, UTC),
        queues={state.name: state for state in states},
        workers=tuple(found),
    )


def _pinned(queue: Queue, workers: Iterable[WorkerState]) -> set[str]:
    """The queues for single Engines that these serve."""
    names = {name for worker in workers for name in worker.queues.split(",")}
    return {name for name in names if name.startswith(f"{queue.value}@")}
