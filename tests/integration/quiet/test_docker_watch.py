"""The watch over an Engine when the stream is not enough: what was not heard is found, and only one process tells."""

from __future__ import annotations

import contextlib
from collections import Counter
from secrets import token_hex

import pytest
from redis import Redis

from dockbus import Bus, Settings
from dockbus.engine import Engine
from dockbus.events import GAP
from dockbus.jobs.running import Healthcheck
from dockbus.settings import EngineSettings, RedisSettings
from dockbus.snapshot import ContainerState, EngineState
from dockbus_producer.docker_events import audit, observer
from dockbus_producer.docker_events.ledger import Fenced, Ledger
from dockbus_producer.docker_events.reader import Cursor
from outage import Plug
from waiting import wait_for
from watched import about, actions, count, ended, has, make, watching


def forget_all(engine: Engine, image: str) -> None:
    """Have the Engine forget what it remembers: its newest 256 events."""
    name = f"dockbus-test/forget:{token_hex(4)}"
    for _ in range(300):
        engine.images.tag(image, name)
    engine.images.remove(name)


def test_an_end_that_nobody_heard_is_found_with_its_exit_code(
    engine: Engine, base_image: str, bus: Bus, left: list[str]
) -> None:
    with watching(engine, bus):
        left.append(
            runs := make(engine, base_image, "sh", "-c", "trap 'exit 7' TERM; sleep 600 & wait")
        )
        wait_for(has(bus, runs, "start"), what="its start")
    engine.containers.stop(runs, timeout=10)
    left.append(new := make(engine, base_image, "sh", "-c", "exit 5"))
    ended(engine, new)
    forget_all(engine, base_image)
    for _ in range(2):
        with watching(engine, bus):
            pass
    assert actions(bus, runs) == ["create", "start", "die"]
    assert actions(bus, new) == ["create", "start", "die"]
    dies = [about(bus, container)[-1] for container in (runs, new)]
    assert [die.data["exitCode"] for die in dies] == [7, 5]
    assert [die.data["synthetic"] for die in dies] == [True, True]
    assert count(bus, GAP) == 1


def test_a_container_that_was_removed_unheard_is_told_to_have_ended(
    engine: Engine, base_image: str, bus: Bus
) -> None:
    with watching(engine, bus):
        container = make(engine, base_image, "sleep", "600")
        wait_for(has(bus, container, "start"), what="its start")
    engine.containers.remove(container, force=True)
    forget_all(engine, base_image)
    with watching(engine, bus):
        wait_for(has(bus, container, "destroy"), what="its end")
    assert actions(bus, container) == ["create", "start", "die", "destroy"]
    assert "exitCode" not in about(bus, container)[2].data
    assert bus.snapshot.container("local", container) is None


def test_the_snapshot_follows(engine: Engine, base_image: str, bus: Bus, left: list[str]) -> None:
    left.append(before := make(engine, base_image, "sleep", "600", labels={"team": "blue"}))

    def state(container: str) -> ContainerState:
        return wait_for(lambda: bus.snapshot.container("local", container), what="the container")

    name = f"dockbus-test/snap:{token_hex(4)}"
    with watching(engine, bus):
        assert about(bus, before) == []  # what was there before the first look is no news
        assert (state(before).state, state(before).labels["team"]) == ("running", "blue")
        left.append(
            probed := make(
                engine,
                base_image,
                "sleep",
                "600",
                healthcheck=Healthcheck(test=["false"], interval=1, retries=1),
            )
        )
        wait_for(lambda: state(probed).health == "unhealthy", what="its health")
        engine.containers.stop(before, timeout=0)
        wait_for(lambda: state(before).exit_code in (137, 143), what="its end")
        engine.images.tag(base_image, name)
        wait_for(lambda: any(name in image.tags for image in bus.snapshot.images()), what="the tag")
        engine.images.remove(name)
    (engine_state,) = bus.snapshot.engines()
    assert (engine_state.name, engine_state.id) == ("local", engine.id)


def test_an_exit_code_that_a_label_claims_is_not_believed(
    engine: Engine, base_image: str, bus: Bus, left: list[str]
) -> None:
    with watching(engine, bus):
        left.append(
            liar := make(engine, base_image, "sh", "-c", "exit 1", labels={"exitCode": "0"})
        )
        wait_for(has(bus, liar, "die"), what="its end")
    assert [e.data["exitCode"] for e in about(bus, liar) if "exitCode" in e.data] == [1]


def test_a_stream_that_stalls_is_noticed_and_nothing_is_missed(
    engine_host: str,
    engine: Engine,
    base_image: str,
    bus: Bus,
    left: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observer, "AUDIT", 2.0)
    monkeypatch.setattr(audit, "SETTLED", 10**9)
    monkeypatch.setattr(observer, "STALLED", 0.0)
    with Plug(engine_host.removeprefix("unix://")) as plug:
        behind = Engine(EngineSettings(host=f"tcp://127.0.0.1:{plug.port}", timeout=3))
        with contextlib.closing(behind), watching(behind, bus) as watch:
            plug.freeze()
            left.append(container := make(engine, base_image, "sh", "-c", "exit 3"))
            ended(engine, container)
            wait_for(has(bus, container, "die"), timeout=60, what="what the stream did not bring")
            reader = watch.reader
            assert reader
            wait_for(lambda: reader.opened == 2, timeout=60, what="a new stream")
            plug.thaw()
            left.append(other := make(engine, base_image, "true"))
            wait_for(has(bus, other, "die"), what="what comes by the new one")
    for one in (container, other):
        assert actions(bus, one) == ["create", "start", "die"]


def test_who_was_frozen_while_another_took_over_changes_nothing(
    engine: Engine, base_image: str, bus: Bus, redis: Redis, left: list[str]
) -> None:
    with watching(engine, bus) as watch:
        # As if it had been frozen: the lease has run out, another has led, and it has not noticed.
        redis.hincrby("dockbus:watch:local", "epoch", 1)
        redis.set("dockbus:watch:local:lease", "another")
        left.append(container := make(engine, base_image, "true"))
        ended(engine, container)
        wait_for(lambda: not watch.leads, what="it to notice")
        assert actions(bus, container) == []
        redis.delete("dockbus:watch:local:lease")
        wait_for(has(bus, container, "die"), what="its turn")
    assert actions(bus, container) == ["create", "start", "die"]


def test_who_stands_by_after_an_outage_of_redis_is_of_use_again(
    engine: Engine, settings: Settings, redis_url: str, redis: Redis
) -> None:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        behind = RedisSettings(url=f"redis://127.0.0.1:{plug.port}")
        with (
            Bus(settings.model_copy(update={"redis": behind})) as bus,
            watching(engine, bus) as watch,
        ):
            wait_for(lambda: watch.leads and not watch.trouble(), what="it to lead")
            plug.pull()
            wait_for(lambda: watch.trouble() == "Redis does not answer", what="the outage")
            redis.set("dockbus:watch:local:lease", "another")
            plug.put_back()
            wait_for(lambda: not watch.leads and not watch.trouble(), what="it to stand by")


def test_the_books_refuse_all_but_the_newest_leader(bus: Bus, redis: Redis) -> None:
    first, second = Ledger(bus, "local"), Ledger(bus, "local")
    state = EngineState(name="local")
    assert first.lead()
    assert not second.lead()
    assert first.commit(Cursor("e", 1), state) == 0
    redis.delete("dockbus:watch:local:lease")
    assert second.lead()
    with pytest.raises(Fenced):
        first.commit(Cursor("e", 2), state)
    assert second.cursor() == Cursor("e", 1)
    second.retire()
    assert first.lead()


def test_two_watches_of_two_buses_share_nothing(
    engine: Engine, base_image: str, bus: Bus, left: list[str]
) -> None:
    """Two names for one Engine on one bus: each is watched by itself."""
    twin = Engine(EngineSettings(host=engine.host, name="twin"))
    with contextlib.closing(twin), watching(engine, bus), watching(twin, bus):
        left.append(container := make(engine, base_image, "true"))
        wait_for(lambda: actions(bus, container).count("die") == 2, what="both")
    sources = Counter(event.source for event in about(bus, container))
    assert sources == {"/engines/local": 3, "/engines/twin": 3}
    assert [one.name for one in bus.snapshot.engines()] == ["local", "twin"]
