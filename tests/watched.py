"""A watch over a real Engine, containers for it to watch, and what it has told of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from secrets import token_hex
from typing import Any

from dockbus import Bus, Event
from dockbus.engine import ContainerSpec, Engine
from dockbus.events import RESYNCED
from dockbus.jobs.running import Network
from dockbus_producer.docker_events import DockerEvents
from waiting import wait_for


@contextlib.contextmanager
def watching(engine: Engine, bus: Bus) -> Generator[DockerEvents]:
    """A watch in a thread, as soon as it leads and has looked round."""
    watch = DockerEvents(engine, bus)
    thread = threading.Thread(target=watch.run)
    thread.start()
    looks = count(bus, RESYNCED)
    try:
        wait_for(lambda: watch.leads and count(bus, RESYNCED) > looks, what="the first look")
        yield watch
    finally:
        watch.stop()
        thread.join(30.0)
        assert not thread.is_alive()


def events(bus: Bus) -> list[Event]:
    """All that were published."""
    return [stored.event for stored in bus.events(since="0", follow=False)]


def count(bus: Bus, type_: str) -> int:
    """How many of a type."""
    return sum(event.type == type_ for event in events(bus))


def about(bus: Bus, container: str) -> list[Event]:
    """All that are about a container."""
    return [event for event in events(bus) if event.subject == container]


def actions(bus: Bus, container: str) -> list[Any]:
    """What they tell of it."""
    return [event.data["action"] for event in about(bus, container)]


def has(bus: Bus, container: str, action: str) -> Callable[[], bool]:
    """Whether that was told of it, to be asked again and again."""
    return lambda: action in actions(bus, container)


def make(
    engine: Engine, image: str, *command: str, labels: dict[str, str] | None = None, **facts: Any
) -> str:
    """A container that was started."""
    spec = ContainerSpec(
        name=f"watch-{token_hex(4)}",
        image=image,
        command=list(command),
        networks=[Network(name="none")],
        labels={"dockbus.test": "1", **(labels or {})},
        **facts,
    )
    container = engine.containers.create(spec)
    engine.containers.start(container)
    return container


def ended(engine: Engine, container: str) -> None:
    """Wait for its end."""
    wait_for(lambda: engine.containers.get(container).is_stopped, what="the end")
