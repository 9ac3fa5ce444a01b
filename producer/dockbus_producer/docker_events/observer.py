"""The watch over one Engine: hears it, looks at it, and tells the bus; one process leads, any number stand by.

All stay subscribed. Who stands by keeps what it hears until the leader has told that, so that it misses nothing when
its turn comes. The leader looks at all containers when it begins, whenever the stream was opened, and every half
minute.

What cannot be told: the exit code of a life of which another was seen to begin, or of a container that was removed,
and containers that came and went, while the Engine was not heard.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import JsonValue

from dockbus.bus import Bus
from dockbus.engine import Container, Engine, EngineError, EngineTimeout
from dockbus.errors import RedisUnavailable
from dockbus.events import ENGINES, GAP, RESYNCED, Event
from dockbus.snapshot import EngineState, ImageState
from dockbus_producer.docker_events.audit import DOUBT, Audit
from dockbus_producer.docker_events.counts import forget_gone
from dockbus_producer.docker_events.envelope import moment
from dockbus_producer.docker_events.ledger import Fenced, Ledger
from dockbus_producer.docker_events.reader import OVERLAP, Cursor, Heard, Reader
from dockbus_producer.docker_events.world import Telling, World

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH = 100
"""Events that are told, and containers that are looked at, in one step."""
AUDIT = 30.0
"""Seconds between two looks at all containers, give or take a tenth."""
FULL = 600.0
"""Seconds between two whole looks at each container; the others only look at their states."""
STALLED = 5.0
"""Seconds after which a stream must have brought what the Engine remembers."""
_LOOKED_AT = (
    *("create", "start", "die", "oom", "pause", "unpause", "rename", "update"),
    *("health_status: healthy", "health_status: unhealthy"),
)
"""Events of a container that is looked at anew after them."""


class DockerEvents:
    """The watch over one Engine. Any number may run for it."""

    def __init__(self, engine: Engine, bus: Bus) -> None:
        self.leads = False
        self.redis_away = False
        self.reader: Reader | None = None
        """The thread that hears; None before Redis has answered for the first time."""
        self._name = engine.name
        self._engine = engine
        self._redis = bus.redis
        self._stream = bus.event_stream
        self._ledger = Ledger(bus, engine.name)
        self._audit = Audit(engine)
        self._world = World(engine.name)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._epoch = 0
        """The leadership that the world is of."""
        self._is_new = False
        """Whether nothing was ever told of this Engine."""
        self._told_to = Cursor("", 0)
        """Up to where all is on the bus."""
        self._first = 0
        """When this began to hear, in the Engine's nanoseconds."""
        self._untold: list[Event] = []
        """What is known of the stream itself and is not on the bus yet."""
        self._taken: list[Heard] = []
        """What was taken from the backlog and is not on the bus yet."""
        self._opened = self._dropped = 0
        self._was_connected: bool | None = None
        self._resynced: datetime | None = None
        self._audit_due = self._full_due = 0.0

    @property
    def connected(self) -> bool | None:
        """Whether the Engine is heard; None before the first try."""
        return self.reader.connected if self.reader else None

    def trouble(self) -> str:
        """What keeps it from being of use: Redis or the Engine; empty if nothing does."""
        if self.redis_away or self.reader is None:
            return "Redis does not answer"
        return "" if self.connected else "the Engine does not answer"

    def run(self) -> None:
        """Watch until `stop` is called. Neither an Engine nor a Redis that is away ends it."""
        saved = self._insist(self._ledger.cursor)
        if self._stopping.is_set():
            return
        self._told_to = saved or Cursor("", time.time_ns())
        self._first = self._told_to.time_nano
        self.reader = reader = Reader(self._engine, self._told_to, self._wake)
        reader.start()
        while not self._stopping.is_set():
            try:
                self._step(reader)
            except RedisUnavailable as error:
                self._epoch = (
                    0  # whether it was written is not known: begin anew with what is there
                )
                self._say_away(error)
                self._stopping.wait(1.0)
            except Fenced:
                self._stand_by(reader)
            except EngineError as error:  # the reader says that it is away, and since when
                log.debug("Engine %s: %s", self._name, error)
                self._epoch = 0  # what was found and not told yet is found again
                self._wait(DOUBT)
        reader.stop()
        with contextlib.suppress(RedisUnavailable):
            self._ledger.retire()
        reader.join(5.0)

    def stop(self) -> None:
        """End `run` at once, from any thread. What was heard and not told will be heard again."""
        self._stopping.set()
        self._wake.set()
        if self.reader:
            self.reader.stop()

    def _step(self, reader: Reader) -> None:
        if not self._ledger.lead():
            self._stand_by(reader)
            reader.take_in()
            self._forget_told(reader)
            self._wait(DOUBT)
            return
        if self._epoch != self._ledger.epoch:
            self._take_over(reader)
        reader.take_in()
        self._say_back(reader)
        if not self._is_new:
            self._tell_heard(reader)
            self._tell_connection(reader)
        now = time.monotonic()
        if reader.connected and (now >= self._audit_due or reader.opened != self._opened):
            self._look_round(reader)
        elif self._is_new or not reader.backlog:
            self._wait(min(DOUBT, max(0.0, self._audit_due - now)) if reader.connected else DOUBT)

    def _wait(self, seconds: float) -> None:
        if not self._stopping.is_set():
            self._wake.wait(seconds)
            self._wake.clear()

    # -- leading ---------------------------------------------------------------------------

    def _take_over(self, reader: Reader) -> None:
        """Begin to lead, with what the last leader has told."""
        self._put_back(reader)
        cursor, known, seen = self._ledger.cursor(), self._ledger.containers(), self._ledger.seen()
        self._world = World(self._name, known, seen)
        self._is_new = cursor is None
        self._told_to = cursor or self._told_to
        self._epoch = self._ledger.epoch
        self._opened, self._full_due = 0, 0.0  # look at all there is
        self._audit.forget()
        if not self.leads:
            log.info("this process leads for Engine %s", self._name)
        self.leads = True

    def _stand_by(self, reader: Reader) -> None:
        self._say_back(reader)
        if self.leads:
            log.warning("another process leads for Engine %s now", self._name)
        self.leads, self._epoch = False, 0
        self._put_back(reader)

    def _put_back(self, reader: Reader) -> None:
        """Take back what is not known to be written: it is worked out anew."""
        reader.put_back(self._taken)
        self._taken = []

    def _forget_told(self, reader: Reader) -> None:
        """Let go of what the leader has told, but for the last moments."""
        told = self._ledger.cursor()
        while told and reader.backlog:
            if reader.backlog[0].event.time_nano >= told.time_nano - 5 * OVERLAP:
                break
            with contextlib.suppress(IndexError):  # it has just overflown
                reader.backlog.popleft()

    # -- what is heard ---------------------------------------------------------------------

    def _tell_heard(self, reader: Reader) -> None:
        """Tell what was heard until now, a batch at a time."""
        reader.take_in()
        reached = reader.read_to  # all up to here is in the backlog by now
        self._tell_gaps(reader)  # before the cursor moves beyond them
        if not reader.backlog and reached != self._told_to:
            self._commit([], None, reached)  # nothing but noise
        for _ in range(-(-len(reader.backlog) // BATCH)):
            self._hold()
            reached, waiting = reader.read_to, len(reader.backlog)
            self._tell_gaps(reader)
            for _ in range(min(BATCH, waiting)):
                self._taken.append(reader.backlog.popleft())
            last = self._taken[-1]
            if reader.backlog:
                reached = Cursor(last.engine_id, last.event.time_nano, last.mark)
            images = None
            if any(one.event.type == "image" for one in self._taken):
                with contextlib.suppress(EngineError):
                    images = self._audit.images()
            seen = self._look_after(self._taken)
            told: list[Telling] = []
            for heard in self._taken:
                try:
                    told += self._world.hear(heard, seen.get(heard.event.actor))
                except Exception:
                    log.exception("Engine %s: passed over %s", self._name, heard.event)
            self._commit(told, images, reached)

    def _look_after(self, batch: Sequence[Heard]) -> dict[str, Container]:
        """The containers that these events are about as they are now."""
        gone = {one.event.actor for one in batch if one.event.action == "destroy"}
        about = {
            one.event.actor: None
            for one in batch
            if one.event.type == "container" and one.event.action in _LOOKED_AT
        }
        looks = {name: self._audit.look(name) for name in about if name not in gone}
        return {name: seen for name, seen in looks.items() if seen}

    # -- what is known of the stream -------------------------------------------------------

    def _tell_gaps(self, reader: Reader) -> None:
        """Tell where events may be missing."""
        while reader.gaps:
            why, cursor = reader.gaps.popleft()
            self._untold.append(
                self._event(GAP, reason=why, since=moment(cursor.time_nano).isoformat())
            )
            log.warning("Engine %s: gap in its events: %s", self._name, why)
        if lost := reader.dropped - self._dropped:
            self._dropped += lost
            self._audit_due = self._full_due = 0.0
            why = "events were dropped while Redis was away"
            self._untold.append(self._event(GAP, reason=why, dropped=lost))
            log.warning("Engine %s: gap in its events: %s", self._name, why)
        if self._untold:
            self._commit([])

    def _tell_connection(self, reader: Reader) -> None:
        """Tell of an Engine that is away or back."""
        if reader.connected != self._was_connected:
            was, self._was_connected = self._was_connected, reader.connected
            if was is not None:
                name = "connected" if reader.connected else "disconnected"
                self._untold.append(self._event(f"io.dockbus.engine.{name}"))
                self._commit([])

    def _event(self, type_: str, **facts: JsonValue) -> Event:
        data: dict[str, JsonValue] = {"engine": self._name, **facts}
        return Event(source=ENGINES + self._name, type=type_, subject=self._name, data=data)

    # -- what is seen ----------------------------------------------------------------------

    def _look_round(self, reader: Reader) -> None:
        """Look at the Engine, and tell what is there and was not heard."""
        begun = time.monotonic()
        if reader.opened != self._opened:
            self._opened, self._full_due = reader.opened, 0.0
        full = begun >= self._full_due
        if self._is_new:
            self._begin()
        self._hear_missed(reader)
        images = self._audit.images()
        self._tell_heard(reader)  # what has come meanwhile
        containers = self._find(reader, full=full)
        if self._audit.in_doubt:
            self._audit_due = time.monotonic() + DOUBT / 2
            self._commit([], images)
            return
        self._resynced = datetime.now(UTC)
        self._full_due = begun + FULL if full else self._full_due
        self._audit_due = begun + AUDIT * random.uniform(0.9, 1.1)  # noqa: S311  jitter
        self._stream.trim()
        if full:
            names = {one.name for one in self._world.containers.values()}
            forget_gone(self._redis, self._name, names)
        resynced = self._event(RESYNCED, containers=containers, images=len(images))
        self._commit(_tellings([resynced]), images)

    def _begin(self) -> None:
        """Take all as it is: what was before the first look is not news."""
        listed = self._audit.containers()
        self._world.begin(seen for one in listed if (seen := self._audit.look(one)))
        self._commit([], self._audit.images())
        self._is_new = False

    def _hear_missed(self, reader: Reader) -> None:
        """Take in what the Engine remembers and the stream did not bring."""
        remembered = self._audit.remembered(self._first)
        missed = 0
        with contextlib.suppress(EngineTimeout):  # its clock is behind
            missed = reader.missed(remembered, reader.read_to.engine_id)
        if missed and time.monotonic() - reader.opened_at > STALLED:
            log.warning(
                "Engine %s: its stream did not bring %d events; opened anew", self._name, missed
            )
            reader.reopen()

    def _find(self, reader: Reader, *, full: bool) -> int:
        """Tell what is not as it was told, and what is heard meanwhile; returns how many containers there are."""
        engine_id, now = reader.read_to.engine_id, time.time_ns()
        told: list[Telling] = []
        listed = self._audit.containers()
        for number, (container, seen) in enumerate(
            self._audit.differing(listed, self._world, full=full), 1
        ):
            if seen:
                told += self._world.find(engine_id, seen, now)
            else:
                told += self._world.lose(engine_id, container, now)
            if number % BATCH == 0:
                self._commit(told)
                self._tell_heard(reader)
                told = []
            self._hold()
        self._commit(told)
        return len(listed)

    # -- writing ---------------------------------------------------------------------------

    def _hold(self) -> None:
        """Make sure that this process leads still.

        Raises:
            Fenced: it does not.
        """
        if not self._ledger.lead():
            raise Fenced

    def _commit(
        self,
        told: Sequence[Telling],
        images: list[ImageState] | None = None,
        reached: Cursor | None = None,
    ) -> None:
        self._told_to = reached or self._told_to
        state = EngineState(
            name=self._name,
            id=self._told_to.engine_id,
            connected=bool(self.connected),
            resynced=self._resynced,
        )
        world = self._world
        changed = {one: world.containers.get(one) for one in world.changed}
        told = [*_tellings(self._untold), *told]
        self._ledger.commit(self._told_to, state, told, changed, images)
        world.changed.clear()
        self._taken, self._untold = [], []

    def _insist(self, call: Callable[[], T]) -> T | None:
        """What `call` gives, as soon as Redis answers; None when told to stop before."""
        while not self._stopping.is_set():
            try:
                return call()
            except RedisUnavailable as error:
                self._say_away(error)
                self._stopping.wait(1.0)
        return None

    def _say_away(self, error: RedisUnavailable) -> None:
        if not self.redis_away:
            log.warning("Redis is away, events are kept in memory: %s", error.detail)
        self.redis_away = True

    def _say_back(self, reader: Reader) -> None:
        if self.redis_away:
            log.info("Redis is back, %d events are waiting", len(reader.backlog))
        self.redis_away = False


def _tellings(events: Iterable[Event]) -> list[Telling]:
    return [Telling(event.id, time.time_ns(), event) for event in events]
