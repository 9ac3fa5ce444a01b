"""From schedules to jobs: each slot is fired once, by one of any number of schedulers, however often they die.

What has been done about a schedule is kept in Redis, in the hash `dockbus:schedule:NAME`: its *timing*, *since*
when a file says so, and the second up to which its slots are *settled*. A scheduler that finds a slot due

    1. notes there that it is *tried*, and when it first was,
    2. puts the job on the bus, with a key made of the schedule's name and the slot,
    3. tells of it, in an event with an ID made of the same,
    4. moves *settled* forward to the slot; never back, and only if the timing is still the same.

It may die at any point, and another may be doing the same at the same time:

* before 2: *settled* has not moved, so whoever comes next finds the slot due. Nothing is lost.
* between 2 and 4: the next one finds the slot due and does it all again. The key gives it the job that is there,
  the event is known; nothing is doubled. This holds while the job is kept, and jobs are forgotten some time after
  they have ended. So a slot that was first tried more than half that time ago is not tried again: it has its job,
  or is told as missed.
* after 4: the slot is settled, also when its job has long been forgotten. State or key alone would not do.

Of several slots that were missed only the newest is fired, and none that is older than one which was tried. If one
scheduler died between 2 and 4 and none came by until the next slot, the earlier one has its job and is told as
missed all the same. What can double a slot is a process that is frozen between 1 and 2 for as long as jobs are
kept; what can lose one is a Redis that loses what it had accepted.

A schedule that Redis does not know, or knows with another timing, begins when its file was read, so it is not
fired for the past. Schedulers may differ about its timing while a change is brought in: the one that read its file
last prevails, and the others stand by. All this goes by the clock of Redis, which they share.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from dockbus import tracing
from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.errors import (
    DockbusError,
    InvalidSpec,
    JobNotFound,
    KeyConflict,
    RedisUnavailable,
    SettingsError,
)
from dockbus.events import LONG_WINDOW, Event
from dockbus.exposition import own_metrics
from dockbus.settings import Settings
from dockbus_producer.schedules import DAY, Due, Schedule, load, show_moment
from dockbus_producer.yaml_files import EntryFiles

log = logging.getLogger(__name__)

SOURCE = "/dockbus/schedules"
PAUSE = 0.5
"""Seconds between two looks at the clock, where no slot comes sooner."""

# Up to when a schedule is settled; nil where a file that was read later gives it another timing. What is newly
# there is settled up to ARGV[3], and so is what stems from a clock that was far ahead (ARGV[5]: how far).
_ENTER = """
local timing, since, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local there = redis.call('HMGET', KEYS[1], 'timing', 'since', 'settled')
local its_since, settled = tonumber(there[2]), tonumber(there[3])
local known = its_since and settled and settled <= now + tonumber(ARGV[5])
if known and there[1] ~= timing then
  if since <= its_since and its_since <= now then return false end
  known = false
end
if not known then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'timing', timing, 'since', ARGV[2], 'settled', ARGV[3])
  return ARGV[3]
end
if since > its_since then redis.call('HSET', KEYS[1], 'since', ARGV[2]) end
return there[3]
"""

# When a slot was first tried: now, if nobody has; nil if a later one was.
_TRY = """
local there = redis.call('HMGET', KEYS[1], 'tried', 'tried_at')
local tried, slot = tonumber(there[1]), tonumber(ARGV[1])
if tried and tried > slot then return false end
if tried == slot and tonumber(there[2]) then return there[2] end
redis.call('HSET', KEYS[1], 'tried', ARGV[1], 'tried_at', ARGV[2])
return ARGV[2]
"""

_SETTLE = """
local there = redis.call('HMGET', KEYS[1], 'timing', 'settled')
if there[1] == ARGV[1] and tonumber(there[2]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'settled', ARGV[2])
end
"""


class ScheduleFailed(DockbusError):
    """`dockbus schedule` broke, so it has stopped; the log above says what happened."""


@dataclass
class _Charge:
    """A schedule in a scheduler's care."""

    schedule: Schedule
    loaded: float = field(default_factory=time.monotonic)
    since: float | None = None
    """When `loaded` was, by Redis' clock; None before that is asked for the first time."""
    next: int = 0
    """Its next slot; 0 where it has to be looked at first."""
    seen: bool = False
    """Whether it has been seen to at least once."""
    stands_by: bool = False


class Scheduler:
    """One scheduler."""

    def __init__(self, bus: Bus, schedules: Iterable[Schedule] = ()) -> None:
        self._bus = bus
        self._charges: dict[str, _Charge] = {}
        self.redis_away = False
        self._looked = 0
        """Up to here this scheduler has seen to all that it had in its care."""
        self._stopping = threading.Event()
        kept = bus.settings.bus
        self._doubtful = min(kept.result_ttl, kept.failure_ttl) / 2
        self._enter = bus.redis.register_script(_ENTER)
        self._try = bus.redis.register_script(_TRY)
        self._settle = bus.redis.register_script(_SETTLE)
        self.replace(schedules)

    def replace(self, schedules: Iterable[Schedule]) -> None:
        """Run these schedules from now on. One whose timing is what it was goes on; all others begin now."""
        charges: dict[str, _Charge] = {}
        for schedule in schedules:
            charge = self._charges.get(schedule.name)
            if charge is None or charge.schedule.timing != schedule.timing:
                charge = _Charge(schedule)
            charge.schedule = schedule
            charges[schedule.name] = charge
        self._charges = charges

    def run(self) -> None:
        """Fire what is due until `stop` is called; a Redis that is away is waited for."""
        while not self._stopping.is_set():
            try:
                with reachable():
                    seconds, micros = self._bus.redis.time()  # pyright: ignore[reportUnknownMemberType]
                now = seconds + micros / 1e6
                pause = self.tick(now) - now
            except RedisUnavailable as error:
                if not self.redis_away:
                    log.warning("Redis is away, schedules wait: %s", error.detail)
                self.redis_away, pause = True, 1.0
            else:
                if self.redis_away:
                    log.info("Redis is back, schedules go on")
                self.redis_away, pause = False, min(max(pause, 0.0), PAUSE)
            self._stopping.wait(pause)

    def trouble(self) -> str:
        """What keeps it from being of use; empty if nothing does."""
        return "Redis does not answer" if self.redis_away else ""

    def stop(self) -> None:
        """End `run` within a second or so, from any thread."""
        self._stopping.set()

    def tick(self, now: float) -> float:
        """See to all that is due at `now`; the time of the next slot.

        Raises:
            RedisUnavailable: Redis does not answer. What has not been seen to is due at the next tick.
        """
        charges = list(self._charges.values())
        if now < self._looked:  # the clock was set back, and what comes next is not that far off
            for charge in charges:
                charge.next = 0
        for charge in charges:
            if charge.next <= now:
                self._see_to(charge, now)
        self._looked = int(now)
        return min((charge.next for charge in charges), default=now + PAUSE)

    def _see_to(self, charge: _Charge, now: float) -> None:
        schedule = charge.schedule
        if charge.since is None:
            charge.since = now - (time.monotonic() - charge.loaded)
        # Where Redis has lost what it knew, what this scheduler remembers holds.
        begin = min(max(int(charge.since), self._looked if charge.seen else 0), int(now))
        with reachable():
            settled: Any = self._enter(
                [_state(schedule)], [schedule.timing, charge.since, begin, now, DAY]
            )
        if settled is not None:
            after = max(int(settled), begin) if charge.seen else int(settled)
            if due := schedule.due(after, int(now)):
                self._act(schedule, due, now)
        elif not charge.stands_by:
            log.warning(
                "schedule %s stands by: a file that was read later gives it another timing than %r",
                schedule.name,
                schedule.timing,
            )
        charge.seen, charge.stands_by = True, settled is None
        charge.next = schedule.next(int(now))

    def _act(self, schedule: Schedule, due: Due, now: float) -> None:
        slot, missed = due.slot, due.missed
        if slot is not None and not self._may_fire(schedule, slot, now):
            slot, missed = None, slot if missed is None else missed
        if slot is not None:
            self._fire(schedule, slot)
        if missed is not None:
            self._tell_missed(schedule, missed, slot)
        with reachable():
            self._settle([_state(schedule)], [schedule.timing, due.settled])

    def _may_fire(self, schedule: Schedule, slot: int, now: float) -> bool:
        """Whether the slot's job, if there ever was one, is sure to be kept still."""
        with reachable():
            tried: Any = self._try([_state(schedule)], [slot, now])
        return tried is not None and now - float(tried) < self._doubtful

    def _fire(self, schedule: Schedule, slot: int) -> None:
        name, shown = schedule.name, schedule.show(slot)
        try:
            with tracing.span(f"schedule {name}"):
                job = self._bus.enqueue(
                    schedule.spec,
                    key=key(schedule, slot),
                    engine=schedule.engine,
                    priority=schedule.priority,
                    timeout=schedule.timeout,
                )
        except (KeyConflict, JobNotFound):
            # By one whose file says another job, or so long ago that the job is just being forgotten.
            log.debug("schedule %s: %s was fired before", name, shown)
        except InvalidSpec as error:
            if self._tell("failed", schedule, slot, error=error.detail):
                words = "schedule %s: %s: %s"
                log.error(words, name, shown, error.detail, extra={"error": error.code})  # noqa: TRY400  no bug
        else:
            if self._tell("fired", schedule, slot, job=job.id, kind=schedule.spec.kind.value):
                facts = {"job": job.id, "kind": schedule.spec.kind.value}
                log.info("schedule %s: %s: job %s", name, shown, job.id, extra=facts)

    def _tell_missed(self, schedule: Schedule, first: int, fired: int | None) -> None:
        facts = {"fired": show_moment(fired)} if fired is not None else {}
        if self._tell("missed", schedule, first, **facts):
            log.warning(
                "schedule %s: missed from %s on, %s",
                schedule.name,
                schedule.show(first),
                "none made up for" if fired is None else f"made up for by {schedule.show(fired)}",
            )

    def _tell(self, what: str, schedule: Schedule, slot: int, **facts: JsonValue) -> bool:
        """Publish that; whether it was not known before."""
        moment = show_moment(slot)
        until = f":{facts['fired']}" if "fired" in facts else ""
        event = Event(
            id=f"{what}:{schedule.name}:{moment}{until}",
            source=SOURCE,
            type=f"io.dockbus.schedule.{what}",
            subject=schedule.name,
            data={"schedule": schedule.name, "slot": moment, **facts},
        )
        return self._bus.publish(event, window=LONG_WINDOW) is not None


def key(schedule: Schedule, slot: int) -> str:
    """The idempotency key of a slot's job."""
    return f"schedule:{schedule.name}:{show_moment(slot)}"


def run(settings: Settings) -> None:
    """Run the schedules of DOCKBUS_SCHEDULE_PATH until SIGTERM or SIGINT. Redis need not be there yet.

    Raises:
        SettingsError: no file is named, or metrics cannot be served where they should be.
        ScheduleError: a schedule file is wrong.
        ScheduleFailed: it has broken.
    """
    if not settings.schedule.path:
        raise SettingsError("DOCKBUS_SCHEDULE_PATH names no schedule file")
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    files = EntryFiles(settings.schedule.path, "schedules", load)
    with Bus(settings) as bus:
        scheduler = Scheduler(bus, files.entries)
        thread = threading.Thread(target=scheduler.run, daemon=True)
        log.info("%d schedules are in force", len(files.entries))
        with own_metrics(settings.metrics, "schedule", trouble=scheduler.trouble):
            thread.start()
            while not asked and thread.is_alive():
                time.sleep(0.2)
                if files.refresh():
                    scheduler.replace(files.entries)
        scheduler.stop()
        thread.join(timeout=5.0)  # one that waits for a Redis that hangs has nothing to finish
    if not asked:
        raise ScheduleFailed
    log.info("stopped")


def _state(schedule: Schedule) -> str:
    return f"dockbus:schedule:{schedule.name}"
