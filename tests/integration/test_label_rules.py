"""Labels on containers: which rules they ask for, when, that each slot is one job, and that a wrong one is told of once."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from dockbus import Bus, ContainerState, Event, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.events import STREAM
from dockbus.jobs.actions import Exec, Restart
from dockbus.jobs.running import Network
from dockbus.settings import RedisSettings
from dockbus_producer.dispatcher import Dispatcher
from dockbus_producer.label_schedules import SLOTS, LabelSchedules
from dockbus_producer.rules import Rule
from outage import Plug
from processes import Program
from snapshots import Told, container, container_id
from waiting import wait_for

BACKUP: dict[str, Any] = {
    "name": "backup",
    "cron": True,
    "do": {"kind": "exec", "command": ["backup", "${name}"]},
}
HEAL: dict[str, Any] = {
    "name": "heal",
    "state": "container.health == 'unhealthy'",
    "opt_in": True,
    "do": {"kind": "restart"},
}
ASKING = {"dockbus.enable": "true", "dockbus.rule.heal": "true"}
MINUTE = 60.0


def rule(fields: dict[str, Any], **more: object) -> Rule:
    return Rule.model_validate(fields | more)


def timed(name: str = "web", cron: str = "* * * * *", **labels: str) -> ContainerState:
    given = {"dockbus.enable": "true", "dockbus.cron.backup": cron}
    return container(name, labels=given | labels)


@contextlib.contextmanager
def running(*parts: Dispatcher | LabelSchedules) -> Generator[None]:
    threads = [threading.Thread(target=part.run) for part in parts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for part in parts:
            part.stop()
        for thread in threads:
            thread.join(30.0)
            assert not thread.is_alive()


@contextlib.contextmanager
def dispatching(bus: Bus, *rules: Rule) -> Generator[Dispatcher]:
    dispatcher = Dispatcher(bus, rules)
    with running(dispatcher):
        wait_for(lambda: bus.redis.exists(STREAM) and bus.redis.xinfo_groups(STREAM), what="it")
        yield dispatcher


def settle(bus: Bus) -> None:
    """Wait until every event so far has been handled."""

    def settled() -> bool:
        groups: Any = bus.redis.xinfo_groups(STREAM)
        newest: Any = bus.redis.xrevrange(STREAM, count=1)
        return bool(groups[0]["pending"] == 0 and groups[0]["last-delivered-id"] == newest[0][0])

    wait_for(settled, what="the dispatchers to be done")


def told(bus: Bus, what: str) -> list[Event]:
    stored = bus.events(since="0", follow=False)
    return [one.event for one in stored if one.event.type == f"io.dockbus.{what}"]


def minute(bus: Bus) -> float:
    """The beginning of this minute, by the clock of Redis."""
    seconds: Any = bus.redis.time()[0]
    return float(seconds - seconds % 60)


def settled(bus: Bus, state: ContainerState, slot: float, name: str = "backup") -> None:
    """Somebody saw to the container's slots up to this one."""
    bus.redis.zadd(SLOTS, {f"{name}:{state.engine}:{state.id}": slot})


# -- asking for a rule ---------------------------------------------------------------------------------


def test_only_the_container_that_asks_for_a_rule_gets_its_job(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    says.engine()
    asking = container("asking", health="unhealthy", labels=ASKING)
    says.has(asking)
    says.has(container("silent", health="unhealthy"))
    says.has(container("off", health="unhealthy", labels=ASKING | {"dockbus.enable": "false"}))
    with dispatching(bus, rule(HEAL)):
        says.resynced()
        wait_for(lambda: told(bus, "rule.fired"), what="the rule")
        settle(bus)
    (job,) = bus.jobs()
    assert isinstance(job.spec, Restart)
    assert job.spec.container == asking.id


# -- times ---------------------------------------------------------------------------------------------


def test_a_slot_becomes_one_job_however_many_look(engineless_bus: Bus) -> None:
    bus, says, state = engineless_bus, Told(engineless_bus), timed()
    says.engine()
    says.has(state)
    now = minute(bus)
    settled(bus, state, now - MINUTE)
    watches = [LabelSchedules(bus, [rule(BACKUP)]) for _ in range(3)]
    with dispatching(bus, rule(BACKUP)), running(*watches):
        (fired, *_) = wait_for(lambda: told(bus, "rule.fired"), what="the job")
        for watch in watches:
            watch.tick(minute(bus) + 1)
        settle(bus)
    due = told(bus, "label.due")
    assert due[0].time.timestamp() in (now, now + MINUTE)  # a minute may have begun meanwhile
    assert len({event.time for event in due}) == len(due)
    job = bus.job(str(fired.data["job"])).refresh()
    assert job.spec == Exec(container=state.id, started=state.started, command=["backup", "web"])
    assert job.queue == "container@local"
    assert job.terms
    moment = f"{due[0].time:%Y-%m-%dT%H:%M:%SZ}"
    assert job.terms.key == f"rule:backup:/engines/local:backup:{state.id}:{moment}"


def test_each_slot_comes_once_and_a_slow_job_is_not_overtaken(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    says.engine()
    says.has(timed())
    watch, now = LabelSchedules(bus, [rule(BACKUP)]), minute(bus)
    with dispatching(bus, rule(BACKUP)):
        for seconds in (30, 31, 60, 61, 90, 119.9, 120, 125):
            watch.tick(now + seconds)
        settle(bus)
    assert [event.time.timestamp() - now for event in told(bus, "label.due")] == [60, 120]
    assert len(told(bus, "rule.fired")) == len(bus.jobs()) == 1  # nobody has done it yet


def test_without_a_dedup_each_slot_is_a_job(engineless_bus: Bus) -> None:
    bus, says, each = engineless_bus, Told(engineless_bus), rule(BACKUP, dedup=None)
    says.engine()
    says.has(timed())
    watch, now = LabelSchedules(bus, [each]), minute(bus)
    with dispatching(bus, each):
        for seconds in (30, 60, 120):
            watch.tick(now + seconds)
        settle(bus)
    assert len(bus.jobs()) == 2


def test_the_gate_bounds_slots_like_any_other_event(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    bound = rule(BACKUP, dedup=None, limit={"count": 1, "per": "1h", "then": "suspend"})
    says.engine()
    says.has(timed())
    watch, now = LabelSchedules(bus, [bound]), minute(bus)
    with dispatching(bus, bound):
        for seconds in (30, 60, 120, 180):
            watch.tick(now + seconds)
        settle(bus)
    assert len(bus.jobs()) == len(told(bus, "rule.suspended")) == 1


def test_a_slot_that_was_missed_is_made_up_for_once_while_it_is_young(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    now = minute(bus)
    young, old = datetime.fromtimestamp(now - 300, UTC), datetime.fromtimestamp(now - 1200, UTC)
    late = timed("late", f"{young.minute} {young.hour} * * *")
    lost = timed("lost", f"{old.minute} {old.hour} * * *")
    often = timed("often")
    says.engine()
    for state in (late, lost, often):
        says.has(state)
        settled(bus, state, now - 3600)
    LabelSchedules(bus, [rule(BACKUP)]).tick(now + 1)
    settled(bus, late, now - 3600)  # as if it had died after it had published, and not settled
    LabelSchedules(bus, [rule(BACKUP)]).tick(now + 2)
    slots = {event.subject: event.time for event in told(bus, "label.due")}
    assert slots == {late.id: young, often.id: datetime.fromtimestamp(now, UTC)}
    assert len(told(bus, "label.due")) == 2
    scores: Any = bus.redis.zrange(SLOTS, 0, -1, withscores=True)
    assert sorted(row[1] for row in scores) == [old.timestamp(), young.timestamp(), now]


def test_what_is_new_is_not_fired_for_the_past(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    now = minute(bus) + 3600
    says.engine(resynced=datetime.fromtimestamp(now, UTC))
    says.has(timed("old"))  # made long ago, but its rule is new
    LabelSchedules(bus, [rule(BACKUP)]).tick(now + 20)
    assert told(bus, "label.due") == []
    before = datetime.fromtimestamp(now + 59, UTC)
    says.has(timed("new").model_copy(update={"created": before}))  # just in time
    LabelSchedules(bus, [rule(BACKUP)]).tick(now + 61)
    assert {event.subject for event in told(bus, "label.due")} == {
        container_id("old"),
        container_id("new"),
    }


def test_an_engine_that_nobody_watches_has_no_slots(engineless_bus: Bus) -> None:
    bus, says, state = engineless_bus, Told(engineless_bus), timed()
    now = minute(bus)
    says.has(state)
    settled(bus, state, now - MINUTE)
    watch = LabelSchedules(bus, [rule(BACKUP)])
    says.engine(connected=False, resynced=datetime.fromtimestamp(now, UTC) - timedelta(minutes=3))
    watch.tick(now + 1)
    assert told(bus, "label.due") == []
    says.engine()
    watch.tick(now + 2)
    assert len(told(bus, "label.due")) == 1


def test_a_container_that_is_gone_is_forgotten_and_so_is_no_other(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    stays, goes, far = timed("stays"), timed("goes"), timed("far")
    says.engine()
    says.engine("away", connected=False, resynced=None)
    for state in (stays, goes):
        says.has(state)
    watch, now = LabelSchedules(bus, [rule(BACKUP)]), minute(bus)
    settled(bus, far.model_copy(update={"engine": "away"}), now)
    settled(bus, stays, now, name="a-rule-of-others")
    watch.tick(now + 1)
    assert bus.redis.zcard(SLOTS) == 4
    says.lost("goes")
    watch.tick(now + 2)
    left: Any = bus.redis.zrange(SLOTS, 0, -1)
    assert {mark.decode() for mark in left} == {
        f"a-rule-of-others:local:{stays.id}",
        f"backup:local:{stays.id}",
        f"backup:away:{far.id}",
    }


def test_a_redis_that_goes_away_and_comes_back(
    bus: Bus, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    says, state = Told(bus), timed()
    says.engine()
    says.has(state)
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        settings = bus.settings.model_copy(update={"redis": url})
        with Bus(settings, patience=0.1) as behind:
            plug.pull()
            with running(LabelSchedules(behind, [rule(BACKUP)])):
                wait_for(lambda: "labels wait" in caplog.text, what="the outage")
                settled(bus, state, minute(bus) - MINUTE)
                assert told(bus, "label.due") == []
                plug.put_back()
                wait_for(lambda: told(bus, "label.due"), what="the slot")
    assert caplog.text.count("labels wait") == 1


# -- wrong labels --------------------------------------------------------------------------------------


def test_a_wrong_label_is_told_of_once_at_whatever_event(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    typo = container("typo", labels={"dockbus.enable": "true", "dockbus.rule.haal": "true"})
    yes = container("yes", labels={"dockbus.enable": "yes"})
    says.engine()
    with dispatching(bus, rule(HEAL)), dispatching(bus, rule(HEAL)):
        says.happened("create", typo)
        says.happened("start", typo)
        says.has(yes)  # which was there before anybody watched
        says.resynced()
        says.resynced()
        settle(bus)
    with dispatching(bus, rule(HEAL)):
        seen: Any = bus.redis.keys(f"{STREAM}:seen:/dockbus/rules:*")
        bus.redis.delete(*seen)  # as it is a day later
        says.resynced()
        settle(bus)
    (unknown,), (wrong,) = told(bus, "label.unknown"), told(bus, "label.wrong")
    assert (unknown.source, unknown.subject) == ("/dockbus/rules", typo.id)
    assert unknown.data == {
        "engine": "local",
        "name": "typo",
        "label": "dockbus.rule.haal",
        "value": "true",
        "reason": "there is no rule 'haal'",
        "suggestion": "dockbus.rule.heal",
    }
    assert wrong.subject == yes.id
    assert (wrong.data["label"], wrong.data["value"]) == ("dockbus.enable", "yes")


def test_labels_are_checked_against_the_rules_that_are_in_force_then(engineless_bus: Bus) -> None:
    bus, says = engineless_bus, Told(engineless_bus)
    says.engine()
    says.has(container("web", labels=ASKING))
    with dispatching(bus, rule(HEAL)) as dispatcher:
        says.resynced()
        settle(bus)
        assert told(bus, "label.unknown") == []
        dispatcher.rules = [rule(HEAL, name="mend")]
        says.resynced()
        settle(bus)
    (event,) = told(bus, "label.unknown")
    assert event.data["label"] == "dockbus.rule.heal"


# -- against an Engine ---------------------------------------------------------------------------------

RULES = """
rules:
  - name: heal
    state: container.health == 'unhealthy'
    opt_in: true
    do: {kind: restart}
  - name: mark
    cron: true
    do: {kind: exec, command: ["touch", "/marked"]}
"""


@contextlib.contextmanager
def labelled(engine: Engine, **labels: str) -> Generator[str]:
    """A container that runs until it is marked, with labels; `_` stands for a dot."""
    given = {f"dockbus.{label.replace('_', '.')}": value for label, value in labels.items()}
    made = engine.containers.create(
        ContainerSpec(
            name=f"label-{token_hex(4)}",
            image="dockbus/base:1",
            labels={"dockbus.test": "1"} | given,
            command=["sh", "-c", "until test -e /marked; do sleep 0.1; done"],
            networks=[Network(name="none")],
        )
    )
    try:
        engine.containers.start(made)
        yield made
    finally:
        engine.containers.remove(made, force=True)


def test_a_typo_on_a_real_container_is_told_and_a_right_label_is_obeyed(
    engine: Engine,
    base_image: str,
    bus: Bus,
    settings: Settings,
    start: Callable[..., Program],
    tmp_path: Path,
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    watched = settings.watch.model_copy(update={"rules": str(rules)})
    settings = settings.model_copy(update={"watch": watched})
    watch = start("watch", settings=settings)
    start("worker", "container")
    name = settings.engine.name
    wait_for(lambda: told(bus, "engine.resynced"), what="the watch")
    with (
        labelled(engine, rul_heal="true") as typo,
        labelled(engine, enable="true", cron_mark="* * * * *") as right,
    ):
        (event,) = wait_for(lambda: told(bus, "label.unknown"), what="the warning")
        assert event.subject == typo
        assert event.data["label"] == "dockbus.rul.heal"
        assert event.data["suggestion"] == "dockbus.rule.heal"
        watch.wait_until_said(
            "'dockbus.rul.heal'='true': nothing reads it; did you mean dockbus.rul"
        )
        bus.redis.zadd(SLOTS, {f"mark:{name}:{right}": time.time() - 60})  # no need to wait for one
        wait_for(lambda: engine.containers.get(right).state == "exited", what="the mark")
        assert engine.containers.get(right).exit_code == 0
        assert engine.containers.get(typo).state == "running"
        assert [one.data["suggestion"] for one in told(bus, "label.unknown")] == [
            "dockbus.rule.heal"
        ]
        assert told(bus, "label.wrong") == []
