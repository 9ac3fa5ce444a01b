"""Rules with states, expressions and bursts, by real dispatchers: what they answer, and that a death costs nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from dockbus import Bus, Cleanup, Event, JobState
from dockbus.events import RESYNCED, STREAM
from dockbus.jobs.actions import Restart
from dockbus.snapshot import ENGINES, ContainerState, EngineState, containers_key
from dockbus_producer import dispatcher as dispatching
from dockbus_producer.dispatcher import GROUP, Dispatcher
from dockbus_producer.rules import Rule, load
from processes import environment
from waiting import wait_for

DIE = "io.dockbus.docker.container.die"
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def rule(**fields: object) -> Rule:
    return Rule.model_validate({"name": "r", "do": {"kind": "cleanup"}} | fields)


HEAL: dict[str, Any] = {
    "name": "heal",
    "state": "container.health == 'unhealthy'",
    "do": {"kind": "restart"},
}


@contextlib.contextmanager
def dispatching_on(bus: Bus, *rules: Rule) -> Generator[Dispatcher]:
    dispatcher = Dispatcher(bus, rules)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    try:
        wait_for(lambda: bus.redis.exists(STREAM) and bus.redis.xinfo_groups(STREAM), what="it")
        yield dispatcher
    finally:
        dispatcher.stop()
        thread.join(30.0)
        assert not thread.is_alive()


def settle(bus: Bus) -> None:
    """Wait until every event so far has been handled."""

    def settled() -> bool:
        groups: Any = bus.redis.xinfo_groups(STREAM)
        newest: Any = bus.redis.xrevrange(STREAM, count=1)
        return bool(groups[0]["pending"] == 0 and groups[0]["last-delivered-id"] == newest[0][0])

    wait_for(settled, what="the dispatchers to be done")


def seen(name: str = "web", **fields: Any) -> ContainerState:
    known: dict[str, Any] = {"engine": "edge", "id": f"{name}-id", "name": name, "state": "running"}
    return ContainerState(**known | fields)


def put(bus: Bus, *containers: ContainerState) -> None:
    """Into the snapshot, as the producer does."""
    bus.redis.hset(ENGINES, "edge", EngineState(name="edge").model_dump_json())
    for one in containers:
        bus.redis.hset(containers_key("edge"), one.id, one.model_dump_json())


def resynced(*, age: float = 0.0) -> Event:
    moment = datetime.now(UTC) - timedelta(seconds=age)
    return Event(source="/engines/edge", type=RESYNCED, subject="edge", time=moment)


def happened(what: str, container: ContainerState | None, **data: JsonValue) -> Event:
    known = {"container": container.model_dump(mode="json")} if container else {}
    return Event(
        source="/engines/edge",
        type=f"io.dockbus.docker.container.{what}",
        subject=container.id if container else "web-id",
        data={"name": "web", "action": what, **known, **data},
    )


def told(bus: Bus, what: str) -> list[Event]:
    stored = [item.event for item in bus.events(since="0", follow=False)]
    return [event for event in stored if event.type == f"io.dockbus.rule.{what}"]


# -- states --------------------------------------------------------------------------------------------


def test_what_was_unhealthy_before_anybody_watched_is_healed_without_an_event(
    engineless_bus: Bus,
) -> None:
    bus, heal = engineless_bus, rule(**HEAL)
    put(bus, seen(health="unhealthy", started=STARTED), seen("fine", health="healthy"))
    with dispatching_on(bus, heal):
        for _ in range(4):  # of which all but the first find the job on its way
            bus.publish(resynced())
        (fired,) = wait_for(lambda: told(bus, "fired"), what="the rule")
        settle(bus)
    (job,) = bus.jobs()
    assert job.spec == Restart(container="web-id", only_if=heal.state, started=STARTED)
    assert job.queue.endswith("@edge")
    assert fired.data["eventType"] == RESYNCED
    assert fired.data["eventSubject"] == "web-id"


def test_a_state_is_also_looked_at_when_an_event_tells_of_the_container(
    engineless_bus: Bus,
) -> None:
    bus = engineless_bus
    with dispatching_on(bus, rule(**HEAL)):
        bus.publish(happened("start", seen(health="starting")))
        bus.publish(happened("health_status.unhealthy", seen(health="unhealthy")))
        bus.publish(happened("kill", seen(health="unhealthy")))
        settle(bus)
    (job,) = bus.jobs()
    assert isinstance(job.spec, Restart)


def test_a_resync_of_another_time_is_old_news(engineless_bus: Bus) -> None:
    bus = engineless_bus
    put(bus, seen(health="unhealthy"))
    with dispatching_on(bus, rule(**HEAL)):
        bus.publish(resynced(age=300))
        settle(bus)
    assert not bus.jobs()


def test_containers_of_jobs_are_left_alone(engineless_bus: Bus) -> None:
    bus = engineless_bus
    put(bus, seen(health="unhealthy", labels={"dockbus.job": "1f"}))
    with dispatching_on(bus, rule(**HEAL), rule(**HEAL | {"name": "own", "own": True})):
        bus.publish(resynced())
        settle(bus)
    assert [event.subject for event in told(bus, "fired")] == ["own"]


# -- expressions and labels ----------------------------------------------------------------------------


def test_a_container_that_the_event_does_not_carry_is_looked_up(engineless_bus: Bus) -> None:
    bus = engineless_bus
    often = rule(
        on=DIE,
        where={"labels": {"team": "shop"}},
        when="event.data.exitCode != 0 && container.restart_count >= 3",
        do={"kind": "cleanup", "labels": {"of": "${labels.team} ${restart_count}"}},
    )
    put(bus, seen(restart_count=4, labels={"team": "shop"}))
    with dispatching_on(bus, often):
        bus.publish(happened("die", None, exitCode=0))
        bus.publish(happened("die", None, exitCode=1))
        bus.publish(happened("die", seen("other", labels={"team": "shop"}), exitCode=1))
        settle(bus)
        bus.redis.delete(containers_key("edge"))
        bus.publish(happened("die", None, exitCode=1, attributes={"team": "shop"}))
        settle(bus)
    (job,) = bus.jobs()
    assert job.spec == Cleanup(labels={"of": "shop 4"})


def test_the_terms_of_the_order(engineless_bus: Bus) -> None:
    bus = engineless_bus
    order = {
        "priority": "high",
        "delay": "1h",
        "timeout": "5m",
        "retry": {"max": 7},
        "exclusive": "image:${name}",
    }
    with dispatching_on(bus, rule(on=DIE, order=order)):
        bus.publish(happened("die", seen()))
        settle(bus)
    (job,) = bus.jobs()
    assert job.state is JobState.SCHEDULED
    assert job.terms
    assert job.terms.priority == "high"
    assert (job.terms.delay, job.terms.timeout) == (3600, 300)
    assert job.terms.retry
    assert job.terms.retry.max == 7
    assert job.terms.exclusive == "image:web"
    assert (job.terms.key or "").startswith("rule:r:/engines/edge:")


def test_a_rule_that_is_not_enabled_does_nothing(engineless_bus: Bus) -> None:
    with dispatching_on(engineless_bus, rule(on=DIE, enabled=False), rule(name="s", on=DIE)):
        engineless_bus.publish(happened("die", seen()))
        settle(engineless_bus)
    assert [event.subject for event in told(engineless_bus, "fired")] == ["s"]


# -- bursts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatchers", [1, 2])
def test_a_burst_is_answered_once_when_it_is_over(engineless_bus: Bus, dispatchers: int) -> None:
    bus = engineless_bus
    waits = rule(on=DIE, debounce="2s", do={"kind": "cleanup", "labels": {"n": "${attributes.n}"}})
    with contextlib.ExitStack() as stack:
        for _ in range(dispatchers):
            stack.enter_context(dispatching_on(bus, waits))
        for number in range(30):
            bus.publish(happened("die", seen(), attributes={"n": str(number)}))
        wait_for(lambda: told(bus, "fired"), what="the rule")
        bus.publish(happened("die", seen(), attributes={"n": "later"}))
        wait_for(lambda: len(told(bus, "fired")) == 2, what="the second burst")
        settle(bus)
    later, first = bus.jobs()
    assert (first.spec, later.spec) == (
        Cleanup(labels={"n": "29"}),
        Cleanup(labels={"n": "later"}),
    )
    assert not bus.redis.exists(f"dockbus:rules:due:{waits.name}")


def test_a_burst_outlives_its_dispatcher(engineless_bus: Bus) -> None:
    bus, waits = engineless_bus, rule(on=DIE, debounce="3s")
    with dispatching_on(bus, waits):
        bus.publish(happened("die", seen()))
        settle(bus)
    assert not bus.jobs()
    with dispatching_on(bus, waits):
        wait_for(bus.jobs, what="the job")


# -- deaths --------------------------------------------------------------------------------------------

DYING = """
import os, signal, sys
from pathlib import Path
from dockbus import Bus, Settings
from dockbus_producer import dispatcher, firing
from dockbus_producer.rules import load

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

point, rules = sys.argv[1], load(Path(sys.argv[2]))
bus = Bus(Settings.from_env())
if point == "before the job":
    firing.Firing._put = die
elif point == "before it is told":
    firing.Firing._tell = die
elif point == "before the acknowledgement":
    bus.redis.xack = die
elif point == "before the burst is forgotten":
    dispatcher.Debounce.forget = die
dispatcher.Dispatcher(bus, rules).run()
"""
BOUNDED = """
rules:
  - name: bounded
    on: io.dockbus.docker.container.die
    count: 2
    within: 1h
    cooldown: 1m
    limit: {count: 3, per: 1h, then: suspend}
    dedup: {conflict: requeue}
    do: {kind: cleanup}
"""
BURST = """
rules:
  - name: burst
    on: io.dockbus.docker.container.die
    debounce: 300ms
    limit: {count: 3, per: 1h}
    do: {kind: cleanup}
"""


@pytest.mark.parametrize(
    ("point", "rules"),
    [
        ("before the job", BOUNDED),
        ("before it is told", BOUNDED),
        ("before the acknowledgement", BOUNDED),
        ("before the acknowledgement", BURST),
        ("before the job", BURST),
        ("before it is told", BURST),
        ("before the burst is forgotten", BURST),
    ],
)
def test_a_dispatcher_that_is_killed_costs_nothing(
    engineless_bus: Bus, point: str, rules: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, file = engineless_bus, tmp_path / "rules.yaml"
    file.write_text(rules)
    bus.redis.xgroup_create(STREAM, GROUP, "$", mkstream=True)
    for _ in range(3):
        bus.publish(happened("die", seen()))
    command = [sys.executable, "-c", DYING, point, str(file)]
    killed = subprocess.run(
        command, env=environment(bus.settings), timeout=30, check=False, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr.decode()
    monkeypatch.setattr(dispatching, "ABANDONED", 0.2)
    with dispatching_on(bus, *load(file)):
        wait_for(lambda: told(bus, "fired"), what="the rule")
        settle(bus)
        wait_for(
            lambda: not bus.redis.exists("dockbus:rules:due:burst"), what="the burst to be over"
        )
    assert len(bus.jobs()) == 1
    assert len(told(bus, "fired")) == 1
    assert told(bus, "failed") == []
