"""One RQ worker with slots: it serves one queue and carries out as many of its jobs at once as it may.

To RQ's tools it is a worker like any other: registered, with heartbeats, a state and counters. What it does
with a job is dockbus' own: each step of a job's life is one script in Redis (`dockbus.queue`), no signal
handler raises, no command is taken from pub/sub, where anybody on Redis could send it, and nothing is
pickled or imported by name.
"""

# RQ's and redis-py's own annotations are partial, and RQ's worker is subclassed here.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import redis.exceptions
from rq.worker import BaseWorker, WorkerStatus

from dockbus import tracing
from dockbus.bus import Bus
from dockbus.engine import Engine
from dockbus.errors import DockbusError, JobError, JobTooNew
from dockbus.logs import about
from dockbus.orders import Order
from dockbus.queue import Attempt, Attempts
from dockbus.records import Failure
from dockbus_workers.context import Detached, HandBack, JobContext
from dockbus_workers.handlers import CLEARING, HANDLERS
from dockbus_workers.measures import measures
from dockbus_workers.outcome import Outcome, judge, passed_on
from dockbus_workers.policing import check_policy

log = logging.getLogger(__name__)

VERSION = version("dockbus")
POLL = 0.5
"""Seconds one wait for a job takes at most; also how soon a worker notices that it should stop."""
SHOW = 2.0
"""Seconds between two signs of life of a worker, at most; those of the jobs it runs are given at each beat."""
LOST = 4.0
"""Seconds between two looks at the queue of an Engine that is lost."""


class SlotWorker(BaseWorker):
    """Serves one queue with a share of the process's slots."""

    def __init__(
        self,
        *,
        queue: str,
        bus: Bus,
        engine: Engine,
        slots: threading.Semaphore,
        pool: ThreadPoolExecutor,
        name: str,
    ) -> None:
        self._bus = bus
        self._engine = engine
        self._slots = slots
        self._pool = pool
        self._lease = bus.settings.worker.heartbeat
        self._running: dict[tuple[str, str], Attempt] = {}
        self._attempts = Attempts(
            bus.redis, bus.settings.bus_keys(), bus.settings.bus, lease=self._lease
        )
        self._takes = True
        self._shown = -SHOW
        self._beaten = time.monotonic()
        self._trusted = self._beaten
        self.leaving = threading.Event()
        """Set when running jobs have to go back to the queue."""
        super().__init__(
            [queue], name=name, connection=bus.redis, worker_ttl=round(self._lease * 2)
        )
        # RQ logs every step; dockbus says its own, shorter lines.
        self.log = logging.getLogger("rq.worker")
        self.log.setLevel(logging.CRITICAL)

    @property
    def serves(self) -> str:
        """The name of its queue."""
        return str(self.queues[0].name)

    @property
    def busy(self) -> int:
        """How many jobs run now."""
        return len(self._running)

    @property
    def silent(self) -> float:
        """Seconds since its last sign of life."""
        return time.monotonic() - self._beaten

    # -- the loop --------------------------------------------------------------------------

    def serve(self, stopping: threading.Event, ready: Callable[[], bool]) -> None:
        """Take jobs until `stopping` is set, as long as `ready` says that work can be done."""
        while not stopping.is_set():
            try:
                self._takes = ready()
                if not self._takes:
                    continue
                if not self._slots.acquire(timeout=POLL):
                    continue
                free = 1
                try:
                    while free < 16 and self._slots.acquire(blocking=False):
                        free += 1
                    free -= self._take(free)
                finally:
                    if free:
                        self._slots.release(free)
                if free:  # the queue had no more for now
                    self._await(stopping, ready)
            except redis.exceptions.RedisError as error:  # away, starting, full, read-only
                log.warning("Redis does not answer; trying again: %s", error)
                stopping.wait(1.0)
            except Exception:
                log.exception("something on queue %s cannot be taken", self.serves)
                stopping.wait(1.0)

    def _await(self, stopping: threading.Event, ready: Callable[[], bool]) -> None:
        """Wait until the queue has something, or there is a reason to take nothing."""
        while not stopping.is_set() and not self._attempts.wait(self.serves, POLL) and ready():
            pass

    def _take(self, most: int) -> int:
        begun, dropped = self._attempts.take(
            self.serves, engine=self._engine.name, worker=self.name, most=most
        )
        for job in dropped:
            words = "queue %s had an entry for %s, which is no queued job"
            log.warning(words, self.serves, job, extra={"queue": self.serves, "job": job})
        for attempt in begun:
            self._running[attempt.job, attempt.token] = attempt
            self._pool.submit(self._in_slot, attempt)
        return len(begun)

    # -- one attempt -----------------------------------------------------------------------

    def _in_slot(self, attempt: Attempt) -> None:
        order = attempt.order
        kind = "" if isinstance(order, JobError) else order.spec.kind.value
        facts = {"kind": kind, "engine": self._engine.name, "worker": self.name}
        span = tracing.processing(
            attempt.job, self.serves, attempt.traced, attempt=attempt.number, **facts
        )
        with about(queue=self.serves, kind=kind, job=attempt.job), span:
            self._perform(attempt)

    def _perform(self, attempt: Attempt) -> None:
        begun = time.monotonic()
        try:
            outcome, ctx = self._carry_out(attempt)
            if ctx:
                self._close(ctx, outcome)
            if self._attempts.settle(
                attempt,
                outcome.how,
                outcome.value,
                worker=self.name,
                took=time.monotonic() - begun,
                idle=len(self._running) == 1,
                pause=outcome.pause,
            ):
                self._tell(attempt, outcome)
            else:
                log.warning("job %s: another attempt has it; this one is forgotten", attempt.job)
        except Detached as reason:
            log.warning("job %s: left to another attempt: %s", attempt.job, reason)
        except redis.exceptions.RedisError as error:
            log.warning("job %s: its end could not be recorded: %s", attempt.job, error)
        except Exception:
            log.exception(
                "job %s: its end could not be recorded; it will be tried again", attempt.job
            )
        finally:
            self._running.pop((attempt.job, attempt.token), None)
            self._slots.release()

    def _carry_out(self, attempt: Attempt) -> tuple[Outcome, JobContext | None]:
        """Call the handler; how it ended, and what it worked with, where there is one for this job.

        Raises:
            Detached: there is nothing to record.
        """
        order = attempt.order
        if isinstance(order, JobTooNew):
            log.warning("job %s: %s", attempt.job, order)
            return passed_on(order, int(attempt.token)), None
        if isinstance(order, JobError):
            log.error("job %s: %s", attempt.job, order)
            return Outcome("failed", Failure.of(order).model_dump_json(exclude_defaults=True)), None
        ctx = JobContext(
            attempt=attempt,
            order=order,
            attempts=self._attempts,
            bus=self._bus,
            engine=self._engine,
            leaving=self.leaving,
        )
        kind = order.spec.kind
        log.info("job %s: %s begins (attempt %d)", attempt.job, kind.value, attempt.number)
        if attempt.concluded:
            ctx.remains = [partial(CLEARING[kind], ctx)] if kind in CLEARING else []
            return Outcome(*attempt.concluded), ctx
        try:
            check_policy(order.spec, ctx)
            result = HANDLERS[kind](order.spec, ctx)
        except HandBack:
            return Outcome("back"), ctx
        except Detached:
            raise
        except Exception as error:  # noqa: BLE001  whatever a handler raises ends its attempt, not the worker
            return self._failed(error, attempt, order, ctx), ctx
        attempt.counts = measures(order.spec, result)
        return Outcome("succeeded", result.model_dump_json()), ctx

    def _failed(self, error: Exception, attempt: Attempt, order: Order, ctx: JobContext) -> Outcome:
        failure = ctx.redacted(Failure.of(error))
        ctx.log(str(failure))
        if isinstance(error, DockbusError):
            log.warning("job %s: %s", attempt.job, failure)
        else:
            for line in ("a bug in dockbus", *failure.traceback.splitlines()):
                log.error("job %s: %s", attempt.job, line)
        return judge(error, failure, attempt.number, order.policy)

    def _close(self, ctx: JobContext, outcome: Outcome) -> None:
        """Write the last of the log; note the outcome, then remove what the attempt has made: never the other way round."""
        how = outcome.how
        if not ctx.remains or how == "retry" or how == "back" or how == "pass":  # noqa: PLR1714  so that types narrow
            ctx.flush()
            return
        ctx.conclude(how, outcome.value)
        for remove in ctx.remains:
            try:
                remove()
            except DockbusError as error:
                log.warning("job %s: what it has left stays for now: %s", ctx.job, error)

    def _tell(self, attempt: Attempt, outcome: Outcome) -> None:
        tracing.note(outcome.how, outcome.value)
        if outcome.how == "retry":
            log.info("job %s: another attempt in %.1f s", attempt.job, outcome.pause)
        elif outcome.how == "pass":
            log.info("job %s: left to a newer worker in %.0f s", attempt.job, outcome.pause)
        elif outcome.how == "back":
            log.info("job %s: handed back to its queue", attempt.job)
        else:
            log.info("job %s: %s", attempt.job, outcome.how)

    # -- signs of life ---------------------------------------------------------------------

    def beat(self) -> None:
        """Give a sign of life for every job it runs, learn which of them have to stop, and now and then one for the worker."""
        running = list(self._running.values())
        if running:
            self._attempts.pulse(self.serves, running)
        if time.monotonic() - self._shown >= min(SHOW, self._lease / 4):
            self._show()
        elif not running:
            return
        now = time.monotonic()
        if now - self._beaten > self._lease / 2:
            # Redis was away, so leases have run out whose workers live: let them renew them first.
            self._trusted = now + self._lease
        self._beaten = now

    def _show(self) -> None:
        """Let RQ's tools see that it lives, and what it does."""
        if not self.connection.exists(self.key):  # the first time, or Redis has forgotten it
            self._register()
        with self.connection.pipeline() as pipe:
            self.heartbeat(self.worker_ttl, pipeline=pipe)
            self.set_state(self._does(), pipe)
            pipe.execute()
        self._shown = time.monotonic()

    def _does(self) -> WorkerStatus:
        if self._running:
            return WorkerStatus.BUSY
        return WorkerStatus.IDLE if self._takes else WorkerStatus.SUSPENDED

    def maintain(self) -> None:
        """Queue what is due, and return orphaned jobs to their queue. Any number of workers may do so at once."""
        self._maintain(self.serves)

    def _maintain(self, queue: str) -> None:
        self._attempts.due(queue)
        now = time.monotonic()
        if now >= self._trusted and now - self._beaten < self._lease / 2:
            for job in self._attempts.reap(queue):
                log.warning("job %s: its worker is gone; queued again", job, extra={"job": job})

    def engines(self) -> list[str]:
        """The Engines that have had queues of their own beside this one."""
        return self._attempts.engines(self.serves)

    def take_over(self, engine: str) -> None:
        """Look after the queue of an Engine that is lost, and take over what had begun there and may begin anew here.

        One worker at a time does this.
        """
        lost = f"{self.serves}@{engine}"
        if not self.connection.set(
            f"dockbus:lost:{lost}", self.name, nx=True, px=round(LOST * 1000)
        ):
            return
        self._maintain(lost)
        for job in self._attempts.begin_anew(lost):
            words = "job %s: Engine %s has been lost; it begins anew on another"
            log.warning(words, job, engine, extra={"job": job})

    def mend(self) -> None:
        """Look at some jobs for what no transition of ours could have left."""
        for job in self._attempts.mend():
            log.warning("job %s was queued but in no queue; queued again", job, extra={"job": job})

    def leave(self) -> None:
        """Say that this worker is no more."""
        self.register_death()  # type: ignore[no-untyped-call]

    def serialize(self) -> dict[str, Any]:
        """What Redis is told of it at its birth: RQ's own fields, its slots, which its process' two workers share, and its dockbus."""
        known = cast("dict[str, Any]", super().serialize())
        return known | {"slots": self._bus.settings.worker.slots, "dockbus": VERSION}

    def _register(self) -> None:
        self.register_birth()  # type: ignore[no-untyped-call]
        uptime: int = self.connection.info("server")["uptime_in_seconds"]
        if uptime < self._lease:  # as after an outage
            self._trusted = time.monotonic() + self._lease
