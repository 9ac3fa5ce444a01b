"""The one list of metrics, and the sweep that fills them: ask the Engine once per scrape, never in between.

Nothing of a sweep outlives it but a short-lived copy, so a container that is gone has no series at the
next scrape, and a silent Engine is `dockbus_engine_up 0` rather than an old number or an error. There are
no timestamps: with them Prometheus would show the last value of a dead container for five more minutes.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dockbus.engine import Container, ContainerNotFound, Engine, EngineError
from dockbus.settings import EngineSettings
from dockbus_workers.metrics.samples import TRAFFIC, Facts, Sample

log = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0
"""Seconds one call may wait for the Engine, so that a stuck one is told well within a scrape."""
REUSE = 2.0
"""Seconds for which a sweep answers further scrapes: two Prometheus servers cost the Engine one sweep. Never more
than half of what a client waits: to one that asks every two seconds, each counter would stand still half the time."""
FACTS_TTL = 30.0
"""Seconds after which a container is inspected anew: a restart or `docker update` changes what was found."""
WIDEST = 128
"""Calls at the same time, at most, to an Engine that makes each one wait."""

Family = GaugeMetricFamily | CounterMetricFamily


@dataclass(frozen=True)
class Metric:
    """One metric of a container: a counter if its name ends in `_total`, else a gauge."""

    name: str
    meaning: str
    read: Callable[[Sample], Mapping[str, float | None]]
    """Its values, by the value of `label`; without one, by the empty string."""
    label: str = ""
    """The one label it has beyond those that tell the container."""

    def family(self, labels: Iterable[str]) -> Family:
        """It as Prometheus sees it, without values."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        return kind(self.name, self.meaning, labels=[*labels, *filter(None, [self.label])])


def _traffic(word: str) -> Metric:
    meaning = f"Network {word.replace('_', ' ')}, of each interface of its own."
    name = f"container_network_{word}_total"
    return Metric(name, meaning, lambda s: s.traffic[word], label="interface")


METRICS = (
    Metric("container_last_seen", "When the Engine took this sample.", lambda s: {"": s.seen}),
    Metric("container_start_time_seconds", "When it was started.", lambda s: {"": s.started}),
    Metric(
        "container_cpu_usage_seconds_total",
        "CPU time used since its start; a rate of 1 is one whole core.",
        lambda s: {"total": s.cpu},
        label="cpu",
    ),
    Metric(
        "container_cpu_user_seconds_total", "CPU time in user mode.", lambda s: {"": s.cpu_user}
    ),
    Metric(
        "container_cpu_system_seconds_total",
        "CPU time in kernel mode.",
        lambda s: {"": s.cpu_system},
    ),
    Metric(
        "container_memory_usage_bytes",
        "Memory in use, file cache included.",
        lambda s: {"": s.memory},
    ),
    Metric(
        "container_memory_working_set_bytes",
        "Memory in use without idle file cache: what counts towards being killed for memory.",
        lambda s: {"": s.memory_working_set},
    ),
    Metric("container_memory_rss", "Anonymous memory.", lambda s: {"": s.memory_rss}),
    Metric("container_memory_cache", "File cache.", lambda s: {"": s.memory_cache}),
    Metric(
        "container_spec_memory_limit_bytes",
        "Most memory it may use; 0 is no limit.",
        lambda s: {"": s.memory_limit},
    ),
    *map(_traffic, TRAFFIC),
)

RESULTS = ("ok", "gone", "late", "failed")
"""What may come of asking for a container: a sample; it has stopped meanwhile; no answer in time; an error."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one round of questions to the Engine found."""

    up: bool
    duration: float
    samples: tuple[Sample, ...] = ()
    results: Mapping[str, int] = field(default_factory=dict[str, int])


class Sweeper:
    """Asks one Engine for the use of all its running containers; safe to share between threads."""

    def __init__(self, settings: EngineSettings) -> None:
        hasty = settings.model_copy(update={"timeout": min(settings.timeout, CALL_TIMEOUT)})
        self._engine = Engine(hasty, pool=WIDEST)
        self._lock = threading.Lock()
        self._last = Sweep(up=False, duration=0.0)
        self._ended = float("-inf")  # when the last one ended
        self._width = 0  # of the pool; 0 until the Engine has told its version
        self._facts: dict[str, tuple[float, Facts]] = {}

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.close()

    def sweep(self, timeout: float) -> Sweep:
        """A sweep that takes about `timeout` seconds at most, or the latest if it is fresh; never raises."""
        deadline = time.monotonic() + timeout
        with self._lock:  # whoever waits here gets what the one before has found
            if time.monotonic() - self._ended > min(REUSE, timeout / 2):
                self._last = self._ask(deadline)
                self._ended = time.monotonic()
            return self._last

    def _ask(self, deadline: float) -> Sweep:
        began = time.monotonic()
        try:
            self._width = self._width or _width(self._engine.info().api_version)
            running = self._engine.containers.all(running=True)
        except EngineError as error:
            log.warning("no sweep: %s", error)
            self._width = 0  # it may come back as another version
            self._facts = {}
            return Sweep(up=False, duration=time.monotonic() - began)
        self._facts = {c.id: self._facts[c.id] for c in running if c.id in self._facts}
        pool = ThreadPoolExecutor(self._width, "sweep")
        asked = [pool.submit(self._sample, container) for container in running]
        done, late = wait(asked, timeout=max(0.0, deadline - time.monotonic()))
        pool.shutdown(wait=False, cancel_futures=True)
        results = Counter(late=len(late))
        samples: list[Sample] = []
        for future in done:
            result = _result(future)
            results[result] += 1
            if result == "ok" and (sample := future.result()):
                samples.append(sample)
        return Sweep(
            up=True,
            duration=time.monotonic() - began,
            samples=tuple(sorted(samples, key=lambda sample: sample.name)),
            results=results,
        )

    def _sample(self, container: Container) -> Sample | None:
        found, facts = self._facts.get(container.id, (0.0, None))
        if facts is None or time.monotonic() - found > FACTS_TTL:
            facts = Facts.parse(self._engine.containers.inspect(container.id))
            self._facts[container.id] = (time.monotonic(), facts)
        return Sample.parse(container, facts, self._engine.containers.stats(container.id))


def _result(future: Future[Sample | None]) -> str:
    error = future.exception()
    if error is None:
        return "ok" if future.result() else "gone"
    if isinstance(error, ContainerNotFound):
        return "gone"
    log.warning("a container gave no sample", exc_info=error)
    return "failed"


def _width(api_version: str) -> int:
    """Calls at the same time: Engines before 25 (API 1.44) answer each at their next tick only, a second or two later."""
    major, minor = map(int, api_version.split("."))
    return 8 if (major, minor) >= (1, 44) else WIDEST


class ContainerCollector(Collector):
    """One scrape: the families of a sweep that ends within `timeout` seconds."""

    def __init__(self, sweeper: Sweeper, labels: Iterable[str], timeout: float = 10.0) -> None:
        self._sweeper = sweeper
        self._labels = {
            "container_label_" + re.sub(r"\W", "_", key, flags=re.ASCII): key for key in labels
        }
        self._timeout = timeout

    def describe(self) -> Iterator[Family]:
        """All families without values, so that a registry need not ask the Engine what they are."""
        return self._families(Sweep(up=False, duration=0.0))

    def collect(self) -> Iterator[Family]:
        """All families as the Engine has it now."""
        return self._families(self._sweeper.sweep(self._timeout))

    def _families(self, sweep: Sweep) -> Iterator[Family]:
        yield GaugeMetricFamily("dockbus_engine_up", "Whether the Engine answered.", value=sweep.up)
        yield GaugeMetricFamily(
            "dockbus_sweep_duration_seconds",
            "Seconds it took to ask the Engine for everything.",
            value=sweep.duration,
        )
        results = GaugeMetricFamily(
            "dockbus_sweep_containers",
            "Running containers, by what came of asking for their use; only those that are ok have series.",
            labels=["result"],
        )
        for result in RESULTS:
            results.add_metric([result], sweep.results.get(result, 0))
        yield results
        for metric in METRICS:
            family = metric.family(["id", "name", "image", *self._labels])
            for sample in sweep.samples:
                told = [f"/docker/{sample.id}", sample.name, sample.image]
                told += [sample.labels.get(key, "") for key in self._labels.values()]
                for which, value in metric.read(sample).items():
                    if value is not None:
                        family.add_metric([*told, which], value)
            yield family
