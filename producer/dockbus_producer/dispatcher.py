"""From events to jobs: each event is shown to every rule, by one of any number of dispatchers.

They share the consumer group `dockbus:rules` on the event stream. An event is acknowledged only after its jobs
are on the bus, and given to another dispatcher if that takes a minute; a job's key is made of rule and cause, so
that an event seen twice makes no second job. The group begins at the end of the stream, and once it is gone with
its Redis, where this dispatcher was. What rules have done, and what waits, is in Redis: see `gate` and `debounce`.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import ResponseError

from dockbus.bus import Bus
from dockbus.connection import Row, reachable, stream_rows
from dockbus.errors import RedisUnavailable
from dockbus.events import CONTAINER, RESYNCED, STREAM, parse_rows
from dockbus_producer.debounce import Debounce
from dockbus_producer.firing import Firing
from dockbus_producer.label_warnings import LabelWarnings
from dockbus_producer.rules import Occasion, Rule

log = logging.getLogger(__name__)

GROUP = "dockbus:rules"
LABELS_AT = (f"{CONTAINER}create", f"{CONTAINER}start", RESYNCED)
"""Events at which the labels of containers are checked."""
ABANDONED = 60.0
"""Seconds after which an event that one dispatcher has taken and not acknowledged goes to another."""
_number = itertools.count(1)


class Dispatcher:
    """One dispatcher. `rules` may be replaced at any time; the next batch of events meets the new ones."""

    def __init__(self, bus: Bus, rules: Sequence[Rule] = ()) -> None:
        self.rules = rules
        self._bus = bus
        self._firing = Firing(bus)
        self._debounce = Debounce(bus.redis)
        self._warnings = LabelWarnings(bus)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{next(_number)}"
        self._position: str = "$"
        self._next_claim = 0.0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Dispatch until `stop` is called; a Redis that is away is waited for."""
        rows: list[Row] = []
        away = False
        while not self._stopping.is_set():
            try:
                rows = rows or self._take()
                self._handle(rows)
                self._act_on_due()
            except RedisUnavailable as error:  # what was taken is kept, and handled when it is back
                if not away:
                    log.warning("Redis is away, rules wait: %s", error.detail)
                away = True
                self._stopping.wait(1.0)
            else:
                if away:
                    log.info("Redis is back, rules go on")
                away, rows = False, []

    def stop(self) -> None:
        """End `run` within a second or so, from any thread."""
        self._stopping.set()

    # -- taking ----------------------------------------------------------------------------

    def _take(self) -> list[Row]:
        """Events for this dispatcher; waits a second for the first, or until something is due."""
        pause = self._pause()
        try:
            with reachable():
                # What it has taken and not handled can only be an answer that broke off on its way here.
                rows = self._read("0") or self._claim() or self._read(">", block=pause)
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            self._make_group()
            return []
        self._position = rows[-1][0].decode() if rows else self._position
        return rows

    def _pause(self) -> int:
        """Milliseconds to wait for events."""
        waiting = [rule.name for rule in self.rules if rule.enabled and rule.debounce]
        due = self._debounce.next(waiting)
        if due is None:
            return 1000
        return min(max(round((due - self._firing.gate.now()) * 1000), 1), 1000)

    def _read(self, after: str, *, block: int | None = None) -> list[Row]:
        redis: Any = self._bus.redis
        answer = redis.xreadgroup(GROUP, self._name, {STREAM: after}, count=100, block=block)
        return stream_rows(answer, STREAM)

    def _claim(self) -> list[Row]:
        """What another dispatcher has taken and left; asked for every now and then."""
        if time.monotonic() < self._next_claim:
            return []
        redis: Any = self._bus.redis
        idle = round(ABANDONED * 1000)
        rows: list[Row] = redis.xautoclaim(STREAM, GROUP, self._name, idle, count=100)[1]
        if not rows:
            self._next_claim = time.monotonic() + ABANDONED / 2
        return rows

    def _make_group(self) -> None:
        try:
            with reachable():
                self._bus.redis.xgroup_create(STREAM, GROUP, self._position, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another dispatcher was faster
                raise

    # -- handling --------------------------------------------------------------------------

    def _handle(self, rows: list[Row]) -> None:
        if not rows:
            return
        rules, now = self.rules, self._firing.gate.now()
        for stored in parse_rows(rows):
            heard = [rule for rule in rules if rule.hears(stored.event.type)]
            checked = stored.event.type in LABELS_AT
            if heard or checked:
                for occasion in self._occasions(Occasion.of(stored.event)):
                    if checked and occasion.container:
                        self._warnings.check(occasion.container, rules)
                    self._show(occasion, heard, now)
        with reachable():
            self._bus.redis.xack(STREAM, GROUP, *(position for position, _ in rows))

    def _show(self, occasion: Occasion, rules: Sequence[Rule], now: float) -> None:
        """Let each rule that matches act on it, at once or when it is quiet."""
        moment = datetime.fromtimestamp(now, UTC)
        for rule in rules:
            if rule.match(occasion, moment):
                if rule.debounce:
                    with self._firing.failures(rule, occasion):
                        self._debounce.wait(rule, occasion, now)
                else:
                    self._firing.fire(rule, occasion, now)

    def _occasions(self, told: Occasion) -> Iterator[Occasion]:
        """What an event gives occasion to: itself, with its container, and at a resync all containers there."""
        if told.needs_look and told.engine:
            container = self._bus.snapshot.container(told.engine, told.event.subject)
            yield Occasion(told.event, container)
            return
        yield told
        if told.event.type == RESYNCED and told.engine:
            for container in self._bus.snapshot.containers(engine=told.engine):
                yield Occasion(told.event, container)

    def _act_on_due(self) -> None:
        """Act on what it has become quiet about, and tell what is suspended no longer."""
        now = self._firing.gate.now()
        rules = {rule.name: rule for rule in self.rules if rule.enabled}
        for burst in self._debounce.due(rules, now):
            if burst.event:
                occasion = next(self._occasions(Occasion.of(burst.event)))
                self._firing.fire(rules[burst.rule], occasion, now)
            self._debounce.forget(burst, now)
        self._firing.tell_lapsed(now)
