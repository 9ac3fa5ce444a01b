"""A worker process: one kind of job, its slots, and the threads that keep it alive.

It hosts two workers, for the queue that any Engine serves (`run`) and for the one of its own Engine
(`run@NAME`), with one set of slots between them. SIGTERM and SIGINT only set a flag: it stops
taking jobs, gives those that run some time, and hands the rest back to their queue.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from socket import gethostname

import redis.exceptions

from dockbus.bus import Bus
from dockbus.engine import Engine, EngineError
from dockbus.errors import DockbusError
from dockbus.jobs import Kind
from dockbus.queue import queue_name
from dockbus.settings import Settings
from dockbus_workers.scanner import find_program
from dockbus_workers.worker import SlotWorker

log = logging.getLogger(__name__)

MAINTENANCE = 2.0
"""Seconds between two looks for jobs that are due or orphaned."""
ENGINE_LOOK = 1.0
"""Seconds for which the last answer to "does the Engine answer?" holds."""
HAND_BACK = 10.0
"""Seconds that jobs get to let go after they were told to."""


class WorkerProcess:
    """Everything one `dockbus worker KIND` runs."""

    def __init__(self, kind: Kind, settings: Settings) -> None:
        """Make everything ready; no job is taken yet.

        Raises:
            MissingTool: this machine lacks a program that this kind needs.
            SettingsError: a setting is wrong or the bus's key is missing.
        """
        if kind is Kind.SCAN:
            find_program(settings.scan.trivy)
        self.kind = kind
        self.settings = settings
        self.stopping = threading.Event()
        self._bus = Bus(settings, patience=settings.redis.outage)
        self._engine = Engine(settings.engine, pool=max(16, 4 * settings.worker.slots))
        slots = threading.Semaphore(settings.worker.slots)
        self._pool = ThreadPoolExecutor(settings.worker.slots, thread_name_prefix="slot")
        self._workers = [
            SlotWorker(
                kind=kind,
                queue=queue_name(kind, engine),
                bus=self._bus,
                engine=self._engine,
                slots=slots,
                pool=self._pool,
                name=f"{gethostname()}-{kind}-{token_hex(4)}",
            )
            for engine in (None, settings.engine.name)
        ]
        self._gate = threading.Lock()
        self._answers = False
        self._asked = 0.0

    def run(self) -> None:
        """Serve until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info(
            "worker for %s jobs: %d slots, Engine %s at %s",
            self.kind.value,
            self.settings.worker.slots,
            self._engine.name,
            self._engine.host,
        )
        over = threading.Event()
        loops = [
            threading.Thread(
                target=worker.serve,
                args=(self.stopping, self._ready),
                name=worker.queue.name,
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
            worker.register_death()  # type: ignore[no-untyped-call]
        self._pool.shutdown(wait=False)
        self._engine.close()
        self._bus.close()
        log.info("worker for %s jobs has stopped", self.kind.value)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping.set()

    def _drain(self, loops: list[threading.Thread]) -> None:
        for thread in loops:
            thread.join()
        if self._busy():
            log.info(
                "waiting up to %.0f s for %d running jobs", self.settings.worker.drain, self._busy()
            )
        self._wait_idle(self.settings.worker.drain)
        for worker in self._workers:
            worker.leaving.set()
        self._wait_idle(HAND_BACK)

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
                before, self._answers = self._answers, self._engine.ping()
                first, self._asked = not self._asked, time.monotonic()
                if self._answers != before or (first and not self._answers):
                    self._tell()
            answers = self._answers
        if not answers:
            self.stopping.wait(ENGINE_LOOK)
        return answers

    def _tell(self) -> None:
        if self._answers:
            log.info("the Engine answers; taking jobs")
            return
        try:
            self._engine.info()
        except EngineError as error:
            log.warning("%s Jobs wait in their queue until it does.", error)

    def _beat(self, over: threading.Event) -> None:
        every = min(MAINTENANCE, self.settings.worker.heartbeat / 3)
        while not over.wait(every):
            for worker in self._workers:
                try:
                    worker.beat()
                    worker.maintain()
                except (redis.exceptions.RedisError, DockbusError) as error:
                    log.warning("heartbeat: %s", error)
                except Exception:
                    log.exception("heartbeat: a bug in dockbus")
