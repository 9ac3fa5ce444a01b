"""Looks every now and then for containers that are over a limit, and tells of them on the bus.

    dockbus:limits:ENGINE   string: the episodes that go on, as JSON, so that the next worker tells none of them again

Whoever dies between telling and noting that it was told has the next one tell it once more under the same ID, which
changes nothing.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue, ValidationError
from redis import Redis

from dockbus.connection import reachable
from dockbus.engine import Engine, EngineError
from dockbus.engine.states import state_of
from dockbus.events import ENGINES, Event, EventStream
from dockbus.limits import LABELS, Resource
from dockbus.settings import Settings
from dockbus_workers.metrics.limits import EPISODES, Crossing, Episode, Watchdog
from dockbus_workers.metrics.sweep import Sweeper
from dockbus_workers.metrics.usage import Usage

PATIENCE = 5.0
"""Seconds that a look may take at most, and after which an Engine that does not answer is asked again."""
KEPT = 24 * 3600
"""Seconds for which episodes are remembered of an Engine that nobody looks at any more."""
MOST = 10_000
"""Events that wait for a Redis that is away."""


class Guard:
    """Guards the limits of one Engine's containers."""

    def __init__(self, settings: Settings, sweeper: Sweeper, redis: Redis) -> None:
        metrics = settings.metrics
        self._interval = metrics.interval
        self._patience = metrics.over_for
        self._limits: dict[Resource, float] = {
            "cpu": metrics.cpu_over,
            "memory": metrics.memory_over,
        }
        self._sweeper = sweeper
        self._redis = redis
        self._engine = Engine(settings.engine)
        self._key = f"dockbus:limits:{sweeper.engine}"
        self._events = EventStream(redis, keep=settings.bus.events, age=settings.bus.events_age)
        self._usage = Usage(sweeper.engine)
        self._watchdog: Watchdog | None = None
        self._untold: deque[Event] = deque(maxlen=MOST)
        self.due = 0.0
        """When the next look is due, by the monotonic clock."""

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.close()

    def stand_by(self) -> None:
        """Somebody else looks; what that one has found is read when it is this one's turn."""
        self._usage.forget()
        self._watchdog = None

    def look(self) -> None:
        """Look once. Containers of an Engine that does not answer are neither over a limit nor under it.

        Raises:
            RedisUnavailable: Redis does not answer; what is untold is told at the next look.
        """
        self.due = time.monotonic() + self._interval
        watchdog = self._watchdog = self._watchdog or self._last_one()
        inventory = self._sweeper.inventory
        if not inventory.wait(1.0):
            self.due = time.monotonic() + min(self._interval, PATIENCE)
            return
        labelled = any(label in one.labels for one in inventory.running for label in LABELS)
        if labelled or any(self._limits.values()) or watchdog.episodes:
            self._judge(watchdog)
        else:
            self._usage.forget()
        while self._untold:
            self._events.publish(self._untold[0])
            self._untold.popleft()
        self._keep(watchdog.episodes)

    def _judge(self, watchdog: Watchdog) -> None:
        sweep = self._sweeper.sweep(PATIENCE)  # one that is two seconds old will do
        inventory = self._sweeper.inventory
        info, running = inventory.info, {one.id for one in inventory.running}
        if sweep.up and inventory.wait(0.0):  # else the Engine has gone, and not its containers
            measured = self._usage.measure(sweep.samples, info.memory if info else None)
            found = watchdog.judge(measured, running, datetime.now(UTC))
            self._untold.extend(self._event(one) for one in found)

    # -- what is kept ----------------------------------------------------------------------

    def _last_one(self) -> Watchdog:
        """A watchdog that knows what the last one did."""
        with reachable():
            raw: Any = self._redis.get(self._key)
        known: list[Episode] = []
        with suppress(ValidationError):  # not ours
            known = EPISODES.validate_json(raw or b"[]")
        return Watchdog(self._limits, self._patience, known)

    def _keep(self, episodes: list[Episode]) -> None:
        with reachable():
            if episodes:
                self._redis.set(self._key, EPISODES.dump_json(episodes), ex=KEPT)
            else:
                self._redis.delete(self._key)

    # -- what is told ----------------------------------------------------------------------

    def _event(self, crossing: Crossing) -> Event:
        episode = crossing.episode
        engine = self._sweeper.engine
        data: dict[str, JsonValue] = {
            "engine": engine,
            "id": episode.id,
            "name": episode.name,
            "image": episode.image,
            "resource": episode.resource,
            "value": None if crossing.value is None else round(crossing.value, 2),
            "limit": episode.limit,
            "since": episode.since.isoformat(),
        }
        with suppress(EngineError):  # it is gone
            state = state_of(self._engine.containers.get(episode.id), engine)
            data["container"] = state.model_dump(mode="json")
        kind = crossing.type.rpartition(".")[2]
        return Event(
            id=f"{kind}:{episode.id}:{episode.resource}:{episode.since.isoformat()}",
            source=f"{ENGINES}{engine}",
            type=crossing.type,
            subject=episode.id,
            time=crossing.time,
            data=data,
        )
