"""What the bus counts of an Engine's events, with the events themselves: what no look at an Engine now and then can tell.

Containers are counted by name, so that one which is made anew goes on where the last one was; those of jobs have no
name, for there are many and each lives once. What has been gone for an hour is forgotten.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, cast

from redis import Redis

from dockbus.connection import reachable
from dockbus.events import CONTAINER, ENGINES, GAP, RESYNCED, Event
from dockbus.jobs.base import LABEL_JOB
from dockbus.tally import DELAYS, KEY, Tally, observation, sample
from dockbus_producer.docker_events.world import Telling

GONE = "dockbus:tally-gone"
"""Sorted set: engine and name of containers that are counted and not there, by when that was first seen."""
FORGET = 3600.0
_STREAM: Mapping[str, str] = {
    GAP: "dockbus_engine_gaps_total",
    RESYNCED: "dockbus_engine_resyncs_total",
    "io.dockbus.engine.disconnected": "dockbus_engine_disconnects_total",
}


_BEGUN = (
    *_STREAM.values(),
    "dockbus_engine_events_found_total",
    "dockbus_events_doubled_total",
)


def counts_of(telling: Telling, now: float) -> Mapping[str, float]:
    """How far each sample of the tally is raised by an event that is published now, in seconds since 1970."""
    event = telling.event
    engine = event.source.removeprefix(ENGINES)
    if event.type in _STREAM:
        # At each resync also what has not happened yet: of a counter that begins with 1 nobody sees that it rose.
        begun = _BEGUN if event.type == RESYNCED else ()
        return {
            **{sample(name, engine=engine): 0.0 for name in begun},
            sample(_STREAM[event.type], engine=engine): 1,
        }
    type_, _, action = event.type.removeprefix("io.dockbus.docker.").partition(".")
    if not event.type.startswith("io.dockbus.docker."):
        return {}
    counts: dict[str, float] = {
        sample("dockbus_engine_events_total", engine=engine, type=type_, action=action): 1
    }
    if event.data.get("synthetic"):
        counts[sample("dockbus_engine_events_found_total", engine=engine)] = 1
    else:
        late = max(0.0, now - telling.time_nano / 1e9)
        counts |= observation("dockbus_engine_event_delay_seconds", late, DELAYS, engine=engine)
    if event.type.startswith(CONTAINER):
        counts |= _of_container(engine, action, event, restart=telling.restart)
    return counts


def _of_container(engine: str, action: str, event: Event, *, restart: bool) -> Mapping[str, float]:
    data = cast("Mapping[str, Any]", event.data)
    labels: Mapping[str, str] = data.get("container", {}).get("labels") or data["attributes"]
    name = "" if LABEL_JOB in labels else data["name"]
    who = {"engine": engine, "name": name, "image": data["image"]}
    if action == "oom":
        return {sample("container_oom_events_total", **who): 1}
    if action == "die":
        code = str(data.get("exitCode", ""))
        return {sample("dockbus_container_exits_total", **who, exit_code=code): 1}
    if action.startswith("health_status."):
        health = action.partition(".")[2]
        return {sample("dockbus_container_health_transitions_total", **who, health=health): 1}
    if restart:
        return {sample("dockbus_container_restarts_total", **who): 1}
    return {}


def forget_gone(redis: Redis, engine: str, names: Collection[str]) -> None:
    """Forget the counters of containers that are no longer among these, and were not an hour ago.

    Raises:
        RedisUnavailable: Redis does not answer.
    """
    counted: dict[str, list[str]] = {}
    for metric, readings in Tally(redis).read().items():
        for reading in readings:
            name = reading.labels.get("name", "")
            if name and reading.labels.get("engine") == engine:
                counted.setdefault(name, []).append(sample(metric, **reading.labels))
    now = time.time()
    gone = {f"{engine}/{name}": now for name in counted if name not in names}
    back = [f"{engine}/{name}" for name in names]
    with reachable():
        if gone:
            redis.zadd(GONE, cast("Any", gone), nx=True)
        if back:
            redis.zrem(GONE, *back)
        for raw in cast("list[bytes]", redis.zrangebyscore(GONE, "-inf", now - FORGET)):
            of, _, name = raw.decode().partition("/")
            if of == engine:
                if name in counted:
                    redis.hdel(KEY, *counted[name])
                redis.zrem(GONE, raw)
