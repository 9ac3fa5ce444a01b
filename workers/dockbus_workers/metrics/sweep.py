"""A sweep: the resource use of all running containers of one Engine, now; done when asked for, never in between.

Control groups are read where this worker sees them; of any other container the Engine is asked, some at the same time.
Nothing of a sweep outlives it but a short-lived copy, so a container that is gone is not in the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from dockbus.engine import Engine, EngineError, Raw
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
WIDTH = 16
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
        self._engine = Engine(settings.engine.model_copy(update={"timeout": hasty}))
        self.inventory = Inventory(self._engine, self.calls)
        self._lock = threading.Lock()
        self._last = Sweep(up=False, duration=0.0)
        self._ended = float("-inf")  # when the last one ended
        self._watched: dict[tuple[str, int], Watched | None] = {}
        """By container and first process; None where its control group is not seen here."""
        self._files = Files()

    @property
    def engine(self) -> str:
        """The Engine's name."""
        return self._engine.name

    def close(self) -> None:
        """Hear no more events and let go of the connections."""
        self.inventory.close()
        if self._lock.acquire(timeout=1.0):  # else one is under way, and holds them
            self._files.close()
            self._lock.release()
        self._engine.close()

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
        """Whether the Engine answers in time, and it is known what it has."""
        self.inventory.wait(0.0)  # it begins to find out, and tells the log why it cannot
        for _, said in self._engine.asker.ask({"ping": "/_ping"}, timeout=_left(deadline)):
            self.calls.count(outcome(said))
            if isinstance(said, EngineError):
                return False
        return self.inventory.wait(_left(deadline))

    def _look(self, deadline: float) -> Sweep:
        began = time.monotonic()
        if not self._is_up(deadline):
            return Sweep(up=False, duration=time.monotonic() - began)
        running = self.inventory.running
        self._watch(running)
        found = [(one, self._watched[one.id, one.pid]) for one in running]
        seen = [_attempt(partial(_read, one, watched)) for one, watched in found if watched]
        others = [one for one, watched in found if not watched]
        width = self._width()
        answers = [*seen, *self._ask(others, width, deadline)]
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
        """Find the control groups of those that have started, once, and let go of those that have ended."""
        lives = {(one.id, one.pid): one for one in running}
        for life in self._watched.keys() - lives.keys():
            if ended := self._watched.pop(life):
                ended.forget()
        roots = self.settings.cgroup_root, self.settings.proc_root
        for life in lives.keys() - self._watched.keys():
            self._watched[life] = Watched.find(lives[life], *roots, self._files)

    def _width(self) -> int:
        """Calls at the same time: Engines before 25 (API 1.44) answer each at their next tick only, a second or two later."""
        info = self.inventory.info
        version = info.api_version if info else "0"
        return WIDTH if tuple(map(int, version.split("."))) >= (1, 44) else WIDEST

    def _ask(self, containers: list[Facts], width: int, deadline: float) -> Iterator[_Answer]:
        if not containers:
            return
        facts = {one.id: one for one in containers}
        stats = self._engine.containers.stats(facts, width=width, timeout=_left(deadline))
        for id_, said in stats:
            self.calls.count(outcome(said))
            yield _attempt(partial(self._sample, facts[id_], said))

    def _sample(self, facts: Facts, said: Raw | EngineError) -> Sample | None:
        if isinstance(said, EngineError):
            raise said
        use = parse_stats(said, facts.network)
        info = self.inventory.info
        group = path_of(facts, info.cgroup_driver if info else "")
        return Sample.of(facts, group, use) if use else None


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


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
