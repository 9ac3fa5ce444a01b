"""Docker events on a real Engine and a real Redis: each once, whatever goes away in between."""

from __future__ import annotations

import contextlib
import io
import logging
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from redis import Redis

from dockbus import Bus, Event, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.events import GAP
from dockbus.jobs.running import Network
from dockbus.settings import EngineSettings, RedisSettings
from dockbus.snapshot import ContainerState
from dockbus_producer.docker_events import DockerEvents, reader
from outage import Plug
from waiting import wait_for

LIFE = ["create", "start", "die", "destroy"]
CURSOR = "dockbus:watch:local"


@contextlib.contextmanager
def reading(engine: Engine, bus: Bus, *, leading: bool = True) -> Generator[DockerEvents]:
    """A watch in a thread, as soon as it has looked round, where it is to lead; it must stop when told to."""
    source = DockerEvents(engine, bus)
    thread = threading.Thread(target=source.run)
    thread.start()
    try:
        wait_for(lambda: source.connected, what="the event stream")
        wait_for(lambda: not leading or is_in_step(source, bus), what="the first look")
        yield source
    finally:
        source.stop()
        thread.join(30.0)
        assert not thread.is_alive()


def is_in_step(source: DockerEvents, bus: Bus) -> bool:
    """Whether it has looked at the Engine since its stream was opened."""
    return source.leads and any(one.connected and one.resynced for one in bus.snapshot.engines())


def live(
    engine: Engine, image: str, *, exit_code: int = 0, labels: dict[str, str] | None = None
) -> str:
    """A container's whole life; returns its ID."""
    container = engine.containers.create(
        ContainerSpec(
            name=f"ev-{token_hex(4)}",
            image=image,
            command=["sh", "-c", f"exit {exit_code}"],
            networks=[Network(name="none")],
            labels={"dockbus.test": "1", **(labels or {})},
        )
    )
    engine.containers.start(container)
    wait_for(lambda: engine.containers.get(container).state == "exited", what="the exit")
    engine.containers.remove(container)
    return container


def own_image(engine: Engine, name: str) -> str:
    """An image of which nobody else on this Engine makes events; returns its ID."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(token_hex(8)))
        engine.images.import_rootfs(buffer.getvalue(), name, ["LABEL dockbus.test=1"])
    return engine.images.get(name).id


def published(bus: Bus, subject: str) -> list[Event]:
    stored = bus.events(since="0", follow=False)
    return [item.event for item in stored if item.event.subject == subject]


def actions(bus: Bus, container: str) -> list[Any]:
    return [
        event.data["action"]
        for event in published(bus, container)
        if event.type.startswith("io.dockbus.docker.container.")
    ]


def gaps(bus: Bus) -> list[Event]:
    return [event for event in published(bus, "local") if event.type == GAP]


def gone(bus: Bus, container: str) -> Callable[[], bool]:
    return lambda: "destroy" in actions(bus, container)


def test_a_containers_life(engine: Engine, base_image: str, bus: Bus) -> None:
    with reading(engine, bus):
        container = live(engine, base_image, exit_code=3, labels={"team": "blue"})
        wait_for(gone(bus, container), what="destroy")
    assert actions(bus, container) == LIFE
    died = next(event for event in published(bus, container) if event.data["action"] == "die")
    assert died.type == "io.dockbus.docker.container.die"
    assert died.source == "/engines/local"
    assert len(died.id) == 20
    assert abs(datetime.now(UTC) - died.time) < timedelta(minutes=1)
    assert died.data["exitCode"] == 3
    assert died.data["engine"] == "local"
    assert died.data["engineId"] == engine.id
    assert died.data["id"] == container
    assert died.data["image"] == base_image
    assert str(died.data["name"]).startswith("ev-")
    facts = ContainerState.model_validate(died.data["container"])
    assert facts.labels["team"] == "blue"
    assert facts.state in ("exited", "removing")  # it is removed right afterwards
    assert facts.exit_code == 3
    assert died.data["synthetic"] is False


def test_who_only_looks_makes_no_event(engine: Engine, base_image: str, bus: Bus) -> None:
    with reading(engine, bus):
        spec = ContainerSpec(
            name=f"ev-{token_hex(4)}",
            image=base_image,
            command=["sleep", "60"],
            networks=[Network(name="none")],
            labels={"dockbus.test": "1"},
        )
        container = engine.containers.create(spec)
        engine.containers.start(container)
        engine.api.exec_start(engine.api.exec_create(container, ["true"]))
        engine.containers.remove(container, force=True)
        wait_for(gone(bus, container), what="destroy")
    assert sorted(actions(bus, container)) == ["create", "destroy", "die", "kill", "start"]


def test_images_are_named(engine: Engine, bus: Bus) -> None:
    name, own = (f"dockbus-test/{word}:{token_hex(4)}" for word in ("ev", "own"))
    image = own_image(engine, own)
    with reading(engine, bus):
        engine.images.tag(own, name)
        engine.images.remove(name)
        wait_for(lambda: len(published(bus, image)) == 2, what="tag and untag")
    engine.images.remove(own)
    tagged, untagged = published(bus, image)
    assert (tagged.type, tagged.data["image"]) == ("io.dockbus.docker.image.tag", name)
    assert (untagged.type, untagged.data["image"]) == ("io.dockbus.docker.image.untag", image)


def test_a_new_reader_goes_on_where_the_last_one_stopped(
    engine: Engine, base_image: str, bus: Bus
) -> None:
    before_all = live(engine, base_image)
    with reading(engine, bus):
        before = live(engine, base_image)
        wait_for(gone(bus, before), what="destroy")
    assert actions(bus, before_all) == []
    away = live(engine, base_image, exit_code=7)
    with reading(engine, bus):
        after = live(engine, base_image)
        wait_for(gone(bus, after), what="destroy")
    assert [actions(bus, container) for container in (before, away, after)] == [LIFE] * 3
    assert [e.data["exitCode"] for e in published(bus, away) if "exitCode" in e.data] == [7]
    everything = [item.event.id for item in bus.events(since="0", follow=False)]
    assert max(Counter(everything).values()) == 1
    assert gaps(bus) == []


def test_one_of_two_leads_and_the_other_takes_over_at_once(
    engine: Engine, base_image: str, bus: Bus
) -> None:
    with reading(engine, bus) as one, reading(engine, bus, leading=False) as two:
        containers = [live(engine, base_image) for _ in range(3)]
        wait_for(gone(bus, containers[-1]), what="destroy")
        assert (one.leads, two.leads) == (True, False)
        one.stop()
        containers.append(live(engine, base_image))
        wait_for(lambda: two.leads, what="the other to lead")
        containers.append(live(engine, base_image))
        wait_for(gone(bus, containers[-1]), what="destroy")
    assert [actions(bus, container) for container in containers] == [LIFE] * 5
    assert gaps(bus) == []


def test_an_engine_that_goes_away_and_comes_back(
    engine_host: str, engine: Engine, base_image: str, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dockbus_producer")
    with Plug(engine_host.removeprefix("unix://")) as plug:
        behind = Engine(EngineSettings(host=f"tcp://127.0.0.1:{plug.port}"))
        with contextlib.closing(behind), reading(behind, bus) as source:
            first = live(engine, base_image)
            wait_for(gone(bus, first), what="destroy")
            plug.pull()
            wait_for(lambda: source.connected is False, what="the outage")
            second = live(engine, base_image)
            wait_for(lambda: plug.refused >= 2, timeout=60, what="tries in vain")
            plug.put_back()
            wait_for(gone(bus, second), timeout=60, what="what happened in between")
            third = live(engine, base_image)
            wait_for(gone(bus, third), what="what happened afterwards")
    assert [actions(bus, container) for container in (first, second, third)] == [LIFE] * 3
    assert gaps(bus) == []
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert "Engine local is back" in caplog.messages


def test_redis_that_goes_away_and_comes_back(
    engine: Engine, base_image: str, bus: Bus, settings: Settings, redis_url: str
) -> None:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        with (
            Bus(settings.model_copy(update={"redis": url}), patience=0.1) as behind,
            reading(engine, behind) as source,
        ):
            plug.pull()
            containers = [live(engine, base_image) for _ in range(3)]
            wait_for(lambda: source.redis_away, what="the outage")
            assert published(bus, containers[0]) == []
            plug.put_back()
            wait_for(gone(bus, containers[-1]), what="destroy")
    assert [actions(bus, container) for container in containers] == [LIFE] * 3
    assert gaps(bus) == []


def told(engine: Engine, image: str, bus: Bus) -> bool:
    """Whether the end of a container that lives now is told soon; so small a backlog overflows with whatever else happens."""
    try:
        wait_for(gone(bus, live(engine, image)), 5)
    except AssertionError:
        return False
    return True


def test_a_backlog_that_overflows_is_a_gap(
    engine: Engine,
    base_image: str,
    bus: Bus,
    settings: Settings,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "BACKLOG", 20)
    monkeypatch.setattr(reader, "MOST", 0)
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        with (
            Bus(settings.model_copy(update={"redis": url}), patience=0.1) as behind,
            reading(engine, behind) as source,
        ):
            plug.pull()
            for _ in range(6):
                live(engine, base_image)
            wait_for(lambda: source.reader and source.reader.dropped, what="the overflow")
            plug.put_back()
            gap = wait_for(lambda: gaps(bus), what="a gap")[0]
            wait_for(lambda: told(engine, base_image, bus), 90, "what happens from then on")
    dropped = gap.data["dropped"]
    assert isinstance(dropped, int)
    assert dropped > 0
    assert gap.data["reason"] == "events were dropped while Redis was away"


def test_what_the_engine_forgot_is_a_gap_and_told_once(
    engine: Engine, base_image: str, bus: Bus
) -> None:
    with reading(engine, bus):
        before = live(engine, base_image)
        wait_for(gone(bus, before), what="destroy")
    lost = live(engine, base_image)
    name = f"dockbus-test/gap:{token_hex(4)}"
    for _ in range(300):  # the Engine remembers 256 events
        engine.images.tag(base_image, name)
    engine.images.remove(name)
    for _ in range(2):
        with reading(engine, bus):
            after = live(engine, base_image)
            wait_for(gone(bus, after), what="destroy")
    assert actions(bus, lost) == []
    (gap,) = gaps(bus)
    assert gap.source == "/engines/local"
    assert gap.data["reason"] == "the Engine has forgotten the last event that was read"


def test_another_engine_under_the_same_name_is_a_gap(
    engine: Engine, base_image: str, bus: Bus, redis: Redis
) -> None:
    with reading(engine, bus):
        wait_for(gone(bus, live(engine, base_image)), what="destroy")
    redis.hset(CURSOR, "engine_id", "another")
    with reading(engine, bus):
        wait_for(gone(bus, live(engine, base_image)), what="destroy")
    (gap,) = gaps(bus)
    assert gap.data["reason"] == f"another Engine answers now, {engine.id} instead of another"


def test_the_cursor_moves_with_the_noise_too(
    engine: Engine, base_image: str, bus: Bus, redis: Redis
) -> None:
    def cursor() -> int:
        kept: Any = redis.hget(CURSOR, "time_nano")
        return int(kept or 0)

    spec = ContainerSpec(
        name=f"ev-{token_hex(4)}",
        image=base_image,
        command=["sleep", "60"],
        networks=[Network(name="none")],
        labels={"dockbus.test": "1"},
    )
    with reading(engine, bus) as source:
        container = engine.containers.create(spec)
        engine.containers.start(container)
        wait_for(lambda: "start" in actions(bus, container), what="start")
        heard = source.reader
        assert heard
        wait_for(lambda: cursor() == heard.read_to.time_nano, what="the cursor to be kept")
        before = cursor()
        engine.api.exec_start(engine.api.exec_create(container, ["true"]))
        wait_for(lambda: cursor() > before, what="the cursor to move")
        engine.containers.remove(container, force=True)
        wait_for(gone(bus, container), what="destroy")
