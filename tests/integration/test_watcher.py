"""Discovery on a real Redis: each life of a container is added once and removed once, whatever is heard of it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from dockbus import Bus, watcher
from dockbus.settings import RedisSettings
from outage import Plug
from snapshots import Told, container_id
from waiting import wait_for
from watching import Seen, begun, shop


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


# -- lives -----------------------------------------------------------------------------------


def test_what_runs_already_is_added_at_the_start(told: Told, seen: Seen) -> None:
    told.has(shop("a"))
    told.has(shop("b"))

    with seen.watcher:
        wait_for(lambda: len(seen.calls) == 2)

    assert sorted(seen.calls) == ["+a.1", "+b.1"]
    assert seen.now == ["a", "b"]


def test_a_new_container_is_added_and_its_end_removes_it(told: Told, seen: Seen) -> None:
    begun(seen)

    told.happened("create", shop().model_copy(update={"state": "created", "started": None}))
    told.happened("start", shop())
    seen.wait("+shop.1", timeout=1.0)
    assert seen.now == ["first", "shop"]
    told.happened("kill", shop())
    told.died(shop(), 7)
    seen.wait("+shop.1", "-shop.1", timeout=1.0)
    assert seen.now == ["first"]
    told.event("stop", shop())
    told.destroyed(shop())
    told.happened("start", shop("last"))

    seen.wait("+shop.1", "-shop.1", "+last.1")


def test_who_is_removed_is_told_as_it_ended(told: Told, seen: Seen) -> None:
    begun(seen)
    told.happened("start", shop())
    seen.wait("+shop.1")
    told.died(shop(), 7)
    seen.wait("+shop.1", "-shop.1")

    assert seen.last
    assert (seen.last.id, seen.last.state, seen.last.exit_code) == (
        container_id("shop"),
        "exited",
        7,
    )


def test_a_container_that_vanishes_is_told_as_it_was(told: Told, seen: Seen) -> None:
    begun(seen)
    told.happened("start", shop())
    seen.wait("+shop.1")
    told.destroyed(shop())
    seen.wait("+shop.1", "-shop.1")

    assert seen.last
    assert (seen.last.name, seen.last.state) == ("shop", "running")


def test_a_restart_is_an_end_and_a_beginning(told: Told, seen: Seen) -> None:
    begun(seen)
    told.happened("start", shop())
    seen.wait("+shop.1")
    told.died(shop())
    told.happened("start", shop(life=2))
    told.event("restart", shop(life=2))
    told.happened("start", shop("last"))

    seen.wait("+shop.1", "-shop.1", "+shop.2", "+last.1")


def test_a_restart_that_is_heard_of_late_is_the_same(told: Told, seen: Seen) -> None:
    begun(seen)
    told.happened("start", shop())
    seen.wait("+shop.1")

    told.has(shop(life=2))  # the snapshot is at the next life when the end of the first is heard
    told.event("die", shop())
    told.event("start", shop(life=2))
    told.happened("start", shop("last"))

    seen.wait("+shop.1", "-shop.1", "+shop.2", "+last.1")


def test_who_came_and_went_between_two_looks_is_not_told(told: Told, seen: Seen) -> None:
    begun(seen)
    told.has(shop("brief").model_copy(update={"state": "exited"}))
    told.event("start", shop("brief"))
    told.event("die", shop("brief"))
    told.event("start", shop("briefer"))  # which was removed, too
    told.happened("start", shop("last"))

    seen.wait("+last.1")


@pytest.mark.parametrize("state", ["restarting", "exited", "dead", "removing", "created"])
def test_what_does_not_run_is_not_there(told: Told, seen: Seen, state: str) -> None:
    begun(seen)
    told.happened("start", shop().model_copy(update={"state": state}))
    told.happened("start", shop("last"))

    seen.wait("+last.1")


@pytest.mark.parametrize(
    ("action", "change"),
    [
        ("pause", {"state": "paused"}),
        ("unpause", {}),
        ("rename", {"name": "renamed"}),
        ("health_status.unhealthy", {"health": "unhealthy"}),
        ("kill", {}),
        ("stop", {}),
        ("oom", {}),
        ("start", {}),
    ],
)
def test_what_is_no_end_calls_nobody_and_is_known(
    told: Told, seen: Seen, action: str, change: dict[str, str]
) -> None:
    begun(seen)
    told.happened("start", shop())
    seen.wait("+shop.1")
    told.happened(action, changed := shop().model_copy(update=change))
    told.happened("start", shop("last"))

    seen.wait("+shop.1", "+last.1")
    assert changed in [state for state, _ in seen.watcher.now]


def test_engines_may_have_containers_of_one_id(told: Told, seen: Seen) -> None:
    begun(seen)
    told.engine("far")
    told.happened("start", shop())
    told.happened("start", shop(engine="far"))
    seen.wait("+shop.1", "+shop.1")

    told.died(shop(engine="far"))
    seen.wait("+shop.1", "+shop.1", "-shop.1")

    assert [state.engine for state, _ in seen.watcher.now] == ["local", "local"]


# -- what was not heard ----------------------------------------------------------------------


def test_a_comparison_finds_what_no_event_told(told: Told, seen: Seen) -> None:
    begun(seen)
    told.happened("start", shop("gone"))
    told.happened("start", shop("again"))
    seen.wait("+gone.1", "+again.1")

    told.lost("gone")
    told.has(shop("again", life=2))
    told.has(shop("new"))
    told.resynced()

    seen.wait("+gone.1", "+again.1", "-gone.1", "-again.1", "+again.2", "+new.1")
    assert sorted(seen.now) == ["again", "first", "new"]


def test_nothing_need_be_heard_at_all(
    told: Told, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "ROUND", 0.2)
    begun(seen)
    told.has(shop())
    seen.wait("+shop.1")
    told.lost("shop")

    seen.wait("+shop.1", "-shop.1")


def test_an_engine_whose_containers_are_not_all_known_ends_none(told: Told, seen: Seen) -> None:
    begun(seen)
    told.engine("far")
    told.happened("start", shop("there", engine="far"))
    seen.wait("+there.1")

    told.lost(
        "there", "far"
    )  # a Redis that has lost its data, and a producer that begins to fill it
    told.engine("far", resynced=None)
    told.engine_event("connected", "far")
    told.happened("start", shop())
    seen.wait("+there.1", "+shop.1")
    told.resynced("far")

    seen.wait("+there.1", "+shop.1", "-there.1")


def test_an_engine_that_is_not_heard_keeps_its_containers(told: Told, seen: Seen) -> None:
    begun(seen)
    told.happened("start", shop())
    told.engine(connected=False)
    told.engine_event("disconnected")
    told.happened("start", shop("last"))

    seen.wait("+shop.1", "+last.1")


def test_what_happens_while_redis_is_away_is_found_afterwards(
    told: Told, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    path = bus.settings.redis.url.removeprefix("unix://").partition("?")[0]
    with Plug(path) as plug:
        far = RedisSettings(url=f"redis://127.0.0.1:{plug.port}")
        with Bus(bus.settings.model_copy(update={"redis": far}), patience=0.1) as other:
            seen = Seen(other)
            begun_with = shop("before")
            told.has(begun_with)
            with seen.watcher:
                seen.wait("+before.1")
                plug.pull()
                wait_for(lambda: "discovery stands still" in caplog.text)
                told.died(begun_with)
                told.happened("start", shop("after"))
                told.happened("start", shop("brief"))
                told.destroyed(shop("brief"))
                plug.put_back()
                seen.wait("+before.1", "-before.1", "+after.1")
    assert caplog.text.count("discovery stands still") == 1


def test_a_watcher_that_starts_anew_adds_what_is_there_then(told: Told, bus: Bus) -> None:
    told.has(shop("gone"))
    told.has(shop("stays"))
    with (first := Seen(bus)).watcher:
        wait_for(lambda: len(first.calls) == 2)
    told.died(shop("gone"))
    told.happened("start", shop("new"))

    with (second := Seen(bus)).watcher:
        wait_for(lambda: len(second.calls) == 2)

    assert sorted(second.calls) == ["+new.1", "+stays.1"]
    assert sorted(first.calls) == ["+gone.1", "+stays.1"]  # stopping removes nothing
