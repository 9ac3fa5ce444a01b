"""The event stream in a real Redis: each fact once, in one order, from any point, whatever else lies there."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from at_once import at_once
from dockbus import Bus, Event
from dockbus.events import STREAM, EventStream
from waiting import wait_for


def event(name: str, **fields: Any) -> Event:
    return Event(id=name, source="/test", type="test.happened", **fields)


def ids(bus: Bus, since: str = "0") -> list[str]:
    return [stored.event.id for stored in bus.events(since=since, follow=False)]


def test_an_event_comes_back_as_it_was_with_its_place(bus: Bus) -> None:
    said = event("1", subject="ä \0", data={"a": [1, None, {"b": 2.5}], "ü": "\U0001f433"})

    position = bus.publish(said)

    [stored] = bus.events(since="0", follow=False)
    assert (stored.event, stored.position) == (said, position)


def test_the_same_fact_is_kept_once(bus: Bus) -> None:
    assert bus.publish(event("1", data={"n": 1}))
    assert bus.publish(event("1", data={"n": 2})) is None
    assert bus.publish(event("1").model_copy(update={"source": "/other"}))

    assert len(ids(bus)) == 2


def test_many_publishers_of_one_fact_agree(bus: Bus) -> None:
    new: list[object] = []

    def publish(_: int) -> None:
        for number in range(20):
            position = bus.publish(event(str(number)))
            new.extend([position] if position else [])

    at_once(10, publish)

    assert len(new) == 20
    assert sorted(ids(bus), key=int) == [str(number) for number in range(20)]


def test_events_are_replayed_from_any_point(bus: Bus) -> None:
    positions = [bus.publish(event(str(number))) for number in range(1200)]

    assert ids(bus) == [str(number) for number in range(1200)]
    assert ids(bus, since=str(positions[1189])) == [str(number) for number in range(1190, 1200)]
    assert ids(bus, since=str(positions[-1])) == []


def test_the_newest_are_kept(redis: Redis) -> None:
    stream = EventStream(redis, keep=100)

    for number in range(1000):
        stream.publish(event(str(number)))

    kept = [stored.event.id for stored in stream.kept()]
    assert 100 <= len(kept) < 300
    assert kept[-1] == "999"


def test_from_now_on_is_from_the_call_not_from_the_first_look(bus: Bus) -> None:
    bus.publish(event("before"))
    events = bus.events()

    bus.publish(event("after"))

    assert next(events).event.id == "after"


def test_a_follower_gets_what_happens(bus: Bus, redis: Any) -> None:
    got: list[str] = []
    events = bus.events()

    def follow() -> None:
        got.extend(next(events).event.id for _ in range(3))

    thread = threading.Thread(target=follow)
    thread.start()
    wait_for(lambda: int(redis.info("clients")["blocked_clients"]), what="it to wait")
    for name in ("a", "b", "c"):
        bus.publish(event(name))
    thread.join()

    assert got == ["a", "b", "c"]


PLANTED: list[dict[str | bytes, Any]] = [
    {"e": "{"},
    {"e": b"\xff\xfe"},
    {"e": '{"id": "x"}'},
    {"e": '{"specversion": "1.0", "id": "x", "source": "/s", "type": "t", "extra": 1}'},
    {"e": '{"specversion": "0.3", "id": "x", "source": "/s", "type": "t"}'},
    {"x": "y"},
    {b"\xff": b"\xff"},
]


@pytest.mark.parametrize("garbage", PLANTED, ids=str)
def test_planted_rows_stop_no_follower(bus: Bus, redis: Any, garbage: dict[Any, Any]) -> None:
    events = bus.events()
    for number in range(2):
        for _ in range(700):  # more than one read brings
            redis.xadd(STREAM, garbage)
        bus.publish(event(f"honest {number}"))

    assert [next(events).event.id for _ in range(2)] == ["honest 0", "honest 1"]
    assert ids(bus) == ["honest 0", "honest 1"]


@pytest.mark.parametrize(
    "fields", [{"id": ""}, {"source": ""}, {"type": ""}, {"specversion": "2"}, {"more": 1}]
)
def test_an_envelope_that_is_none_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate({"id": "1", "source": "/s", "type": "t", **fields})
