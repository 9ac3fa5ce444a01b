"""What a whole deployment has and lacks, as far as its Redis tells: for the doctor, from any machine that reaches that.

Nothing is asked of workers or Engines, and nothing is changed. A check is a generator that may raise whatever Redis
makes it raise: one that cannot be made must not keep the doctor from the others.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from dockbus.bus import Bus
from dockbus.checks import Check, judged
from dockbus.events import STREAM
from dockbus.ids import JobId
from dockbus.inventory import age
from dockbus.queue.keys import RQ, job_key, registry_key
from dockbus.records import QueueRecord
from dockbus.stats.board import ALIVE, WORKERS
from dockbus.units import show_span

MOST_SKEW = 5.0
"""Seconds by which clocks may differ."""
FAILED = 1000
"""Failed jobs of one queue that are looked at, the newest."""
SINK = "dockbus:sink:"
"""How the keys of a sink begin; with its name, its group on the event stream."""
SUSPENDED = "dockbus:rules:suspended"
"""Sorted set, `RULE:OBJECT` by when its suspension ends."""

Probe = Callable[[Bus, datetime], Iterator[Check]]
"""Looks at a bus, at that time by the clock of its Redis."""


def now_of(redis: Redis) -> datetime:
    """The time by the clock of Redis."""
    seconds, micros = redis.time()
    return datetime.fromtimestamp(float(seconds) + micros / 1e6, UTC)


# -- workers -------------------------------------------------------------------------------


def workers(bus: Bus, _: datetime) -> Iterator[Check]:
    """Every kind has a worker, and so has every queue with jobs."""
    queues = bus.queues()
    starts = [start for queue in queues if not queue.workers and (start := _missing_at(queue))]
    found = ", ".join(f"{queue.name} {queue.workers}" for queue in queues)
    yield judged("workers", found, f"Start them: {', '.join(starts)}" if starts else "")


def _missing_at(queue: QueueRecord) -> str:
    """What is to be started for a queue without workers; nothing for one Engine's own, unless jobs wait for it.

    Those are also the ones that are started or scheduled: that Engine's workers alone move them on.
    """
    kind, _, engine = queue.name.partition("@")
    command = f"`dockbus worker {kind}`"
    if not engine:
        return command
    jobs = queue.queued + queue.started + queue.scheduled
    return f"{command} beside Engine {engine}, for which {jobs} jobs wait" if jobs else ""


@dataclass(frozen=True)
class _Worker:
    name: str
    version: str
    """Empty for one that does not tell."""
    beaten: datetime | None
    """Its last sign of life, by its own clock."""
    suspended: bool
    """It takes no jobs."""


def versions(bus: Bus, now: datetime) -> Iterator[Check]:
    """All workers are of this version, and their clocks are right."""
    alive = list(_alive(bus.redis))
    if not alive:
        return
    here = version("dockbus")
    counted = Counter(worker.version or "unknown" for worker in alive)
    found = ", ".join(f"{name} ({count} workers)" for name, count in sorted(counted.items()))
    if counted.keys() == {here}:
        yield judged("versions", found)
    else:
        advice = "Good while you upgrade, workers first; jobs with what only a newer one knows wait for it."
        yield judged("versions", f"{found}; here {here}", advice)
    off = [
        f"{worker.name} {show_span(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}"
        for worker in alive
        if worker.beaten and abs(seconds := (worker.beaten - now).total_seconds()) > MOST_SKEW
    ]
    advice = "Run NTP on their machines; one that is behind may also hang: its log says more."
    within = f"all within {MOST_SKEW:g} s of that of Redis"
    yield judged("clocks of workers", ", ".join(off) or within, advice if off else "")


def _alive(redis: Redis) -> Iterator[_Worker]:
    keys: Any = sorted(redis.smembers(f"{RQ}:workers"))
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "queues", "death", "dockbus", "last_heartbeat", "state")
        found: list[Any] = pipe.execute(raise_on_error=False)
    for key, answer in zip(keys, found, strict=True):
        if isinstance(answer, list) and answer[0] and not answer[1]:
            told, beaten, state = (_text(one) for one in answer[2:])
            name = _text(key).removeprefix(f"{RQ}:worker:")
            yield _Worker(name, told, _moment(beaten), suspended=state == "suspended")


def readiness(bus: Bus, _: datetime) -> Iterator[Check]:
    """Every worker takes jobs."""
    alive = list(_alive(bus.redis))
    waiting = [worker.name for worker in alive if worker.suspended]
    advice = "Their Engine does not answer, or its name is another's: their logs say which and what to do."
    if waiting:
        yield judged("workers ready", f"{', '.join(waiting)} take no jobs", advice)
    elif alive:
        yield judged("workers ready", "all take jobs")


# -- what went wrong -----------------------------------------------------------------------


def jobs(bus: Bus, _: datetime) -> Iterator[Check]:
    """No job is dead."""
    queues = bus.queues()
    with bus.redis.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.zrevrange(registry_key("failed", queue.name), 0, FAILED - 1)
        for job in [_text(raw) for raws in pipe.execute() for raw in raws]:
            pipe.hget(job_key(JobId(job)), "dead")
        dead = sum(one == b"1" for one in pipe.execute(raise_on_error=False))
    failed = sum(queue.failed for queue in queues) - dead
    advice = (
        "`dockbus jobs --state dead` says which and why; `dockbus replay --dead` orders them again."
    )
    yield judged(
        "jobs", f"{dead} dead, {failed} failed, of those that are kept", advice if dead else ""
    )


def rules(bus: Bus, now: datetime) -> Iterator[Check]:
    """No rule is suspended."""
    marks: Any = bus.redis.zrangebyscore(SUSPENDED, now.timestamp(), "+inf")
    counted = Counter(_text(mark).partition(":")[0] for mark in marks)
    found = ", ".join(f"{rule} is suspended for {count}" for rule, count in sorted(counted.items()))
    advice = "`dockbus rules suspended` says for what; mend that, then `dockbus rules resume RULE`."
    yield judged("rules", found or "none is suspended", advice if found else "")


def events(bus: Bus, now: datetime) -> Iterator[Check]:
    """No reader is about to lose events that it has not read."""
    keep = bus.settings.bus.events
    length: Any = bus.redis.xlen(STREAM)
    oldest: Any = bus.redis.xrange(STREAM, count=1)
    since = now.timestamp() - int(oldest[0][0].partition(b"-")[0]) / 1000 if oldest else 0.0
    late = [f"{name} is {lag} events behind" for name, lag in _groups(bus.redis) if lag > keep / 2]
    found = "; ".join([f"{length} of about {keep}, for {show_span(max(since, 0.0))}", *late])
    advice = "Start what reads them, or more of it, before they are trimmed; or raise DOCKBUS_BUS_EVENTS."
    yield judged("events", found, advice if late else "")


def sinks(bus: Bus, _: datetime) -> Iterator[Check]:
    """No sink is suspended or has dead letters."""
    names = [name.removeprefix(SINK) for name, _ in _groups(bus.redis) if name.startswith(SINK)]
    troubles: list[str] = []
    for name in names:
        if dead := bus.redis.xlen(f"{SINK}{name}:dead"):
            troubles.append(f"{name} has {dead} dead letters")
        if bus.redis.exists(f"{SINK}{name}:suspended"):
            troubles.append(f"{name} is suspended")
    advice = "`dockbus sinks list` says why; then `dockbus sinks replay NAME`, or `resume`."
    if names:
        found = ", ".join(troubles) or f"{len(names)}, all are sent to"
        yield judged("sinks", found, advice if troubles else "")


def _groups(redis: Redis) -> list[tuple[str, int]]:
    """The groups that read the event stream, and how far each is behind, as far as this Redis tells (from 7.0 on)."""
    with suppress(ResponseError):  # there is no stream
        groups: Any = redis.xinfo_groups(STREAM)
        return [(_text(one["name"]), one.get("lag") or 0) for one in groups]
    return []


# -- Engines -------------------------------------------------------------------------------


def watches(bus: Bus, now: datetime) -> Iterator[Check]:
    """Every Engine that was ever watched still is."""
    engines = bus.snapshot.engines()
    late: list[str] = []
    for engine in engines:
        if (seconds := age(engine, now)) is None:
            late.append(f"{engine.name} was never heard")
        elif seconds:
            late.append(
                f"{engine.name} is not heard, and was last looked at {show_span(seconds)} ago"
            )
    if not engines:
        late = ["no Engine is watched: no events of containers, no rules, no snapshot"]
    advice = "See that each Engine and a `dockbus watch` beside it run; the log of that says more."
    found = ", ".join(late) or f"of {', '.join(engine.name for engine in engines)}"
    yield judged("watches", found, advice if late else "")


def metrics_workers(bus: Bus, now: datetime) -> Iterator[Check]:
    """Every Engine that is watched is measured, too."""
    found: Any = bus.redis.zrangebyscore(WORKERS, now.timestamp() - ALIVE, "+inf")
    measured = sorted(_text(one) for one in found)
    lacking = [one.name for one in bus.snapshot.engines() if one.name not in measured]
    told = f"of {', '.join(measured)}" if measured else "none"
    if measured and lacking:
        told += f"; none of {', '.join(lacking)}"
    advice = "Run `dockbus metrics` beside each Engine; without it nobody measures its containers."
    yield judged("metrics workers", told, advice if lacking or not measured else "")


PROBES: tuple[Probe, ...] = (
    workers,
    versions,
    readiness,
    jobs,
    rules,
    events,
    sinks,
    watches,
    metrics_workers,
)
"""All there is to look at."""


def _moment(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text).astimezone(UTC)
    return None


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw or "")
