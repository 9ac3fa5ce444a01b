"""Slots of rules that containers time by their labels: each becomes one event, which dispatchers answer like any other.

    dockbus:rules:slots    sorted set: RULE:ENGINE:CONTAINER, by the slot that was settled last

Who finds a slot publishes its event and settles it then. The event is made of rule, container and slot, so any number
may do the same, and one that dies in between leaves it to the next. Where nobody looked for a while, the newest slot
is made up for, if it is not older than the rule's `max_age`. A container begins when it is first seen.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.errors import RedisUnavailable
from dockbus.events import ENGINES, Event
from dockbus.inventory import FRESH, age
from dockbus.snapshot import ContainerState
from dockbus_producer.gate import Gate, memory
from dockbus_producer.rules import Rule
from dockbus_producer.rules.labels import newest_slot, timing
from dockbus_producer.rules.occasion import DUE
from dockbus_producer.schedules import DAY, show_moment

log = logging.getLogger(__name__)

SLOTS = "dockbus:rules:slots"
PAUSE = 5.0
"""Seconds between two looks at all containers; there is one at the beginning of each minute as well."""


class LabelSchedules:
    """One who looks. `rules` may be replaced at any time; the next look is for the new ones."""

    def __init__(self, bus: Bus, rules: Sequence[Rule] = ()) -> None:
        self.rules = rules
        self._bus = bus
        self._gate = Gate(bus.redis)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look until `stop` is called; a Redis that is away is waited for."""
        away = False
        while not self._stopping.is_set():
            try:
                now = self._gate.now()
                self.tick(now)
            except RedisUnavailable as error:
                if not away:
                    log.warning("Redis is away, labels wait: %s", error.detail)
                away, pause = True, 1.0
            else:
                if away:
                    log.info("Redis is back, labels go on")
                away, pause = False, min(PAUSE, 60 - now % 60)
            self._stopping.wait(pause)

    def stop(self) -> None:
        """End `run` within a second or so, from any thread."""
        self._stopping.set()

    def tick(self, now: float) -> None:
        """Publish all slots that have come by `now`, by the clock of Redis.

        Raises:
            RedisUnavailable: Redis does not answer. What has not been published is found by the next look.
        """
        rules = [rule for rule in self.rules if rule.cron and rule.enabled]
        if not rules:
            return
        settled, moment = self._settled(), datetime.fromtimestamp(now, UTC)
        for engine in self._bus.snapshot.engines():
            since = age(engine, moment)
            if since is None or since > FRESH:  # nobody knows what is there
                continue
            there = self._bus.snapshot.containers(engine=engine.name)
            for container in there:
                for rule in rules:
                    if cron := timing(rule, container.labels):
                        self._see_to(rule, container, cron, settled, now)
            self._forget(engine.name, {container.id for container in there}, settled)

    def _see_to(
        self,
        rule: Rule,
        container: ContainerState,
        cron: str,
        settled: Mapping[str, float],
        now: float,
    ) -> None:
        mark = f"{rule.name}:{container.engine}:{container.id}"
        after = settled.get(mark)
        if after is None or after > now + DAY:  # new, or from a clock that was far ahead
            created = container.created.timestamp() if container.created else now
            after = min(max(created, now - PAUSE), now)
            with reachable():
                self._bus.redis.zadd(SLOTS, {mark: after})
        slot = newest_slot(cron, now)
        if slot is None or slot <= after:
            return
        if now - slot <= rule.max_age:
            self._bus.publish(_event(rule, container, cron, slot), window=memory(rule))
        else:
            log.warning("rule %s: missed %s for %s", rule.name, show_moment(slot), container.name)
        with reachable():
            self._bus.redis.zadd(SLOTS, {mark: slot}, gt=True)

    def _settled(self) -> dict[str, float]:
        with reachable():
            rows: Any = self._bus.redis.zrange(SLOTS, 0, -1, withscores=True)
        return {row[0].decode(): float(row[1]) for row in rows}

    def _forget(self, engine: str, there: set[str], settled: Mapping[str, float]) -> None:
        """Forget the slots of containers that are gone from this Engine."""
        parts = ((mark, mark.split(":")) for mark in settled)
        gone = [mark for mark, (_, at, box) in parts if at == engine and box not in there]
        if gone:
            with reachable():
                self._bus.redis.zrem(SLOTS, *gone)


def _event(rule: Rule, container: ContainerState, cron: str, slot: int) -> Event:
    return Event(
        id=f"{rule.name}:{container.id}:{show_moment(slot)}",
        source=f"{ENGINES}{container.engine}",
        type=DUE,
        subject=container.id,
        time=datetime.fromtimestamp(slot, UTC),
        data={"rule": rule.name, "cron": cron, "container": container.model_dump(mode="json")},
    )
