"""From events to jobs: each event is shown to every rule, by one of any number of dispatchers.

They share the consumer group `dockbus:rules` on the event stream. An event is acknowledged only after its jobs
are on the bus, and given to another dispatcher if that takes a minute; a job's key is made of rule and event, so
that an event seen twice makes no second job. The group begins at the end of the stream, and once it is gone with
its Redis, where this dispatcher was.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import ResponseError

from dockbus.bus import Bus
from dockbus.connection import Row, reachable, stream_rows
from dockbus.errors import JobNotFound, KeyConflict, RedisUnavailable, RuleError
from dockbus.events import STREAM, Event, parse_rows
from dockbus_producer.rules import Rule, engine_of

log = logging.getLogger(__name__)

GROUP = "dockbus:rules"
SOURCE = "/dockbus/rules"
ABANDONED = 60.0
"""Seconds after which an event that one dispatcher has taken and not acknowledged goes to another."""
_number = itertools.count(1)


class Dispatcher:
    """One dispatcher. `rules` may be replaced at any time; the next batch of events meets the new ones."""

    def __init__(self, bus: Bus, rules: Sequence[Rule] = ()) -> None:
        self.rules = rules
        self._bus = bus
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

    def _take(self) -> list[Row]:
        """Events for this dispatcher; waits a second for the first."""
        try:
            with reachable():
                # What it has taken and not handled can only be an answer that broke off on its way here.
                rows = self._read("0") or self._claim() or self._read(">", block=1000)
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            self._make_group()
            return []
        self._position = rows[-1][0].decode() if rows else self._position
        return rows

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

    def _handle(self, rows: list[Row]) -> None:
        rules, now = self.rules, datetime.now(UTC)
        for stored in parse_rows(rows):
            for rule in rules:
                if rule.match(stored.event, now):
                    self._fire(rule, stored.event)
        if rows:
            with reachable():
                self._bus.redis.xack(STREAM, GROUP, *(position for position, _ in rows))

    def _fire(self, rule: Rule, event: Event) -> None:
        cause = f"{rule.name}:{event.source}:{event.id}"
        try:
            spec = rule.spec(event)
            job = self._bus.enqueue(spec, key=f"rule:{cause}", engine=engine_of(event))
        except RuleError as error:
            log.error("%s of %s: %s", event.type, event.subject, error.detail)  # noqa: TRY400  no bug
            self._tell("failed", cause, rule, event, error=error.detail)
        except (
            KeyConflict,
            JobNotFound,
        ):  # the rule was changed since, or the job is just being forgotten
            log.debug("%s was answered before", cause)
        else:
            log.info("rule %s: %s of %s: job %s", rule.name, event.type, event.subject, job.id)
            self._tell("fired", cause, rule, event, job=job.id, kind=spec.kind.value)

    def _tell(self, what: str, cause: str, rule: Rule, event: Event, **facts: str) -> None:
        self._bus.publish(
            Event(
                id=f"{what}:{cause}",
                source=SOURCE,
                type=f"io.dockbus.rule.{what}",
                subject=rule.name,
                data={
                    "rule": rule.name,
                    "event": event.id,
                    "eventSource": event.source,
                    "eventType": event.type,
                    **facts,
                },
            )
        )
