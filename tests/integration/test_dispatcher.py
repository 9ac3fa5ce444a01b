"""From events to jobs on a real Redis: exactly one job for a rule and an event, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from pydantic import JsonValue
from redis import Redis

from dockbus import Bus, Cleanup, Event, JobRecord, JobState, Scan, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.events import STREAM
from dockbus.jobs.running import Network
from dockbus.settings import RedisSettings
from dockbus_producer import dispatcher as dispatching
from dockbus_producer.dispatcher import GROUP, Dispatcher
from dockbus_producer.rules import Rule
from dockbus_producer.watch import RuleFiles
from outage import Plug
from waiting import wait_for

DIE = "io.dockbus.docker.container.die"
CLEAN = Rule(name="clean", on=[DIE], do={"kind": "cleanup", "labels": {"of": "${name}"}})


@pytest.fixture
def bus(settings: Settings, redis: Redis) -> Generator[Bus]:
    with Bus(settings) as bus:
        yield bus


@contextlib.contextmanager
def dispatching_on(bus: Bus, *rules: Rule) -> Generator[Dispatcher]:
    """A dispatcher in a thread, as soon as it hears every event; it must stop when told to."""
    dispatcher = Dispatcher(bus, rules)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    try:
        wait_for(lambda: has_group(bus), what="the consumer group")
        yield dispatcher
    finally:
        dispatcher.stop()
        thread.join(30.0)
        assert not thread.is_alive()


def has_group(bus: Bus) -> bool:
    groups: Any = bus.redis.xinfo_groups(STREAM) if bus.redis.exists(STREAM) else []
    return bool(groups)


def died(name: str = "web", *, engine: str = "local", **data: JsonValue) -> Event:
    return Event(
        source=f"/engines/{engine}", type=DIE, subject="c0ffee", data={"name": name, **data}
    )


def told(bus: Bus, what: str) -> list[Event]:
    stored = [item.event for item in bus.events(since="0", follow=False)]
    return [event for event in stored if event.type == f"io.dockbus.rule.{what}"]


def settle(bus: Bus) -> None:
    """Wait until every event so far has been handled."""

    def settled() -> bool:
        groups: Any = bus.redis.xinfo_groups(STREAM)
        newest: Any = bus.redis.xrevrange(STREAM, count=1)
        return bool(groups[0]["pending"] == 0 and groups[0]["last-delivered-id"] == newest[0][0])

    wait_for(settled, what="the dispatchers to be done")


def test_an_event_becomes_a_job_on_its_engine(bus: Bus) -> None:
    event = died(engine="edge")
    with dispatching_on(bus, CLEAN):
        bus.publish(event)
        bus.publish(Event(source="/engines/edge", type="io.dockbus.docker.container.start"))
        (fired,) = wait_for(lambda: told(bus, "fired"), what="the rule")
        settle(bus)
    (job,) = bus.jobs()
    assert (job.queue, job.state) == ("cleanup@edge", JobState.QUEUED)
    assert job.spec == Cleanup(labels={"of": "web"})
    assert fired.source == "/dockbus/rules"
    assert fired.subject == "clean"
    assert fired.data == {
        "rule": "clean",
        "event": event.id,
        "eventSource": "/engines/edge",
        "eventType": DIE,
        "eventSubject": "c0ffee",
        "job": job.id,
        "kind": "cleanup",
    }


def test_several_dispatchers_make_one_job_of_each_event(bus: Bus) -> None:
    with dispatching_on(bus, CLEAN), dispatching_on(bus, CLEAN), dispatching_on(bus, CLEAN):
        for _ in range(50):
            bus.publish(died())
        wait_for(lambda: len(bus.jobs(limit=100)) >= 50, what="50 jobs")
        settle(bus)
    assert len(bus.jobs(limit=100)) == 50
    assert len(told(bus, "fired")) == 50


def test_an_event_delivered_twice_makes_one_job(bus: Bus, redis: Redis) -> None:
    with dispatching_on(bus, CLEAN):
        bus.publish(died())
        wait_for(lambda: told(bus, "fired"), what="the rule")
        settle(bus)
        redis.xgroup_setid(STREAM, GROUP, "0")
        settle(bus)
    assert len(bus.jobs()) == 1
    assert len(told(bus, "fired")) == 1


def test_what_a_dead_dispatcher_had_taken_is_not_lost(
    bus: Bus, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "ABANDONED", 0.2)
    redis.xgroup_create(STREAM, GROUP, "$", mkstream=True)
    bus.publish(died())
    taken: Any = redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    assert taken
    with dispatching_on(bus, CLEAN):
        wait_for(lambda: told(bus, "fired"), what="the rule")
        settle(bus)
    assert len(bus.jobs()) == 1


def test_a_redis_that_forgot_everything(bus: Bus, redis: Redis) -> None:
    with dispatching_on(bus, CLEAN):
        bus.publish(died("before"))
        wait_for(lambda: told(bus, "fired"), what="the rule")
        settle(bus)
        redis.flushdb()  # pyright: ignore[reportUnknownMemberType]
        bus.publish(died("after"))
        wait_for(lambda: told(bus, "fired"), what="the rule, again")
        settle(bus)
    (job,) = bus.jobs()
    assert job.spec == Cleanup(labels={"of": "after"})


def test_a_redis_that_goes_away_and_comes_back(
    bus: Bus, settings: Settings, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        with (
            Bus(settings.model_copy(update={"redis": url}), patience=0.1) as behind,
            dispatching_on(behind, CLEAN),
        ):
            for number in range(20):
                bus.publish(died(f"early-{number}"))
            plug.pull()  # in the middle of these, more often than not
            wait_for(lambda: "rules wait" in caplog.text, what="the outage")
            bus.publish(died("late"))
            plug.put_back()
            wait_for(lambda: len(told(bus, "fired")) == 21, what="all events")
            settle(bus)
    assert len(bus.jobs(limit=100)) == 21
    assert caplog.text.count("rules wait") == 1


def test_a_job_that_is_not_valid_with_the_events_values(bus: Bus) -> None:
    scan = Rule(name="scan", on=[DIE], do={"kind": "scan", "image": "${image}"})
    with dispatching_on(bus, scan):
        bus.publish(died(image="NOT AN IMAGE"))
        bus.publish(died(image="demo/web:1"))
        wait_for(lambda: told(bus, "fired"), what="the second event")
        settle(bus)
    (failed,) = told(bus, "failed")
    assert failed.data["rule"] == "scan"
    assert str(failed.data["error"]).startswith("rule 'scan': do: image: 'NOT AN IMAGE' is not an")
    assert [job.spec for job in bus.jobs()] == [Scan(image="demo/web:1")]


def test_a_rule_does_not_hear_its_own_job(bus: Bus) -> None:
    with dispatching_on(bus, CLEAN.model_copy(update={"on": ["*"]})):
        bus.publish(died(attributes={"dockbus.job": "1f"}))
        bus.publish(died())
        wait_for(lambda: told(bus, "fired"), what="the second event")
        settle(bus)
    assert len(bus.jobs()) == 1


def test_an_event_that_is_none_is_passed_over(bus: Bus, redis: Redis) -> None:
    with dispatching_on(bus, CLEAN):
        redis.xadd(STREAM, {"e": "no event"})
        bus.publish(died())
        wait_for(lambda: told(bus, "fired"), what="the event behind it")
        settle(bus)
    assert len(bus.jobs()) == 1


RULES = "rules: [{name: %s, on: '*.container.die', where: {labels: {r: %s}}, do: {kind: cleanup, labels: {of: %s}}}]"


def test_rule_files_are_read_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def write(text: str) -> None:
        file.write_text(text)
        os.utime(file, ns=(0, next(times)))  # a coarse clock may not tell two writes apart

    file, times = tmp_path / "rules.yaml", iter(range(10))
    write(RULES % ("one", "a", "one"))
    files = RuleFiles(str(tmp_path))
    assert not files.refresh()
    write("rules: [{name: one, wen: '*'}]")
    assert not files.refresh()
    assert [rule.name for rule in files.rules] == ["one"]
    assert "no such field" in caplog.text
    assert "the 1 of before stay in force" in caplog.text
    assert not files.refresh()
    assert caplog.text.count("stay in force") == 1
    write(RULES % ("two", "a", "two"))
    assert files.refresh()
    assert [rule.name for rule in files.rules] == ["two"]
    (tmp_path / "more.yaml").write_text(RULES % ("three", "a", "three"))
    assert files.refresh()
    assert [rule.name for rule in files.rules] == ["three", "two"]


def test_dockbus_watch(
    engine: Engine, base_image: str, bus: Bus, settings: Settings, tmp_path: Path
) -> None:
    """The whole producer: a container dies, a job is there; rules change under way; SIGTERM ends it."""
    mark = token_hex(4)
    file, output = tmp_path / "rules.yaml", tmp_path / "log"
    file.write_text(RULES % ("one", mark, "one"))
    environment = {
        **os.environ,
        "DOCKBUS_REDIS_URL": settings.redis.url,
        "DOCKBUS_BUS_KEY": settings.bus.key.get_secret_value(),
        "DOCKBUS_ENGINE_HOST": engine.host,
        "DOCKBUS_ENGINE_NAME": "edge",
        "DOCKBUS_WATCH_RULES": str(file),
    }
    command = [str(Path(sys.executable).with_name("dockbus")), "watch"]
    with (
        output.open("w") as log,
        subprocess.Popen(command, env=environment, stderr=log) as process,
    ):
        try:
            wait_for(
                lambda: has_group(bus) and [one for one in bus.snapshot.engines() if one.resynced],
                timeout=90,  # a busy machine takes long to import it all
                what=f"it to begin; {process.poll()=}, {output.read_text()=}",
            )
            die(engine, base_image, mark)
            first = wait_for(lambda: about(bus, "one"), what="a job of the first rule")
            file.write_text("rules: [{name: two, wen: '*'}]")
            wait_for(lambda: "stay in force" in output.read_text(), what="the complaint")
            die(engine, base_image, mark)
            wait_for(lambda: len(about(bus, "one")) == 2, what="a job of the rule in force")
            file.write_text(RULES % ("two", mark, "two"))
            wait_for(lambda: "1 rules are in force" in output.read_text(), what="the new rule")
            die(engine, base_image, mark)
            wait_for(lambda: about(bus, "two"), what="a job of the new rule")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert first[0].queue == "cleanup@edge"
    assert (len(about(bus, "one")), len(about(bus, "two"))) == (2, 1)
    assert "did you mean" in output.read_text() or "no such field" in output.read_text()
    assert "Traceback" not in output.read_text()


def die(engine: Engine, image: str, mark: str) -> None:
    spec = ContainerSpec(
        name=f"ev-{token_hex(4)}",
        image=image,
        command=["true"],
        networks=[Network(name="none")],
        labels={"dockbus.test": "1", "r": mark},
    )
    container = engine.containers.create(spec)
    engine.containers.start(container)
    wait_for(lambda: engine.containers.get(container).state == "exited", what="the exit")
    engine.containers.remove(container)


def about(bus: Bus, of: str) -> list[JobRecord]:
    return [job for job in bus.jobs() if job.spec == Cleanup(labels={"of": of})]


def test_dockbus_rules(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("dockbus"))
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RULES % ("one", "a", "one"))
    bad.write_text("rules:\n- name: x\n  wen: a\n")
    said = subprocess.run(
        [program, "rules", "lint", good], capture_output=True, text=True, check=True
    )
    assert said.stdout == (
        "one: on *.container.die where label r=a, at most 60 min old: cleanup labels={'of': 'one'}\n"
    )
    refused = subprocess.run(
        [program, "rules", "lint", bad], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert f"{bad}:3: rule 'x': wen: no such field" in refused.stderr
