"""Subscriptions in a real Redis: each event handled by one member at least once, whoever breaks off or dies."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from dockbus import Bus, Event, RedisUnavailable, StoredEvent, subscription
from dockbus.events import STREAM
from dockbus.settings import RedisSettings
from outage import Plug
from waiting import wait_for

GROUP = "dockbus:subscription:test"


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a member leaves goes to another at once."""
    monkeypatch.setattr(subscription, "ABANDONED", 0.0)


def publish(bus: Bus, *names: str) -> None:
    for name in names:
        bus.publish(Event(id=name, source="/test", type=f"test.{name[0]}"))


def ids(events: Iterator[StoredEvent], count: int) -> list[str]:
    return [stored.event.id for stored in itertools.islice(events, count)]


def pending(bus: Bus) -> int:
    answer: Any = bus.redis.xpending(STREAM, GROUP)
    return int(answer["pending"])


def test_a_group_begins_now_or_where_it_is_told(bus: Bus) -> None:
    publish(bus, "a1", "a2")
    new, old = bus.subscription("test"), bus.subscription("all", since="0")
    publish(bus, "a3")

    assert ids(iter(new), 1) == ["a3"]
    assert ids(iter(old), 3) == ["a1", "a2", "a3"]


def test_an_event_is_done_when_the_loop_asks_for_the_next(bus: Bus) -> None:
    events = iter(bus.subscription("test"))
    publish(bus, "a1", "a2")

    assert next(events).event.id == "a1"
    assert pending(bus) == 2
    assert next(events).event.id == "a2"
    assert pending(bus) == 1


def test_what_a_loop_broke_off_at_comes_again_to_the_same_member_at_once(bus: Bus) -> None:
    member = bus.subscription("test")
    publish(bus, "a1", "a2", "a3")

    assert ids(iter(member), 2) == ["a1", "a2"]
    assert ids(iter(member), 2) == ["a2", "a3"]


def test_only_what_is_wanted_comes_and_the_rest_is_done(bus: Bus) -> None:
    member = bus.subscription("test", types="test.b")
    publish(bus, "a1", "b1", "a2", "b2", "a3")

    assert ids(iter(member), 2) == ["b1", "b2"]
    assert pending(bus) == 1, "only that at which the loop stands"


def test_members_share_the_events(bus: Bus) -> None:
    bus.subscription("test")
    publish(bus, *(f"a{number}" for number in range(300)))
    got: list[str] = []

    def work() -> None:
        for stored in bus.subscription("test"):
            if stored.event.type == "test.z":
                return
            got.append(stored.event.id)

    members = [threading.Thread(target=work) for _ in range(3)]
    for member in members:
        member.start()
    wait_for(lambda: len(got) >= 300, what="all events")
    for number in range(3):  # each ends one of them
        publish(bus, f"z{number}")
        wait_for(lambda: sum(m.is_alive() for m in members) == 2 - number, what="an end")  # noqa: B023

    assert Counter(got) == Counter(f"a{number}" for number in range(300))


@pytest.mark.usefixtures("impatient")
def test_what_a_member_left_goes_to_another(bus: Bus) -> None:
    gone = iter(bus.subscription("test"))
    publish(bus, "a1", "a2")
    assert next(gone).event.id == "a1"
    del gone

    assert ids(iter(bus.subscription("test")), 2) == ["a1", "a2"]


def test_what_was_left_waits_a_minute_while_its_member_may_live(bus: Bus) -> None:
    slow = iter(bus.subscription("test"))
    publish(bus, "a1")
    assert next(slow).event.id == "a1"
    other = iter(bus.subscription("test"))
    publish(bus, "a2")

    assert next(other).event.id == "a2"


@pytest.mark.usefixtures("impatient")
def test_a_member_that_takes_long_leaves_alone_what_has_gone_to_another(bus: Bus) -> None:
    slow = iter(bus.subscription("test"))
    publish(bus, "a1", "a2", "a3")
    assert next(slow).event.id == "a1"
    other = iter(bus.subscription("test"))
    assert ids(other, 3) == ["a1", "a2", "a3"]  # and it stands at the third

    assert next(slow).event.id == "a3"


def test_what_a_member_takes_again_is_its_own_for_another_minute(bus: Bus) -> None:
    def idle() -> int:
        answer: Any = bus.redis.xpending_range(STREAM, GROUP, "-", "+", 1)
        return int(answer[0]["time_since_delivered"])

    member = bus.subscription("test")
    publish(bus, "a1")
    assert ids(iter(member), 1) == ["a1"]
    wait_for(lambda: idle() > 300, what="some time")

    assert ids(iter(member), 1) == ["a1"]
    assert idle() < 300


def test_a_group_whose_events_were_removed_is_told(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    publish(bus, "a0")
    member = bus.subscription("test", since="1")
    publish(bus, *(f"a{number}" for number in range(1, 1000)))
    bus.redis.xtrim(STREAM, maxlen=10, approximate=False)

    assert ids(iter(member), 1) == ["a990"]
    assert f"events before {member.gone} are gone" in caplog.text
    [first, *_] = bus.events(since="0", follow=False)
    assert first.position == member.gone


def test_what_was_removed_after_it_was_taken_holds_up_nobody(bus: Bus) -> None:
    member = bus.subscription("test")
    publish(bus, "a1", "a2")
    assert ids(iter(member), 1) == ["a1"]
    publish(bus, "a3")
    bus.redis.xtrim(STREAM, maxlen=1, approximate=False)

    assert ids(iter(member), 1) == ["a3"]
    assert pending(bus) == 1


def test_a_member_goes_on_after_an_outage(bus: Bus, redis_url: str) -> None:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        settings = bus.settings.model_copy(update={"redis": url})
        with Bus(settings, patience=0.1) as behind:
            member = behind.subscription("test")
            publish(bus, "a1", "a2")
            events = iter(member)
            assert next(events).event.id == "a1"
            plug.pull()
            with pytest.raises(RedisUnavailable):
                next(events)
            plug.put_back()

            assert ids(iter(member), 2) == ["a1", "a2"], "nobody knew that the first was done"


def test_a_redis_that_forgot_everything(bus: Bus, redis: Redis) -> None:
    events = iter(bus.subscription("test"))
    publish(bus, "a1")
    assert next(events).event.id == "a1"
    redis.flushdb()  # pyright: ignore[reportUnknownMemberType]
    publish(bus, "a2")

    assert next(events).event.id == "a2"


def test_members_that_are_no_more_are_forgotten(
    bus: Bus, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "SWEEP", subscription.SWEEP.replace("3600000", "100"))
    member = bus.subscription("test")
    redis.xgroup_createconsumer(STREAM, GROUP, "dead")
    publish(bus, "a1")
    redis.xreadgroup(GROUP, "dead, with something to do", {STREAM: ">"})
    wait_for(
        lambda: all(each["idle"] > 100 for each in redis.xinfo_consumers(STREAM, GROUP)),
        what="them to be idle",
    )
    publish(bus, "a2")
    assert ids(iter(member), 1) == ["a2"]

    left = {each["name"] for each in redis.xinfo_consumers(STREAM, GROUP)}
    assert b"dead" not in left
    assert b"dead, with something to do" in left
    assert len(left) == 2
