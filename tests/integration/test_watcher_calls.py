"""What a watcher on a real Redis makes of labels, what it tells its callbacks, and how it begins and ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from dockbus import Bus, ContainerState, RedisUnavailable, Watcher
from dockbus.settings import RedisSettings
from snapshots import Told, container, container_id
from waiting import wait_for
from watching import Route, Seen, begun, shop


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def told(bus: Bus) -> Told:
    told = Told(bus)
    told.engine()
    return told


@pytest.fixture
def seen(bus: Bus) -> Generator[Seen]:
    seen = Seen(bus)
    yield seen
    seen.watcher.stop()


@contextmanager
def ending(thread: threading.Thread) -> Generator[None]:
    thread.start()
    yield
    thread.join(5.0)
    assert not thread.is_alive()


# -- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"web.domain": "a", "web.port": "80"},
        {"web.enabled": "false", "web.domain": "a", "web.port": "80"},
        {"web.enabled": "", "web.domain": "a", "web.port": "80"},
        {"other.enabled": "true", "web.domain": "a", "web.port": "80"},
    ],
    ids=str,
)
def test_a_container_that_does_not_ask_is_ignored_in_silence(
    told: Told, seen: Seen, labels: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    told.has(container("quiet", labels=labels))
    begun(seen)
    told.event("start", container("quiet", labels=labels))
    told.happened("start", shop("last"))

    seen.wait("+last.1")
    assert "quiet" not in caplog.text


def test_a_bad_set_of_labels_is_told_once_and_stops_nobody(
    told: Told, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    told.has(shop("bad", port="70000", domain=""))
    begun(seen)
    told.event("rename", shop("bad", port="70000", domain=""))
    told.resynced()
    told.happened("start", shop("worse", port="abc"))
    told.happened("start", shop("last"))

    seen.wait("+last.1")
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all(
        words in warnings[0]
        for words in (container_id("bad")[:12], "web.domain is missing", "web.port='70000'")
    )
    assert container_id("bad")[:13] not in warnings[0]
    assert "web.port='abc'" in warnings[1]


def test_the_next_life_of_a_bad_set_of_labels_is_told_anew(
    told: Told, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    begun(seen)
    told.happened("start", shop("bad", port="x"))
    wait_for(lambda: caplog.text.count("left out") == 1)
    told.happened("start", shop("bad", port="x", life=2))
    wait_for(lambda: caplog.text.count("left out") == 2)

    assert seen.now == ["first"]
    assert seen.calls == []


def test_a_schema_that_breaks_stops_nobody(
    told: Told, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Route):
        def model_post_init(self, _: object, /) -> None:
            if self.port == 666:
                raise KeyError("of a validator")

    added: list[str] = []
    told.has(shop("a", port="666"))
    told.has(shop("b"))
    watching = Watcher(bus, labels={"web.enabled": "true"}, prefix="web", schema=Broken)
    watching.on_add(lambda container, route: added.append(container.name))

    with watching:
        wait_for(lambda: added)

    assert added == ["b"]
    assert "container " + container_id("a")[:12] in caplog.text


# -- callbacks -------------------------------------------------------------------------------


def test_a_callback_that_raises_is_logged_and_stops_nobody(
    told: Told, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []

    def fail(container: ContainerState, route: Route) -> None:
        tries.append(container.name)
        raise RuntimeError("no such proxy")

    seen = Seen(bus, first=fail)
    told.has(shop("a"))
    with seen.watcher:
        seen.wait("+a.1")
        told.resynced()
        told.died(shop("a"))
        seen.wait("+a.1", "-a.1")

    assert tries == ["a", "a"]
    assert caplog.text.count("RuntimeError: no such proxy") == 2


def test_callbacks_may_be_absent_and_many(told: Told, bus: Bus) -> None:
    def watching() -> Watcher[Route]:
        return Watcher(bus, labels={"web.enabled": ""}, prefix="web", schema=Route)

    told.has(shop())
    with watching() as silent:
        wait_for(lambda: silent.now)

    calls: list[str] = []
    loud = watching()

    @loud.on_add
    def first(container: ContainerState, route: Route) -> None:
        calls.append("first")

    @loud.on_add
    def second(container: ContainerState, route: Route) -> None:
        calls.append("second")

    with loud:
        wait_for(lambda: len(calls) == 2)

    assert calls == ["first", "second"]
    assert callable(first)


def test_the_first_callback_sees_all_that_was_there(told: Told, bus: Bus) -> None:
    watching = Watcher(bus, labels={"web.enabled": ""}, prefix="web", schema=Route)
    counts: list[int] = []
    watching.on_add(lambda container, route: counts.append(len(watching.now)))
    for name in "abc":
        told.has(shop(name))

    with watching:
        wait_for(lambda: len(counts) == 3)

    assert counts == [3, 3, 3]


def test_a_callback_sees_what_is_there_with_its_own_change(told: Told, bus: Bus) -> None:
    watching = Watcher(bus, labels={"web.enabled": ""}, prefix="web", schema=Route)
    counts: list[int] = []
    watching.on_add(lambda container, route: counts.append(len(watching.now)))
    watching.on_remove(lambda container, route: counts.append(len(watching.now)))
    told.has(shop())

    with watching:
        wait_for(lambda: counts)
        told.died(shop())
        wait_for(lambda: len(counts) == 2)

    assert counts == [1, 0]


# -- running ---------------------------------------------------------------------------------


def test_one_look_tells_what_is_there(
    told: Told, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told.has(shop("later", life=2))
    told.has(shop("sooner"))
    told.has(shop("bad", port="x"))
    told.has(shop("over").model_copy(update={"state": "exited"}))
    told.has(container("other"))

    found = seen.watcher.discover()

    assert [(state.name, route) for state, route in found] == [
        ("sooner", Route(domain="sooner.example", port=80)),
        ("later", Route(domain="later.example", port=80)),
    ]
    assert sorted(seen.calls) == ["+later.2", "+sooner.1"]
    assert caplog.text.count("left out") == 1
    assert "2 containers are there" in caplog.text


def test_what_one_look_has_told_is_not_told_again(told: Told, seen: Seen) -> None:
    told.has(shop("a"))
    seen.watcher.discover()
    told.lost("a")  # between the look and the watching
    told.has(shop("b"))

    with seen.watcher:
        seen.wait("+a.1", "-a.1", "+b.1")


def test_run_returns_when_told_to_stop(told: Told, seen: Seen) -> None:
    told.has(shop())
    with ending(threading.Thread(target=seen.watcher.run)):
        seen.wait("+shop.1")
        asked = time.monotonic()
        seen.watcher.stop()

    assert time.monotonic() - asked < 2.0


def test_stopping_twice_and_from_a_callback_is_safe(told: Told, bus: Bus) -> None:
    watching = Watcher(bus, labels={"web.enabled": "true"}, prefix="web", schema=Route)
    added: list[str] = []

    @watching.on_add
    def stop(container: ContainerState, route: Route) -> None:
        added.append(container.name)
        watching.stop()

    told.has(shop())
    watching.start()
    wait_for(lambda: added)
    watching.stop()
    watching.stop()

    assert added == ["shop"]


def test_a_watcher_that_was_stopped_before_it_began_tells_nothing(told: Told, seen: Seen) -> None:
    told.has(shop())
    seen.watcher.stop()
    seen.watcher.run()

    assert seen.calls == []


def test_an_absent_redis_is_waited_for_and_stopping_is_quick(bus: Bus) -> None:
    absent = RedisSettings(url=f"unix://{bus.settings.bus.data_dir}/absent.sock")
    with Bus(bus.settings.model_copy(update={"redis": absent}), patience=0) as nowhere:
        seen = Seen(nowhere)
        with pytest.raises(RedisUnavailable):
            seen.watcher.discover()
        seen.watcher.start()
        asked = time.monotonic()
        seen.watcher.stop()

    assert time.monotonic() - asked < 2.0
    assert seen.calls == []
