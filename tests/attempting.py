"""A worker's side of the queue, without a worker."""

from __future__ import annotations

from typing import Any

from dockbus import Bus, Cleanup
from dockbus.queue import Attempt, Attempts

SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})
WORKER = "w"
RESULT = '{"kind":"cleanup","dry_run":true,"items":[],"reclaimed":0}'


def attempts_on(bus: Bus, lease: float = 60.0) -> Attempts:
    """What a worker of the bus asks of Redis."""
    return Attempts(bus.redis, bus.settings.bus_keys(), bus.settings.bus, lease=lease)


def take(
    attempts: Attempts, most: int = 1, *, queue: str = "cleanup", engine: str = "local"
) -> list[Attempt]:
    """Begin attempts at the next jobs of a queue."""
    return attempts.take(queue, engine=engine, worker=WORKER, most=most)[0]


def settle(attempts: Attempts, attempt: Attempt, how: Any, value: str = "", **more: Any) -> bool:
    """End an attempt."""
    return attempts.settle(attempt, how, value, worker=WORKER, took=0.1, idle=True, **more)


def states(bus: Bus, job: str) -> list[str]:
    """The states that the job's events tell of."""
    return [
        stored.event.type.rpartition(".")[2]
        for stored in bus.events(since="0", follow=False)
        if stored.event.subject == job
    ]
