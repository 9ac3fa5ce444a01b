"""The loop: look at the queues and the workers, decide, have workers made or leave, and tell.

Each round goes by what is there and not by what an earlier one did; it remembers only what was wanted lately, which a
scaler that takes over has to learn anew before it takes anything away. A service of which nothing runs is left alone:
somebody has stopped it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dockbus.bus import Bus
from dockbus.engine import ContainerNotFound, Engine, EngineError
from dockbus.errors import DockbusError
from dockbus_workers.metrics.bus_state import WorkerState
from dockbus_workers.scaling.compose import Compose
from dockbus_workers.scaling.decide import History, Observed, decide
from dockbus_workers.scaling.fleet import Fleet, Replica
from dockbus_workers.scaling.leaving import Leaving
from dockbus_workers.scaling.load import Load, read_load, slots_of
from dockbus_workers.scaling.metrics import Numbers, ScalerMetrics
from dockbus_workers.scaling.news import News
from dockbus_workers.scaling.services import Service
from dockbus_workers.scaling.swarm import Swarm

log = logging.getLogger(__name__)


@dataclass
class _State:
    """What is remembered of a service from round to round; all of it may be lost."""

    decided: int
    """What was told last."""
    history: History = ()
    trouble: str = ""
    """What kept it from being scaled the last time."""


class Controller:
    """Keeps the services of one Engine, or of the Swarm that it manages, at the size that their jobs want."""

    def __init__(
        self,
        services: Sequence[Service],
        bus: Bus,
        engine: Engine,
        metrics: ScalerMetrics,
        *,
        dry_run: bool = False,
    ) -> None:
        """A controller that has done nothing yet; with `dry_run` it decides and tells, and does nothing else."""
        self._services = services
        self._bus = bus
        self._engine = engine
        self._metrics = metrics
        self._dry_run = dry_run
        self._leaving = Leaving(bus.redis, engine)
        self._compose = Compose(engine, self._leaving)
        self._swarm = Swarm(engine)
        self._news = News(bus, engine.name, dry_run=dry_run)
        self._states: dict[str, _State] = {}
        self._absent: set[str] = set()
        self._away = ""

    def trouble(self) -> str:
        """What keeps all services from being scaled; empty if nothing does."""
        return self._away

    def run(self, stopping: threading.Event, leads: Callable[[], bool], interval: float) -> None:
        """Go round every `interval` seconds until `stopping` is set, as long as `leads` says that it is to."""
        while not stopping.is_set():
            self._metrics.leads = leads()
            try:
                if self._metrics.leads:
                    self.reconcile()
                else:
                    self._stand_by()
            except DockbusError as error:  # Redis or the Engine is away
                if error.title != self._away:
                    log.warning("nothing is scaled for now: %s", error)
                self._away = error.title
            except Exception:  # the next round may fare better, and nobody else would scale
                log.exception("this round of scaling is lost: a bug in dockbus")
            else:
                if self._away:
                    log.info("scaling goes on")
                self._away = ""
            stopping.wait(interval)

    def reconcile(self) -> None:
        """One round over all services.

        Raises:
            RedisUnavailable: Redis does not answer.
            EngineError: the Engine does not answer.
        """
        if not self._dry_run:
            self._leaving.go_on()
        load = read_load(self._bus.redis, {it.queue for it in self._services})
        found = ((service, self._see_to(service, load)) for service in self._services)
        self._metrics.numbers = {it.name: numbers for it, numbers in found if numbers}

    def _stand_by(self) -> None:
        self._states.clear()
        self._metrics.numbers = {}

    def _see_to(self, service: Service, load: Load) -> Numbers | None:
        """Bring one service nearer to what it should be; None where nothing of it runs."""
        try:
            fleet = self._compose.fleet(service) or self._swarm.fleet(service)
        except ContainerNotFound:  # what is left is seen by the next round
            return self._metrics.numbers.get(service.name)
        if fleet is None:
            if service.name not in self._absent:
                log.info("%s: nothing of it runs, so it is left alone", service.name)
            self._absent.add(service.name)
            self._states.pop(service.name, None)
            return None
        self._absent.discard(service.name)
        serving = {it: load.serving(service.queue, it.host) for it in fleet.replicas}
        observed = self._observe(service, fleet, serving, load)
        state = self._states.setdefault(service.name, _State(decided=fleet.size))
        decision = decide(service, load.now.timestamp(), observed, state.history)
        state.history = decision.history
        if decision.replicas != state.decided:
            self._news.decided(service, state.decided, observed, decision)
            state.decided = decision.replicas
        if not self._dry_run:
            self._keep(service, state, fleet, serving)
        return Numbers(fleet.size, decision.replicas, decision.wanted)

    def _observe(
        self,
        service: Service,
        fleet: Fleet,
        serving: Mapping[Replica, Sequence[WorkerState]],
        load: Load,
    ) -> Observed:
        workers = [worker for each in serving.values() for worker in each]
        jobs = load.jobs(service.queue, workers, self._engine.name)
        return Observed(
            queued=jobs.queued,
            started=jobs.started,
            oldest=jobs.oldest,
            slots=slots_of(workers, service.slots),
            replicas=fleet.size,
            ready=sum(bool(each) for each in serving.values()),
        )

    def _keep(
        self,
        service: Service,
        state: _State,
        fleet: Fleet,
        serving: Mapping[Replica, Sequence[WorkerState]],
    ) -> None:
        """Do what was decided; what cannot be done is told once, however many rounds it lasts."""
        busy = {it for it, workers in serving.items() if not all(w.is_free for w in workers)}
        silent = {it for it, workers in serving.items() if not workers}
        try:
            fleet.keep(state.decided, busy=busy, silent=silent)
        except EngineError as error:
            if str(error) != state.trouble:
                self._news.failed(service, error)
            state.trouble = str(error)
        else:
            state.trouble = ""
