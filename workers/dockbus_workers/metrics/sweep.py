"""A sweep: the resource use of all running containers of one Engine, now; done when asked for, never in between.

Control groups are read where this worker sees them; of any other container the Engine is asked, some at the same time.
Nothing of a sweep outlives it but a short-lived copy, so a container that is gone is not in the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from dockbus.engine import Engine, EngineError, EngineUnavailable
from dockbus.settings import Settings
from dockbus_workers.cgroups import Files
from dockbus_workers.metrics.calls import Calls, outcome
from dockbus_workers.metrics.groups import Watched, path_of
from dockbus_workers.metrics.inventory import Inventory
from dockbus_workers.metrics.samples import Facts, Sample, parse_stats

log = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0
"""Seconds one call may wait for the Engine, so that a stuck one is told well within a scrape."""
REUSE = 2.0
"""Seconds for which a sweep answers further scrapes: two Prometheus servers cost the Engine one sweep. Never more
than half of what a client waits: to one that asks every two seconds, each counter would stand still half the time."""
WIDTH = 8
"""Calls at the same time."""
WIDEST = 128
"""The same, for an Engine that makes each one wait."""
SOURCES = ("cgroup", "one-shot", "wide-one-shot")
"""Where numbers come from: control groups, the Engine, an Engine that answers at its next tick only."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one look at all containers of an Engine found."""

    up: bool
    """Whether the Engine answered; else there are no samples."""
    duration: float
    """Seconds it took."""
    samples: tuple[Sample, ...] = ()
    """By name."""
    results: Mapping[str, int] = field(default_factory=dict[str, int])
    """Containers by what came of asking, each of `calls.OUTCOMES`; those that were `ok` have a sample."""
    sources: frozenset[str] = frozenset()
    """Those of `SOURCES` that were used."""


class Sweeper:
    """Looks at all running containers of one Engine; safe to share between threads. Hears its events from the first sweep on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.metrics
        self.calls = Calls()
        hasty = min(settings.engine.timeout, CALL_TIMEOUT)
        self._engine = Engine(settings.engine.model_copy(update={"timeout": hasty}), pool=WIDEST)
        self.inventory = Inventory(self._engine, self.calls)
        self._lock = threading.Lock()
        self._last = Sweep(up=False, duration=0.0)
        self._ended = float("-inf")  # when the last one ended
        self._watched: dict[str, Watched] = {}
        self._files = Files()

    @property
    def engine(self) -> str:
        """The Engine's name."""
        return self._engine.name

    def close(self) -> None:
        """Hear no more events and let go of the connections."""
        self.inventory.close()
        self._engine.close()
        if self._lock.acquire(timeout=1.0):  # else one is under way, and holds them
            self._files.close()
            self._lock.release()

    def sweep(self, timeout: float) -> Sweep:
        """A sweep that takes about `timeout` seconds at most, or the latest if it is fresh; never raises."""
        deadline = time.monotonic() + timeout
        with self._lock:  # whoever waits here gets what the one before has found
            if time.monotonic() - self._ended > min(REUSE, timeout / 2):
                self._last = self._look(deadline)
                self._ended = time.monotonic()
            return self._last

    def peek(self, timeout: float) -> Sweep:
        """Whether the Engine answers within `timeout` seconds, and no samples; never raises."""
        began = time.monotonic()
        up = self._is_up(began + timeout)
        return Sweep(up=up, duration=time.monotonic() - began)

    def _is_up(self, deadline: float) -> bool:
        with self._pinging() as answer:
            return _came(answer, deadline) and self.inventory.wait(_left(deadline))

    @contextmanager
    def _pinging(self) -> Generator[Future[None]]:
        """The Engine's answer, while something else is done: a call waits as long as it likes, a scrape does not."""
        with _pool(1) as pool:
            yield pool.submit(self.calls.make, self._ping)

    def _ping(self) -> None:
        if not self._engine.ping():
            raise EngineUnavailable("no answer")

    def _look(self, deadline: float) -> Sweep:
        began = time.monotonic()
        with self._pinging() as answer:
            known = self.inventory.wait(0.0) or (
                _came(answer, deadline) and self.inventory.wait(_left(deadline))
            )
            running = self.inventory.running
            self._watch(running)
            seen = [one for one in running if one.id in self._watched]
            others = [one for one in running if one.id not in self._watched]
            answers = [_attempt(partial(_read, one, self._watched[one.id])) for one in seen]
            if not known or not _came(answer, deadline):
                return Sweep(up=False, duration=time.monotonic() - began)
        width = self._width()
        answers += self._ask(others, width, deadline)
        asked = "one-shot" if width == WIDTH else "wide-one-shot"
        return Sweep(
            up=True,
            duration=time.monotonic() - began,
            samples=tuple(
                sorted((one for _, one in answers if one), key=lambda sample: sample.name)
            ),
            results=Counter(result for result, _ in answers),
            sources=frozenset(
                source
                for source, used in (("cgroup", seen), (asked, others or not running))
                if used
            ),
        )

    def _watch(self, running: list[Facts]) -> None:
        """Find the control groups of those that are new or were not seen, and let go of those that have ended."""
        before, self._watched = self._watched, {}
        for one in running:
            if (known := before.get(one.id)) and known.pid == one.pid:
                self._watched[one.id] = before.pop(one.id)
        for known in before.values():
            known.forget()
        roots = self.settings.cgroup_root, self.settings.proc_root
        for one in running:
            if one.id not in self._watched and (found := Watched.find(one, *roots, self._files)):
                self._watched[one.id] = found

    def _width(self) -> int:
        """Calls at the same time: Engines before 25 (API 1.44) answer each at their next tick only, a second or two later."""
        info = self.inventory.info
        version = info.api_version if info else "0"
        return WIDTH if tuple(map(int, version.split("."))) >= (1, 44) else WIDEST

    def _ask(self, containers: list[Facts], width: int, deadline: float) -> list[_Answer]:
        if not containers:
            return []
        with _pool(width) as pool:
            asked = [pool.submit(_attempt, partial(self._sample, one)) for one in containers]
            done, late = wait(asked, timeout=_left(deadline))
        return [*(future.result() for future in done), *[("late", None)] * len(late)]

    def _sample(self, facts: Facts) -> Sample | None:
        stats = self.calls.make(lambda: self._engine.containers.stats(facts.id))
        use = parse_stats(stats, facts.network)
        info = self.inventory.info
        group = path_of(facts, info.cgroup_driver if info else "")
        return Sample.of(facts, group, use) if use else None


def _came(answer: Future[None], deadline: float) -> bool:
    """Whether there was an answer in time, and no error."""
    wait([answer], timeout=_left(deadline))
    return answer.done() and answer.exception() is None


def _read(facts: Facts, watched: Watched) -> Sample | None:
    try:
        return Sample.of(facts, watched.group.path, watched.read())
    except OSError:  # it has ended
        return None


_Answer = tuple[str, Sample | None]


def _attempt(take: Callable[[], Sample | None]) -> _Answer:
    """What came of it, of `OUTCOMES`; a container that fails takes no other with it."""
    try:
        sample = take()
    except EngineError as error:
        result = outcome(error)
        if result != "gone":
            log.warning("a container gave no sample: %s", error)
        return result, None
    except Exception:
        log.exception("a container gave no sample")
        return "failed", None
    return ("ok" if sample else "gone"), sample


@contextmanager
def _pool(width: int) -> Generator[ThreadPoolExecutor]:
    """Threads that nobody waits for after the block."""
    pool = ThreadPoolExecutor(width, "sweep")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
