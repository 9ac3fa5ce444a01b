"""A worker process: one queue, its slots, and the threads that keep it alive.

It hosts two workers, for the jobs that any Engine may do (`run`) and for those of its own Engine
(`run@NAME`), with one set of slots between them. SIGTERM and SIGINT only set a flag: it stops
taking jobs, gives those that run some time, and hands the rest back to their queue.
"""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from secrets import token_hex
from socket import gethostname

import redis.exceptions

from dockbus.bus import Bus
from dockbus.connection import hurry
from dockbus.engine import Engine
from dockbus.errors import DockbusError
from dockbus.exposition import own_metrics
from dockbus.jobs import Queue
from dockbus.queue import queue_name
from dockbus.settings import Settings
from dockbus_workers.orphans import EVERY, remove_orphans
from dockbus_workers.policing import load_policy
from dockbus_workers.presence import Absences, Name, free_names
from dockbus_workers.scanning.trivy import find_program
from dockbus_workers.worker import POLL, SlotWorker
from dockbus_workers.worker_metrics import WorkerMetrics

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two signs of life, and between two looks for jobs that are due or orphaned."""
MEND = 5.0
"""Seconds between two looks at jobs picked at random, and at which Engines are lost."""
ENGINE_LOOK = 1.0
"""Seconds for which the last answer to "is the Engine able to work?" holds."""
ENGINE_SILENT = 15.0
"""Seconds for which an Engine may keep that question waiting before the worker counts as not ready."""
HAND_BACK = 10.0
"""Seconds that jobs get to let go after they were told to."""


class WorkerProcess:
    """Everything one `dockbus worker QUEUE` runs."""

    def __init__(self, queue: Queue, settings: Settings) -> None:
        """Make everything ready; no job is taken yet.

        Raises:
            MissingTool: this machine lacks a program that these jobs need.
            PolicyError: the policy file is wrong.
            SettingsError: a setting is wrong or the bus's key is missing.
        """
        load_policy(settings.policy)
        if queue is Queue.SCAN:
            find_program(settings.scan.trivy)
        self.queue = queue
        self.settings = settings
        self.stopping = threading.Event()
        self._bus = Bus(settings, patience=settings.redis.outage)
        self._engine = Engine(settings.engine, pool=max(16, 4 * settings.worker.slots))
        slots = threading.Semaphore(settings.worker.slots)
        self._pool = ThreadPoolExecutor(settings.worker.slots, thread_name_prefix="slot")
        self._workers = [
            SlotWorker(
                queue=queue_name(queue, engine),
                bus=self._bus,
                engine=self._engine,
                slots=slots,
                pool=self._pool,
                name=f"{gethostname()}-{queue}-{token_hex(4)}",
            )
            for engine in (None, settings.engine.name)
        ]
        self._gate = threading.Lock()
        self._trouble = "nobody has asked"
        self._asked = 0.0
        self._engine_id = ""
        self._name = Name(self._bus.redis, self._engine.name)
        self._absences = Absences(settings.worker.engine_lost)

    def run(self) -> None:
        """Serve until told to stop.

        Raises:
            SettingsError: metrics cannot be served where they should be.
        """
        queue, slots = self.queue.value, self.settings.worker.slots
        measured = WorkerMetrics(
            queue=queue,
            engine=self._engine.name,
            slots=slots,
            busy=self._busy,
            trouble=self._unready,
        )
        about = f"worker for {queue} jobs"
        with own_metrics(self.settings.metrics, about, measured, trouble=self._unready):
            self._serve()

    def _serve(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info(
            "worker for %s jobs: %d slots, Engine %s at %s",
            self.queue.value,
            self.settings.worker.slots,
            self._engine.name,
            self._engine.host,
        )
        over = threading.Event()
        loops = [
            threading.Thread(
                target=worker.serve,
                args=(self.stopping, self._ready),
                name=worker.serves,
                daemon=True,
            )
            for worker in self._workers
        ]
        beats = threading.Thread(target=self._beat, args=(over,), name="heartbeat", daemon=True)
        for thread in (*loops, beats):
            thread.start()
        while not self.stopping.wait(1.0):
            if not all(thread.is_alive() for thread in loops):
                log.critical("a worker loop has died; stopping")
                self.stopping.set()
        self._drain(loops)
        over.set()
        beats.join()
        for worker in self._workers:
            self._try(worker.leave)
        self._pool.shutdown(wait=False)
        self._engine.close()
        self._bus.close()
        log.info("worker for %s jobs has stopped", self.queue.value)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping.set()

    def _drain(self, loops: list[threading.Thread]) -> None:
        for thread in loops:
            thread.join(timeout=2 * POLL)  # longer only where Redis is away
        if self._busy():
            log.info(
                "waiting up to %.0f s for %d running jobs", self.settings.worker.drain, self._busy()
            )
        self._wait_idle(self.settings.worker.drain)
        for worker in self._workers:
            worker.leaving.set()
        self._wait_idle(HAND_BACK)
        hurry(self._bus.redis)
        for thread in loops:
            thread.join()

    def _busy(self) -> int:
        return sum(worker.busy for worker in self._workers)

    def _wait_idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._busy() and time.monotonic() < end:
            time.sleep(0.05)

    def _ready(self) -> bool:
        """Whether the Engine answers; without one no job is taken, so that none fails for want of it."""
        with self._gate:
            if time.monotonic() - self._asked > ENGINE_LOOK:
                before, self._trouble = self._trouble, self._look()
                self._asked = time.monotonic()
                if self._trouble and self._trouble != before:
                    log.warning("%s Jobs wait in their queue until then.", self._trouble)
                elif before and not self._trouble:
                    log.info("the Engine answers; taking jobs")
            answers = not self._trouble
        if not answers:
            self.stopping.wait(ENGINE_LOOK)
        return answers

    def _unready(self) -> str:
        """What `/readyz` says: why no job is taken here; empty if nothing is in the way."""
        if self.stopping.is_set():
            return "it is stopping"
        if max(worker.silent for worker in self._workers) > self.settings.worker.heartbeat:
            return "Redis does not answer: no sign of life was given"
        if self._trouble or time.monotonic() - self._asked > ENGINE_SILENT:
            return "the Engine does not answer, or its name is another's; the log says which"
        return ""

    def _look(self) -> str:
        """What keeps this process from taking jobs; empty if nothing does."""
        try:
            try:
                self._engine_id = self._engine.check(ENGINE_SILENT)
            finally:  # the name is its own as long as a worker of it lives
                if self._engine_id:
                    self._name.hold(self._engine_id, time.monotonic())
        except DockbusError as error:
            return str(error)
        return ""

    def _beat(self, over: threading.Event) -> None:
        """Signs of life, and the upkeep of the queues; apart from the jobs, which may be slow."""
        upkeep = threading.Thread(target=self._upkeep, args=(over,), name="upkeep", daemon=True)
        upkeep.start()
        while True:
            for worker in self._workers:
                self._try(worker.beat)
            if over.wait(BEAT):
                break
        upkeep.join()

    def _upkeep(self, over: threading.Event) -> None:
        turns = itertools.count()
        while not over.wait(BEAT):
            turn = next(turns)
            for worker in self._workers:
                self._try(worker.maintain)
            if turn % round(MEND / BEAT) == 0:
                self._try(self._workers[0].mend)
                self._try(self._miss)
            if turn % round(EVERY / BEAT) == 0:
                self._try(self._bus.job_store.learn_name)
                if self.queue is Queue.RUN and not self._trouble:
                    self._try(partial(remove_orphans, self._bus, self._engine))

    def _miss(self) -> None:
        """See to the jobs that had begun on Engines which are lost; this one could carry them out."""
        shared = self._workers[0]
        free = free_names(self._bus.redis, shared.engines())
        for name in self._absences.lost(free, time.monotonic()):
            if not self._trouble:
                shared.take_over(name)

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (redis.exceptions.RedisError, DockbusError) as error:
            log.warning("heartbeat: %s", error)
        except Exception:
            log.exception("heartbeat: a bug in dockbus")
