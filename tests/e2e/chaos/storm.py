"""A chaos run: jobs are put on the bus and canceled while things break, until every one of them has ended."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from dockbus import Bus, JobNotCancelable, JobNotFound, RedisUnavailable
from dockbus.ids import BEGINNING
from e2e.chaos.keeper import Keeper
from e2e.chaos.load import Planned

T = TypeVar("T")
CALM = 12
"""When only so many jobs are left, nothing breaks any more, or the last ones would take for ever."""
FINAL = ("succeeded", "failed", "dead", "canceled")


@dataclass
class Fault:
    """Something that breaks now and then."""

    name: str
    act: Callable[[], object]
    every: float
    """Seconds between two, on average."""
    due: float = field(default=0.0, repr=False)


class Storm:
    """One run.

    Args:
        bus: of the test; it is told at once when Redis is away.
        keeper: of the workers.
        jobs: what to put on the bus.
        rate: how many jobs to put on the bus in a second.
        dice: for the faults.
    """

    def __init__(
        self, bus: Bus, keeper: Keeper, jobs: Sequence[Planned], *, rate: float, dice: random.Random
    ) -> None:
        self.bus = bus
        self.keeper = keeper
        self.jobs = jobs
        self.faults: Counter[str] = Counter()
        self.seconds = 0.0
        self._rate = rate
        self._dice = dice
        self._ended: set[str] = set()
        self._position = BEGINNING
        self._failed: BaseException | None = None
        self._accepted = threading.Event()

    def run(
        self, faults: Sequence[Fault], *, deadline: float, say: Callable[[str], None] | None
    ) -> None:
        """Go on until all jobs have ended, or for `deadline` seconds; tells of the progress every few seconds."""
        begun = time.monotonic()
        told = begun
        for fault in faults:
            fault.due = begun + self._dice.uniform(0.3, 1.0) * fault.every
        producer = threading.Thread(target=self._produce, name="producer")
        producer.start()
        while not self.is_over():
            now = time.monotonic()
            if now - begun > deadline:
                break
            if self._accepted.is_set() and len(self.jobs) - len(self._ended) <= CALM:
                self.keeper.calm()
                faults = ()
            for fault in faults:
                if now >= fault.due:
                    fault.act()
                    self.faults[fault.name] += 1
                    fault.due = time.monotonic() + self._dice.uniform(0.5, 1.5) * fault.every
            if say and now - told > 10:
                told = now
                deaths = self.keeper.deaths.total() + self.keeper.external.total()
                say(
                    f"  {now - begun:4.0f} s: {len(self._ended)} of {len(self.jobs)} jobs have ended, "
                    f"{deaths} workers died or were stopped"
                    + "".join(f", {name} {count}" for name, count in self.faults.items())
                )
            time.sleep(0.05)
        producer.join()
        self.seconds = time.monotonic() - begun
        if self._failed:
            raise self._failed

    def is_over(self) -> bool:
        """Whether all jobs are accepted and have ended, as far as the bus' events tell."""
        with suppress(RedisUnavailable):
            for stored in self.bus.event_stream.kept(self._position):
                self._position = stored.position
                if stored.event.type.rpartition(".")[2] in FINAL:
                    self._ended.add(stored.event.subject)
        if self._failed:
            return True
        return self._accepted.is_set() and all(job.id in self._ended for job in self.jobs)

    def _produce(self) -> None:
        try:
            self._put_all()
        except BaseException as error:  # noqa: BLE001  it is raised in the test's thread
            self._failed = error

    def _put_all(self) -> None:
        cancels: list[tuple[float, str]] = []
        for job in self.jobs:
            order = job.order.model_copy(
                update={"after": tuple(self.jobs[number].id for number in job.parents)}
            )
            for _ in range(1 + job.twice):
                handle = self._insist(lambda order=order: self.bus.enqueue_many([order])[0])  # type: ignore[misc]
                assert job.id in (None, handle.id)
                job.id = handle.id
            assert job.id
            if job.canceled_after is not None:
                heapq.heappush(cancels, (time.monotonic() + job.canceled_after, job.id))
            end = time.monotonic() + self._dice.expovariate(self._rate)
            while cancels and cancels[0][0] <= end:
                self._cancel(*heapq.heappop(cancels))
            time.sleep(max(0.0, end - time.monotonic()))
        self._accepted.set()
        while cancels:
            self._cancel(*heapq.heappop(cancels))

    def _cancel(self, due: float, job: str) -> None:
        time.sleep(max(0.0, due - time.monotonic()))
        with suppress(JobNotCancelable, JobNotFound):
            self._insist(lambda: self.bus.cancel(job))

    def _insist(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except RedisUnavailable:
                time.sleep(0.1)
