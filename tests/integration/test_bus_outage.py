"""A Redis that is away, or is there and says nothing: one clear error within seconds, and nothing half done."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from redis import Redis

from dockbus import Bus, Cleanup, Event, JobState, RedisUnavailable, Settings
from dockbus.ids import JobId
from dockbus.settings import RedisSettings
from outage import Plug
from waiting import wait_for

SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})


@pytest.fixture
def plug(redis: Redis, redis_url: str) -> Generator[Plug]:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        yield plug


def bus_at(settings: Settings, port: int, *, patience: float = 1.0) -> Bus:
    url = f"redis://127.0.0.1:{port}"
    return Bus(settings.model_copy(update={"redis": RedisSettings(url=url)}), patience=patience)


@pytest.fixture
def fragile(plug: Plug, settings: Settings) -> Generator[Bus]:
    """A bus whose Redis can be taken away."""
    with bus_at(settings, plug.port) as bus:
        yield bus


def verbs(bus: Bus) -> dict[str, Callable[[], object]]:
    """Everything that asks Redis."""
    return {
        "connect": lambda: Bus.connect(bus.settings),
        "enqueue": lambda: bus.enqueue(SPEC),
        "enqueue later": lambda: bus.enqueue(SPEC, delay=60, key="k"),
        "job": lambda: bus.job("x"),
        "jobs": bus.jobs,
        "cancel": lambda: bus.cancel("x"),
        "queues": bus.queues,
        "publish": lambda: bus.publish(Event(source="/test", type="test")),
        "new events": bus.events,
        "old events": lambda: list(bus.events(since="0", follow=False)),
        "log": lambda: bus.log(JobId("x")).read(),
        "newest of a log": lambda: bus.log(JobId("x")).newest(),
    }


def refusals(bus: Bus) -> tuple[dict[str, str], float]:
    """What each verb says, all asked at once, and the seconds the slowest took."""
    said: dict[str, str] = {}

    def ask(name: str, verb: Callable[[], object]) -> None:
        try:
            said[name] = f"answered {verb()!r}"
        except Exception as error:  # noqa: BLE001  it is what the test looks at
            said[name] = type(error).__name__

    begun = time.monotonic()
    threads = [threading.Thread(target=ask, args=item) for item in verbs(bus).items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said, time.monotonic() - begun


def test_without_redis_every_verb_says_so_soon(fragile: Bus, plug: Plug, bus: Bus) -> None:
    plug.pull()

    said, seconds = refusals(fragile)

    assert said == dict.fromkeys(verbs(fragile), "RedisUnavailable")
    assert seconds < 20
    assert (bus.jobs(), said["jobs"]) == ([], "RedisUnavailable")
    assert sum(queue.queued + queue.scheduled for queue in bus.queues()) == 0
    plug.put_back()
    assert fragile.enqueue(SPEC, key="k").state is JobState.QUEUED


def test_a_redis_that_never_answers_is_given_up(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as deaf,
        bus_at(settings, deaf.getsockname()[1]) as bus,
    ):
        said, seconds = refusals(bus)

    assert said == dict.fromkeys(said, "RedisUnavailable")
    assert seconds < 30


def test_an_answer_that_is_lost_makes_no_second_job(
    plug: Plug, settings: Settings, bus: Bus
) -> None:
    over = threading.Event()

    def flicker() -> None:
        while not over.is_set():
            plug.pull()
            plug.put_back()
            time.sleep(0.01)

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        with bus_at(settings, plug.port, patience=60.0) as fragile:  # a busy machine answers late
            accepted = {fragile.enqueue(SPEC).id for _ in range(30)}
    finally:
        over.set()
        thread.join()

    assert {record.id for record in bus.jobs(limit=1000)} == accepted
    assert len(accepted) == 30
    assert next(q for q in bus.queues() if q.name == "cleanup").queued == 30


@pytest.mark.parametrize("how", ["wait", "follow", "events"])
def test_whoever_follows_learns_that_redis_has_gone(
    fragile: Bus, plug: Plug, redis: Any, how: str
) -> None:
    job = fragile.enqueue(SPEC)
    events = fragile.events()
    ended: list[BaseException] = []

    def follow() -> None:
        try:
            if how == "wait":
                job.wait()
            else:
                list(events if how == "events" else job.follow())
        except BaseException as error:  # noqa: BLE001  it is what the test looks at
            ended.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    wait_for(lambda: int(redis.info("clients")["blocked_clients"]), what="it to wait")

    begun = time.monotonic()
    plug.pull()
    thread.join()

    assert [type(error) for error in ended] == [RedisUnavailable]
    assert time.monotonic() - begun < 20


def test_a_follower_outlives_a_hiccup(fragile: Bus, plug: Plug, bus: Bus, redis: Any) -> None:
    events = fragile.events()
    first = threading.Thread(target=lambda: got.append(next(events).event.id))
    got: list[str] = []
    first.start()
    wait_for(lambda: int(redis.info("clients")["blocked_clients"]), what="it to wait")

    plug.pull()
    time.sleep(0.3)
    plug.put_back()
    bus.publish(Event(id="after", source="/test", type="test"))
    first.join()

    assert got == ["after"]
