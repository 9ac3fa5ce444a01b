"""Attacks on the watch, the rules and the sinks, with real parts."""

# Some tests look into what they break.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from secrets import token_hex
from typing import Any

import pytest
from redis import Redis

from couriers import groups, publish, sink
from dockbus import Bus, Event, Settings
from dockbus.engine import Container, ContainerSpec, Engine, EngineUnavailable
from dockbus.errors import RedisUnavailable
from dockbus.jobs.running import Network
from dockbus.snapshot import ContainerState
from dockbus_producer.debounce import Debounce
from dockbus_producer.dispatcher import Dispatcher
from dockbus_producer.docker_events import DockerEvents, audit, world
from dockbus_producer.label_warnings import LabelWarnings
from dockbus_producer.rules import Occasion, Rule
from dockbus_producer.sinks.courier import Courier
from receivers import receiver, status
from waiting import wait_for


@pytest.fixture
def bus(settings: Settings, redis: Redis) -> Generator[Bus]:
    with Bus(settings) as bus:
        yield bus


@contextlib.contextmanager
def running(part: Any, ready: Callable[[], bool]) -> Generator[threading.Thread]:
    thread = threading.Thread(target=part.run)
    thread.start()
    try:
        wait_for(ready, what="it to be ready")
        yield thread
    finally:
        part.stop()
        thread.join(30.0)


@contextlib.contextmanager
def reading(engine: Engine, bus: Bus) -> Generator[DockerEvents]:
    """A watch, as soon as it has looked at the Engine twice: what it is in doubt about is settled then."""
    source, begun = DockerEvents(engine, bus), resyncs(bus)
    with running(source, lambda: resyncs(bus) > begun):
        yield source


def resyncs(bus: Bus) -> int:
    return len(list(bus.events(since="0", follow=False, types="io.dockbus.engine.resynced")))


@pytest.fixture
def make(engine: Engine, base_image: str) -> Generator[Callable[..., str]]:
    made: list[str] = []

    def create(script: str = "sleep 300", *, start: bool = True, **labels: str) -> str:
        spec = ContainerSpec(
            name=f"atk-{token_hex(4)}",
            image=base_image,
            command=["sh", "-c", script],
            networks=[Network(name="none")],
            labels={"dockbus.test": "1", **labels},
        )
        made.append(engine.containers.create(spec))
        if start:
            engine.containers.start(made[-1])
        return made[-1]

    yield create
    for container in made:
        engine.containers.remove(container, force=True)


def events(bus: Bus, subject: str, *actions: str) -> list[Event]:
    """What was told of a container, in order; with `actions`, only those."""
    stored = bus.events(since="0", follow=False, types="io.dockbus.docker.container.*")
    found = [one.event for one in stored if one.event.subject == subject]
    return [one for one in found if not actions or one.data["action"] in actions]


def actions(bus: Bus, subject: str) -> list[Any]:
    return [event.data["action"] for event in events(bus, subject)]


# -- the watch ---------------------------------------------------------------------------------


def test_a_watch_that_is_stopped_and_started_makes_nothing_up(
    engine: Engine, make: Callable[..., str], bus: Bus
) -> None:
    with reading(engine, bus):
        one = make()
        wait_for(lambda: events(bus, one, "start"), what="start")
    with reading(engine, bus):
        pass

    assert actions(bus, one) == ["create", "start"]


def test_a_snapshot_that_redis_has_lost_is_made_anew(
    engine: Engine, make: Callable[..., str], bus: Bus, redis: Redis
) -> None:
    one = make()
    with reading(engine, bus) as source:
        assert one in {each.id for each in bus.snapshot.containers()}
        time.sleep(1.0)  # what is under way is written
        redis.flushall()  # pyright: ignore[reportUnknownMemberType]
        wait_for(lambda: redis.exists("dockbus:watch:local:lease"), what="the next renewal")
        source._audit_due = source._full_due = 0.0  # ten minutes later
        source._wake.set()
        wait_for(lambda: resyncs(bus), what="a look")

        assert one in {each.id for each in bus.snapshot.containers()}


@pytest.mark.parametrize("error", [EngineUnavailable("test"), RedisUnavailable("test")], ids=type)
def test_a_look_that_breaks_off_loses_no_event(
    engine: Engine,
    make: Callable[..., str],
    bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    with reading(engine, bus):
        pass
    one = make()
    time.sleep(2.5)  # beyond what is read again
    place: dict[Any, Any] = {"time_nano": time.time_ns(), "fingerprint": ""}
    bus.redis.hset("dockbus:watch:local", mapping=place)  # so that nobody hears of it
    broken: list[bool] = []

    def break_off() -> None:
        if broken == [False]:
            broken[0] = True
            raise error

    look, find, hold = audit.Audit.differing, world.World.find, DockerEvents._hold

    def differing(self: Any, *args: Any, **more: Any) -> Iterator[Any]:
        for found in look(self, *args, **more):
            yield found
            if isinstance(error, EngineUnavailable):
                break_off()

    def found(self: Any, engine_id: str, seen: Container, now: int) -> Any:
        told = find(self, engine_id, seen, now)
        if seen.id == one and told and not broken:
            broken.append(False)
        return told

    def held(self: Any) -> None:
        if isinstance(error, RedisUnavailable):
            break_off()
        hold(self)

    monkeypatch.setattr(audit.Audit, "differing", differing)
    monkeypatch.setattr(world.World, "find", found)
    monkeypatch.setattr(DockerEvents, "_hold", held)
    with reading(engine, bus):
        assert broken == [True]

    assert actions(bus, one) == ["create", "start"]


def test_a_prune_makes_no_container(engine: Engine, make: Callable[..., str], bus: Bus) -> None:
    with reading(engine, bus):
        make(start=False, pruned="1")
        engine.api.prune_containers(filters={"label": ["pruned=1"]})
        wait_for(lambda: events(bus, "", "prune"), what="prune")

        assert "" not in {each.id for each in bus.snapshot.containers()}


# -- rules -------------------------------------------------------------------------------------


def test_a_label_stays_on_its_line_of_the_log(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    evil = "dockbus.x\n2026-01-01T00:00:00Z ERROR   forged\x1b[2J"
    labels = {"dockbus.enable": "true", evil: "1"}
    with caplog.at_level(logging.WARNING):
        LabelWarnings(bus).check(
            ContainerState(engine="local", id="c" * 64, name="web", labels=labels), []
        )

    assert caplog.records
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_bursts_of_a_rule_that_is_gone_hold_up_no_others(engineless_bus: Bus) -> None:
    bus = engineless_bus
    pull = {"kind": "pull", "image": "a:1"}
    given = {"on": "test.b", "by": "${attributes.n}", "debounce": "0.1s", "do": pull}
    gone, kept = (Rule.model_validate({"name": name, **given}) for name in ("gone", "kept"))
    waiting = Debounce(bus.redis)

    def happened(number: int) -> Event:
        data: Any = {"attributes": {"n": str(number)}}
        return Event(source="/engines/local", type="test.b", data=data)

    for number in range(100):
        waiting.wait(gone, Occasion(happened(number)), time.time() - 5)
    with running(Dispatcher(bus, [kept]), lambda: "dockbus:rules" in groups(bus)):
        bus.publish(happened(0))
        wait_for(bus.jobs, 5.0, "the job")


# -- sinks -------------------------------------------------------------------------------------


def test_a_receiver_cannot_end_the_watch(engineless_bus: Bus) -> None:
    with receiver() as hooks:
        hooks.usual = status(503, Retry_After="Mon, 1 Jan 2020 99999999999999999999:00:00 GMT")
        courier = Courier(engineless_bus, sink(hooks), "")
        with running(courier, lambda: "dockbus:sink:s" in groups(engineless_bus)) as thread:
            publish(engineless_bus, "a")
            wait_for(lambda: len(hooks.got) > 1 or not thread.is_alive(), what="another attempt")

            assert thread.is_alive()
