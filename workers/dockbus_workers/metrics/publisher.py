"""What the metrics worker puts on the bus: stats while somebody wants them, events about containers over their limits.

One thread beside the HTTP server, over the same sweeps. It asks Redis once a second whether somebody wants stats; as long
as nobody does and there is no limit, nothing is measured. Only the worker that leads for its Engine publishes. Without
Redis there is nobody to tell: it waits, and scrapes go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from dockbus.connection import connect
from dockbus.errors import RedisUnavailable
from dockbus.settings import Settings
from dockbus.stats import Board, EngineStats
from dockbus_workers.metrics.guard import Guard
from dockbus_workers.metrics.sweep import Sweep, Sweeper
from dockbus_workers.metrics.usage import Usage

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two questions whether somebody wants stats."""
PERIOD = 2.0
"""Seconds between two measurements while somebody does."""
FIRST = 1.6
"""Seconds between the first two, so that the first answer comes soon."""
SOON = 0.5
"""Seconds after which is looked anew where the last sweep was still fresh."""
HASTE = 3.0
"""Seconds that one of them may take."""


@contextmanager
def publishing(settings: Settings, sweeper: Sweeper, leads: Callable[[], bool]) -> Generator[None]:
    """Publish for the block, in a thread; `leads` says whether this process is the one to."""
    publisher = Publisher(settings, sweeper, leads)
    thread = threading.Thread(target=publisher.run, name="publisher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        publisher.stop()
        thread.join(5.0)


class Publisher:
    """Publishes for one Engine."""

    def __init__(self, settings: Settings, sweeper: Sweeper, leads: Callable[[], bool]) -> None:
        self._name = sweeper.engine
        self._redis = connect(settings.redis_url, patience=0.0)
        self._board = Board(self._redis)
        self._sweeper = sweeper
        self._leads = leads
        self._usage = Usage(self._name)
        self._last: Sweep | None = None
        self._guard = Guard(settings, sweeper, self._redis)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Publish until `stop` is called. Neither a Redis nor an Engine that is away ends it."""
        away = False
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = TICK
            try:
                pause = self._step()
                away = False
            except RedisUnavailable as error:
                if not away:
                    log.warning("stats and limits wait: %s", error)
                away = True
            except Exception:  # the thread goes on: nobody would see that it had ended
                log.exception("stats and limits of this moment are lost")
        with suppress(RedisUnavailable):
            if self._leads():
                self._board.retire(self._name)
        self._guard.close()
        self._redis.close()

    def stop(self) -> None:
        """End `run`, from any thread, as soon as what is under way is done."""
        self._stopping.set()

    def _step(self) -> float:
        """Do what is due; returns the seconds until something may be."""
        if not self._leads():
            self._usage.forget()
            self._guard.stand_by()
            return TICK
        due = time.monotonic() + TICK
        if self._board.wanted(self._name):
            due = self._measure()
        else:
            self._usage.forget()
        if time.monotonic() >= self._guard.due:
            self._guard.look()
        return max(0.0, min(due, self._guard.due) - time.monotonic())

    def _measure(self) -> float:
        """Measure; returns when to do so again, by the monotonic clock."""
        begun = time.monotonic()
        is_first = self._usage.is_new
        sweep = self._sweeper.sweep(HASTE)
        if sweep is self._last:
            return begun + SOON
        self._last = sweep
        info = self._sweeper.inventory.info
        containers = self._usage.measure(sweep.samples, info.memory if info else None)
        if is_first and containers:
            return begun + FIRST  # there is no CPU yet
        self._board.put(
            EngineStats(
                engine=self._name,
                sequence=time.time_ns(),
                time=datetime.now(UTC),
                up=sweep.up,
                containers=containers,
            )
        )
        return begun + PERIOD
