"""Couriers of sinks in threads, on a real Redis, and what tests ask about them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from typing import Any

from dockbus import Bus, Event
from dockbus.events import STREAM
from dockbus_producer.sinks import Sink
from dockbus_producer.sinks.courier import Courier
from dockbus_producer.sinks.outbox import Outbox
from receivers import Receiver
from waiting import wait_for


def sink(hooks: Receiver, **fields: Any) -> Sink:
    retry = {"max": 2, "base": 0.05, "cap": 0.05}
    given = {"name": "s", "url": hooks.url, "types": ["test.*"], "retry": retry, "timeout": 5}
    return Sink.model_validate(given | fields)


@contextlib.contextmanager
def serving(bus: Bus, *sinks: Sink, secrets: str = "") -> Generator[None]:
    """Couriers of these sinks, as soon as they hear every event; they must stop when told to."""
    couriers = [Courier(bus, each, secrets) for each in sinks]
    threads = [threading.Thread(target=each.run) for each in couriers]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: {f"dockbus:sink:{each.name}" for each in sinks} <= groups(bus), what="it")
        yield
    finally:
        for each in couriers:
            each.stop()
        for thread in threads:
            thread.join(30.0)
            assert not thread.is_alive()


def groups(bus: Bus) -> set[str]:
    found: Any = bus.redis.xinfo_groups(STREAM) if bus.redis.exists(STREAM) else []
    return {each["name"].decode() for each in found}


def publish(bus: Bus, *names: str, **fields: Any) -> None:
    for name in names:
        bus.publish(Event(id=name, source="/test", type="test.happened", **fields))


def told(bus: Bus, what: str) -> list[Event]:
    found = bus.events(since="0", follow=False, types=f"io.dockbus.sink.{what}")
    return [stored.event for stored in found]


def settled(bus: Bus, outbox: Outbox) -> bool:
    """Whether nothing is left to send."""
    newest: Any = bus.redis.xrevrange(STREAM, count=1)
    found: Any = bus.redis.xinfo_groups(STREAM)
    [group] = [each for each in found if each["name"].decode() == outbox.group]
    return bool(
        group["last-delivered-id"] == newest[0][0]
        and group["pending"] == 0
        and outbox.waiting() == 0
    )
