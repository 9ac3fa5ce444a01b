"""The event stream in a real Redis: each fact once, in one order, from any point, whatever else lies there."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from at_once import at_once
from dockbus import Bus, Event, EventReader, RedisUnavailable, event_reader
from dockbus.event_reader import position_of
from dockbus.events import LONG_WINDOW, STREAM, EventStream
from dockbus.ids import StreamId
from dockbus.settings import RedisSettings
from outage import Plug
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


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


def test_only_what_is_wanted_is_given_and_the_place_moves_on(bus: Bus) -> None:
    for number in range(1500):
        bus.publish(event(str(number), subject=f"thing {number % 500}"))
    events = bus.events(since="0", follow=False, subjects=["thing 7", "thing 499"])

    assert [stored.event.id for stored in events] == ["7", "499", "507", "999", "1007", "1499"]
    assert events.position == bus.event_stream.end()
    assert list(events) == []

    bus.publish(event("new", subject="thing 7"))

    assert [stored.event.id for stored in events] == ["new"]


def test_a_moment_and_a_span_lead_to_a_place(bus: Bus, redis: Any) -> None:
    now = datetime.now(UTC)
    for minutes in (30, 20, 10):
        moment = now - timedelta(minutes=minutes)
        said = event(str(minutes)).model_dump_json()
        redis.xadd(STREAM, {"e": said}, id=f"{round(moment.timestamp() * 1000)}-0")

    for since in ("25m", timedelta(minutes=20, seconds=5), now - timedelta(minutes=20)):
        assert [stored.event.id for stored in bus.events(since=since, follow=False)] == ["20", "10"]


def test_a_reader_goes_on_after_an_outage_where_it_was(engineless_bus: Bus, redis_url: str) -> None:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        settings = engineless_bus.settings.model_copy(update={"redis": url})
        with Bus(settings, patience=0.1) as behind:
            events = behind.events()
            engineless_bus.publish(event("a"))
            assert next(events).event.id == "a"
            plug.pull()
            with pytest.raises(RedisUnavailable):
                next(events)
            engineless_bus.publish(event("b"))
            plug.put_back()
            assert next(events).event.id == "b"


def test_what_was_removed_unread_is_told(
    redis: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = EventStream(redis, keep=100)
    first = stream.publish(event("first"))
    second = stream.publish(event("second"))
    assert first
    assert second
    assert EventReader(stream, first).gone is None
    moment = position_of(timedelta(minutes=5))
    assert EventReader(stream, moment).gone is None, "nothing was removed yet"
    slow = EventReader(stream, second)
    for number in range(1000):
        stream.publish(event(str(number)))
    oldest = next(stream.kept()).position

    assert stream.gone(first) == stream.gone(moment) == oldest
    assert EventReader(stream, first).gone == oldest
    assert f"events before {oldest} are gone" in caplog.text
    assert stream.gone(oldest) is None
    assert stream.gone(StreamId("0")) is None, "whoever wants all that are kept misses nothing"
    assert slow.gone is None
    monkeypatch.setattr(event_reader, "CHECK", 0.0)
    assert next(stored.position for stored in slow.look()) == oldest
    assert slow.gone == oldest


def test_a_stream_that_is_not_there_lacks_nothing(redis: Redis) -> None:
    assert EventStream(redis).gone(StreamId("5-0")) is None


def test_old_events_are_removed(redis: Any) -> None:
    stream, now = EventStream(redis, age=3600), round(datetime.now(UTC).timestamp() * 1000)
    for number in range(1000):
        said = event(str(number)).model_dump_json()
        redis.xadd(STREAM, {"e": said}, id=f"{now - 7_200_000 + number * 6_000}-0")  # 100 minutes

    stream.trim()

    kept = [int(stored.event.id) for stored in stream.kept()]
    assert kept[-1] == 999
    assert 500 <= kept[0] + 100 <= 700, (
        "half an hour was too old; Redis trims in blocks of a hundred"
    )


def test_without_an_age_nothing_is_too_old(redis: Any) -> None:
    stream = EventStream(redis)
    redis.xadd(STREAM, {"e": event("old").model_dump_json()}, id="5-0")

    stream.trim()

    assert [stored.event.id for stored in stream.kept()] == ["old"]


def test_a_fact_is_remembered_for_its_window_only(bus: Bus, redis: Any) -> None:
    bus.publish(event("short"), window=0.05)
    bus.publish(event("usual"))
    bus.publish(event("long"), window=LONG_WINDOW)

    wait_for(lambda: bus.publish(event("short")), what="the window to end")
    assert 590 < redis.ttl(f"{STREAM}:seen:/test:usual") <= 600
    assert 86000 < redis.ttl(f"{STREAM}:seen:/test:long") <= 86400


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
