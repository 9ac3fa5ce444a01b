"""Asking for stats: once, again and again, or in the background.

    for one in bus.stats(name="shop-*"):
        print(one.name, one.cpu_percent, one.memory_bytes)

What comes has been measured after it was asked for. CPU takes two measurements, so the first answer takes some three
seconds; while somebody goes on asking there is one every two seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from redis import Redis

from dockbus.errors import DockbusError, RedisUnavailable
from dockbus.stats.board import WISH, Board
from dockbus.stats.model import ContainerStats, EngineStats, Wanted

log = logging.getLogger(__name__)

PAUSE = 0.1
"""Seconds between two looks for an answer."""
PATIENCE = 15.0
"""Seconds after which a metrics worker that has measured nothing is given up: one Engine takes a second for each look at itself."""


Callback = Callable[[list[ContainerStats]], object]


class StatsUnavailable(DockbusError):
    """Nobody measures these containers.

    Start `dockbus metrics` beside their Engine, with the same DOCKBUS_REDIS_URL and with that Engine's
    DOCKBUS_ENGINE_NAME; if it runs, its log says what it lacks.
    """

    retryable = True


class Feed:
    """Measurements that come after this was made. `look` does not wait, so any loop can call it."""

    def __init__(self, board: Board, wanted: Wanted) -> None:
        self._board = board
        self._wanted = wanted
        self._known: dict[str, str] | None = None
        self._looked = self._heard = float("-inf")

    def look(self) -> tuple[set[str], list[EngineStats]]:
        """The Engines that are measured, and what has been measured since the last look, of the containers wanted.

        Raises:
            StatsUnavailable: no metrics worker is there, or none of them measures anything.
            RedisUnavailable: Redis does not answer.
        """
        now = time.monotonic()
        sequences, found = self._board.wish(self._wanted.engine, self._known or {})
        where = f"Engine {self._wanted.engine}" if self._wanted.engine else "any Engine"
        if not sequences:
            raise StatsUnavailable(f"there is no metrics worker for {where}")
        if self._known is None:  # what was there before is not known to be right still
            found = []
        if found or now - self._looked > WISH:  # nothing is measured that nobody asks for
            self._heard = now
        if now - self._heard > PATIENCE:
            raise StatsUnavailable(f"nothing has come from {where} for {PATIENCE:g} s")
        self._known, self._looked = sequences, now
        return set(sequences), [self._chosen(one) for one in found]

    def _chosen(self, measured: EngineStats) -> EngineStats:
        chosen = [one for one in measured.containers if self._wanted.match(one)]
        return measured.model_copy(update={"containers": chosen})


class Round:
    """One answer about all containers wanted. `look` does not wait either."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._begun = time.monotonic()
        self._found: dict[str, EngineStats] = {}

    def look(self) -> list[ContainerStats] | None:
        """What they use, by Engine and name; None as long as an Engine has not been measured since this was made.

        Raises:
            StatsUnavailable: nobody measures them, or no Engine answers.
            RedisUnavailable: Redis does not answer.
        """
        engines, new = self._feed.look()
        found = self._found = self._found | {one.engine: one for one in new}
        late = found and time.monotonic() - self._begun > PATIENCE
        if not (late or engines <= found.keys()):
            return None
        if not any(one.up for one in found.values()):
            raise StatsUnavailable(f"{', '.join(sorted(found))}: the Engine does not answer")
        return [one for name in sorted(found) for one in found[name].containers]


class StatsWatch:
    """Stats, one round after the other: to iterate over, or in the background."""

    def __init__(self, board: Board, wanted: Wanted, interval: float) -> None:
        self._feed = Feed(board, wanted)
        self._interval = interval
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[list[ContainerStats]]:
        """One round every `interval` seconds, or as fast as is measured, until `stop` is called.

        Raises:
            StatsUnavailable: nobody measures them.
            RedisUnavailable: Redis does not answer.
        """
        while not self._stopping.is_set():
            begun = time.monotonic()
            yield self.round()
            self._stopping.wait(max(0.0, begun + self._interval - time.monotonic()))

    def round(self) -> list[ContainerStats]:
        """What the containers use now, by Engine and name; waits for the next measurement of each Engine.

        An Engine that does not answer is left out, unless none does.

        Raises:
            StatsUnavailable: nobody measures them, or no Engine answers.
            RedisUnavailable: Redis does not answer.
        """
        this = Round(self._feed)
        while (found := this.look()) is None:
            if self._stopping.wait(PAUSE):
                return []
        return found

    def start(self, callback: Callback) -> Self:
        """Go on in a thread, and call this with each round; returns at once. Whatever goes wrong is logged, and ends nothing."""
        self._thread = threading.Thread(
            target=self._run, args=(callback,), name="stats", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """End it, from any thread; a callback that is under way is waited for, for five seconds at most."""
        self._stopping.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, callback: Callback) -> None:
        away = False
        while not self._stopping.is_set():
            try:
                for found in self:
                    away = False
                    if not self._stopping.is_set():
                        self._tell(callback, found)
            except (StatsUnavailable, RedisUnavailable) as error:
                if not away:
                    log.warning("no stats: %s", error)
                away = True
                self._stopping.wait(1.0)

    @staticmethod
    def _tell(callback: Callback, found: list[ContainerStats]) -> None:
        try:
            callback(found)
        except Exception:
            log.exception("what was to be done with stats failed")


class Stats:
    """The stats of a bus: `bus.stats()` for one answer, `bus.stats.watch()` for one after the other."""

    def __init__(self, redis: Redis) -> None:
        self.board = Board(redis)

    def __call__(
        self,
        *,
        engine: str | None = None,
        name: str | Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> list[ContainerStats]:
        """What running containers use now, by Engine and name.

        Args:
            engine: only on the Engine with this name; None for all that are measured.
            name: only with such a name (a glob, or several), or with an ID that begins so.
            labels: only with all of these; an empty value matches any.

        Raises:
            StatsUnavailable: no metrics worker runs for them, or its Engine does not answer.
            RedisUnavailable: Redis does not answer.
        """
        return self.watch(engine=engine, name=name, labels=labels).round()

    def watch(
        self,
        *,
        engine: str | None = None,
        name: str | Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        interval: float = 30.0,
    ) -> StatsWatch:
        """The same every `interval` seconds: to iterate over, or with `start(callback)` in the background."""
        return StatsWatch(self.board, Wanted(engine, name, labels or {}), interval)

    def feed(self, wanted: Wanted) -> Feed:
        """Measurements as they come, for a loop of one's own."""
        return Feed(self.board, wanted)

    def round(self, wanted: Wanted) -> Round:
        """One answer, likewise."""
        return Round(self.feed(wanted))
