"""Asking for stats from a program; what is measured is given, for no Engine is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest

from dockbus import Bus, DockbusError
from dockbus.stats import ContainerStats, StatsUnavailable, Wanted, asking
from dockbus.stats.board import KEPT
from measuring import DB, WEB, Measures, measured
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def measures(bus: Bus) -> Generator[Measures]:
    with measured(bus, WEB, DB) as measures:
        yield measures


def names(found: list[ContainerStats]) -> list[str]:
    return [f"{one.engine}/{one.name}" for one in found]


# -- from a program ----------------------------------------------------------------------------------


def test_stats_are_those_that_are_wanted(bus: Bus, measures: Measures) -> None:
    assert bus.stats() == [WEB, DB]
    assert bus.stats(engine="local", name="*-web") == [WEB]
    assert bus.stats(name=["shop-db", "nobody"], labels={"tier": ""}) == [DB]
    assert bus.stats(labels={"tier": "web"}) == [WEB]
    assert bus.stats(name=WEB.id[:12]) == [WEB]
    assert bus.stats(name="nobody") == []


def test_nothing_is_measured_that_nobody_wants(bus: Bus, measures: Measures) -> None:
    assert measures.rounds == 0
    bus.stats()
    assert measures.rounds > 0
    bus.redis.delete("dockbus:stats-wanted:local")  # as after some seconds
    looks = measures.looks
    wait_for(lambda: measures.looks > looks + 1, what="a look")  # one may have been under way
    rounds, looks = measures.rounds, measures.looks
    wait_for(lambda: measures.looks > looks + 3, what="more looks")
    assert measures.rounds == rounds


def test_a_wish_and_a_measurement_lapse(bus: Bus, measures: Measures) -> None:
    bus.stats()

    for key in ("dockbus:stats-wanted:local", "dockbus:stats:local"):
        left: Any = bus.redis.pttl(key)  # pyright: ignore[reportUnknownMemberType]
        assert 0 < left <= KEPT * 1000


def test_what_was_measured_before_the_question_is_no_answer(bus: Bus, measures: Measures) -> None:
    bus.stats()
    measures.containers = [DB]

    assert names(bus.stats()) in (["local/shop-db"], names([WEB, DB]))  # one was under way
    assert names(bus.stats()) == ["local/shop-db"]


def test_several_engines_are_asked_together(bus: Bus, measures: Measures) -> None:
    far = WEB.model_copy(update={"engine": "far"})
    with measured(bus, far, engine="far"):
        assert names(bus.stats()) == ["far/shop-web", "local/shop-web", "local/shop-db"]
        assert names(bus.stats(engine="far")) == ["far/shop-web"]


def test_an_engine_that_does_not_answer_is_left_out_unless_none_does(
    bus: Bus, measures: Measures
) -> None:
    with measured(bus, engine="far") as far:
        far.up = False
        assert bus.stats() == [WEB, DB]
        with pytest.raises(StatsUnavailable, match="far: the Engine does not answer"):
            bus.stats(engine="far")


@pytest.mark.parametrize("engine", [None, "nowhere"])
def test_without_a_metrics_worker_it_is_said_at_once_what_to_start(
    bus: Bus, engine: str | None
) -> None:
    begun = time.monotonic()

    with pytest.raises(DockbusError, match="Start `dockbus metrics`") as refused:
        bus.stats(engine=engine)

    assert engine or "any Engine" in refused.value.detail
    assert time.monotonic() - begun < 2


def test_a_metrics_worker_that_measures_nothing_is_given_up(
    bus: Bus, measures: Measures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.5)
    monkeypatch.setattr(measures, "is_stuck", True)

    with pytest.raises(StatsUnavailable, match="nothing has come"):
        bus.stats()


def test_what_is_no_measurement_is_passed_over(bus: Bus, measures: Measures) -> None:
    measures.is_stuck = True
    key = "dockbus:stats:local"
    bus.redis.hset(key, mapping={"sequence": "x", "measured": "{}"})  # pyright: ignore[reportUnknownMemberType]
    feed = bus.stats.feed(Wanted())
    feed.look()
    bus.redis.hset(key, mapping={"sequence": "y", "measured": "{}"})  # pyright: ignore[reportUnknownMemberType]

    assert feed.look() == ({"local"}, [])
    measures.is_stuck = False
    assert bus.stats() == [WEB, DB]


def test_a_watch_goes_on_and_follows(bus: Bus, measures: Measures) -> None:
    rounds = iter(bus.stats.watch(interval=0.1))

    assert next(rounds) == [WEB, DB]
    measures.containers = [DB]
    assert wait_for(lambda: next(rounds) == [DB], what="the container to go")


def test_a_watch_in_the_background_returns_at_once_and_ends_when_told(
    bus: Bus, measures: Measures
) -> None:
    seen: list[list[str]] = []
    times: list[float] = []

    def note(found: list[ContainerStats]) -> None:
        seen.append(names(found))
        times.append(time.monotonic())

    ended = threading.active_count()
    begun = time.monotonic()
    watch = bus.stats.watch(name=["shop-*"], interval=0.2)
    watch.start(note)
    assert time.monotonic() - begun < 0.1

    wait_for(lambda: len(seen) > 3, what="four rounds")
    assert times[3] - times[0] > 3 * 0.2 - 0.2  # the first one has waited for a measurement
    assert measures.rounds >= len(seen)  # each is of its own
    assert seen[0] == ["local/shop-web", "local/shop-db"]
    measures.containers = [DB]
    wait_for(lambda: seen[-1] == ["local/shop-db"], what="the container to go")
    begun = time.monotonic()
    watch.stop()
    assert time.monotonic() - begun < 0.2
    assert threading.active_count() == ended
    rounds = len(seen)
    looks = measures.looks
    wait_for(lambda: measures.looks > looks + 5, what="more measurements")
    assert len(seen) == rounds


def test_a_watch_outlives_a_callback_that_fails_and_a_worker_that_is_away(bus: Bus) -> None:
    seen: list[int] = []

    def note(found: list[ContainerStats]) -> None:
        seen.append(len(found))
        raise ValueError("mine")

    with bus.stats.watch(interval=0.1) as watch:
        watch.start(note)
        with measured(bus, WEB):
            wait_for(lambda: len(seen) > 1, what="two rounds")
        rounds = len(seen)
        with measured(bus, WEB, DB):
            wait_for(lambda: len(seen) > rounds and seen[-1] == 2, what="a round after that")
