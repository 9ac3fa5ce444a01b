"""Occasions for rules, and rules that act on them at moments of the test's own choosing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from dockbus import Bus, Event
from dockbus.events import RESYNCED
from dockbus.queue.keys import job_key
from dockbus.snapshot import ContainerState
from dockbus_producer.firing import Firing
from dockbus_producer.rules import Occasion, Rule

DIE = "io.dockbus.docker.container.die"
START = 1_767_225_600.0
"""When all this happens, in seconds since 1970; the gate goes by what it is told."""
_numbers = itertools.count()


def rule(**fields: object) -> Rule:
    return Rule.model_validate({"name": "r", "on": DIE, "do": {"kind": "cleanup"}} | fields)


def died(at: float = 0.0, subject: str = "c0ffee", **data: Any) -> Occasion:
    return Occasion(
        Event(
            id=f"e{next(_numbers)}",
            source="/engines/local",
            type=DIE,
            subject=subject,
            time=datetime.fromtimestamp(START + at, UTC),
            data={"name": "web", **data},
        )
    )


def resynced(state: str = "exited", subject: str = "c0ffee") -> Occasion:
    event = Event(id=f"e{next(_numbers)}", source="/engines/local", type=RESYNCED)
    return Occasion(event, ContainerState(engine="local", id=subject, name="web", state=state))


def fire_all(bus: Bus, rule: Rule, seconds: Iterable[float], subject: str = "c0ffee") -> int:
    """Events at those seconds, each as it happens; how many jobs there are in the end."""
    firing = Firing(bus)
    for at in seconds:
        firing.fire(rule, died(at, subject), START + at)
    return jobs(bus)


def jobs(bus: Bus) -> int:
    return len(bus.jobs(limit=1000))


def told(bus: Bus, what: str) -> list[Event]:
    wanted = f"io.dockbus.rule.{what}"
    return [one.event for one in bus.events(since="0", follow=False) if one.event.type == wanted]


def set_state(redis: Redis, job: str, status: str, attempts: int = 0) -> None:
    """As if a worker had done that to the job."""
    redis.hset(job_key(job), mapping={"status": status, "attempts": attempts})  # type: ignore[arg-type]
