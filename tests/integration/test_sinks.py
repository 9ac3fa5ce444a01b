"""Sinks on a real Redis and a real HTTP server: each event arrives at least once, or is kept with the reason why not."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from couriers import publish, serving, settled, sink, told
from dockbus import Bus, Event
from dockbus.settings import RedisSettings
from dockbus_producer.sinks import Sink, courier
from dockbus_producer.sinks.outbox import Outbox
from outage import Plug
from receivers import Receiver, cut, receiver, status
from waiting import wait_for

KEY = b"a key of the tests, long enough"


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def hooks() -> Generator[Receiver]:
    with receiver() as hooks:
        yield hooks


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    return Outbox(redis, "s")


def test_an_event_arrives_signed_and_whole(
    bus: Bus, hooks: Receiver, outbox: Outbox, tmp_path: Path
) -> None:
    (tmp_path / "hook").write_bytes(KEY + b"\n")
    said = Event(
        id="1", source="/engines/edge", type="test.x", subject="c0ffee", data={"ü": [1, None]}
    )
    wanted = sink(hooks, secret="hook", headers={"X-Team": "a", "User-Agent": "b"})
    with serving(bus, wanted, secrets=str(tmp_path)):
        bus.publish(said)
        bus.publish(Event(source="/test", type="unwanted"))
        wait_for(lambda: hooks.got and settled(bus, outbox), what="the event")

    [request] = hooks.got
    assert request.path == "/hook?from=test"
    assert Event.model_validate_json(request.body) == said
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert (request.headers["x-team"], request.headers["user-agent"]) == ("a", "b")
    assert request.headers["host"] == f"127.0.0.1:{hooks.port}"
    assert request.is_signed_with(KEY)
    assert not request.is_signed_with(KEY + b"?")


@pytest.mark.parametrize("trouble", ["500", "429", "redirect", "cut", "hang", "dribble"])
def test_what_failed_is_sent_again_with_the_same_id(
    bus: Bus, hooks: Receiver, outbox: Outbox, trouble: str
) -> None:
    elsewhere = f"http://127.0.0.1:{hooks.port}/elsewhere"
    answers = {
        "500": status(500, "oops"),
        "429": status(429, Retry_After="1"),
        "redirect": status(307, Location=elsewhere),
        "cut": cut,
        "hang": hooks.hang,
        "dribble": hooks.dribble,
    }
    hooks.answers = [answers[trouble], answers[trouble]]
    with serving(bus, sink(hooks, timeout=0.5)):
        publish(bus, "1")
        wait_for(lambda: len(hooks.got) == 3 and settled(bus, outbox), what="the third attempt")

    assert hooks.ids() == ["1", "1", "1"]
    assert len({request.headers["webhook-id"] for request in hooks.got}) == 1
    assert {request.path for request in hooks.got} == {"/hook?from=test"}
    assert outbox.dead() == {}


def test_a_receiver_that_asks_for_time_gets_it(bus: Bus, hooks: Receiver, outbox: Outbox) -> None:
    hooks.answers = [status(503, Retry_After="60")]
    with serving(bus, sink(hooks)):
        publish(bus, "1")
        wait_for(lambda: hooks.got, what="the first attempt")
        wait_for(lambda: parcel(bus, outbox)["attempts"] == 1, what="the pause")
        due: Any = bus.redis.zscore(f"{outbox.group}:due", hooks.got[0].headers["webhook-id"])
        seconds: Any = bus.redis.time()  # pyright: ignore[reportUnknownMemberType]
    assert 50 < due - seconds[0] <= 61
    assert len(hooks.got) == 1


def parcel(bus: Bus, outbox: Outbox) -> dict[str, Any]:
    found: Any = bus.redis.hvals(f"{outbox.group}:waiting")
    kept: dict[str, Any] = json.loads(found[0])
    return kept


def test_what_waits_for_its_time_holds_up_nobody(bus: Bus, hooks: Receiver, outbox: Outbox) -> None:
    hooks.answers = [status(503, Retry_After="60")]
    with serving(bus, sink(hooks)):
        publish(bus, "1")
        wait_for(lambda: hooks.got, what="the first attempt")
        publish(bus, *map(str, range(2, 52)))
        wait_for(lambda: len(hooks.got) == 51, what="all others")
        wait_for(lambda: outbox.waiting() == 1, what="them to be settled")


def test_a_receiver_that_hangs_holds_up_no_other_sink(bus: Bus, hooks: Receiver) -> None:
    with receiver() as slow:
        slow.usual = slow.hang
        with serving(bus, sink(hooks), sink(slow, name="slow", timeout=60)):
            publish(bus, *map(str, range(20)))
            wait_for(lambda: len(hooks.got) == 20, what="all events")
            wait_for(lambda: len(slow.got) == courier.SLOTS, what="the slow one's first")
            slow.released.set()
            wait_for(lambda: len(set(slow.ids())) == 20, what="the slow one's")


@pytest.mark.parametrize("part", ["claim", "put", "remove"])
def test_a_courier_that_breaks_begins_anew(
    bus: Bus,
    hooks: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: str,
) -> None:
    whole, broken = getattr(Outbox, part), list[str]()

    def breaks(*given: Any) -> Any:
        if not broken:
            broken.append(part)
            raise RuntimeError("not foreseen")
        return whole(*given)

    monkeypatch.setattr(Outbox, part, breaks)
    monkeypatch.setattr(courier, "BROKEN", 0.2)
    with serving(bus, sink(hooks, timeout=0.1)):
        publish(bus, "1", "2")
        wait_for(lambda: settled(bus, Outbox(bus.redis, "s")), what="both to be settled")
    assert set(hooks.ids()) == {"1", "2"}
    assert broken == [part]
    assert "RuntimeError: not foreseen" in caplog.text


@pytest.mark.parametrize(
    ("code", "attempts"), [(400, 1), (404, 1), (500, 3)], ids=["400", "404", "500"]
)
def test_what_cannot_be_delivered_is_kept_with_its_cause(
    bus: Bus, hooks: Receiver, outbox: Outbox, code: int, attempts: int
) -> None:
    hooks.usual = status(code, "no such hook")
    with serving(bus, sink(hooks)):
        publish(bus, "1", subject="thing")
        (failed,) = wait_for(lambda: told(bus, "failed"), what="the event")
        wait_for(lambda: outbox.dead() and settled(bus, outbox), what="the end")

    (dead,) = outbox.dead().values()
    assert (dead.event.id, dead.attempts, dead.cause) == (
        "1",
        attempts,
        f"HTTP {code}: no such hook",
    )
    assert len(hooks.got) == attempts
    assert (failed.source, failed.subject) == ("/dockbus/sinks", "s")
    assert failed.data == {
        "sink": "s",
        "event": "1",
        "eventSource": "/test",
        "eventType": "test.happened",
        "message": dead.id,
        "attempts": attempts,
        "cause": f"HTTP {code}: no such hook",
    }


def test_a_secret_that_is_not_there_is_a_reason_to_wait(
    bus: Bus, hooks: Receiver, outbox: Outbox, tmp_path: Path
) -> None:
    retry = {"max": 100, "base": 0.05, "cap": 0.05}
    with serving(bus, sink(hooks, secret="late", retry=retry), secrets=str(tmp_path)):
        publish(bus, "1")
        wait_for(lambda: outbox.waiting() and parcel(bus, outbox)["attempts"], what="an attempt")
        assert "secret 'late': No such file" in parcel(bus, outbox)["cause"]
        (tmp_path / "late").write_bytes(KEY)
        wait_for(lambda: hooks.got, what="the event")

    assert hooks.got[0].is_signed_with(KEY)


def test_sinks_that_fail_do_not_tell_each_other_for_ever(
    bus: Bus, hooks: Receiver, redis: Redis
) -> None:
    hooks.usual = status(400)
    both = [sink(hooks, name=name, types=["*"]) for name in ("a", "b")]
    with serving(bus, *both):
        publish(bus, "1")
        wait_for(lambda: len(told(bus, "failed")) == 2, what="both failures")
        boxes = [Outbox(redis, name) for name in ("a", "b")]
        wait_for(lambda: all(settled(bus, box) for box in boxes), what="silence")

    assert len(told(bus, "failed")) == 2, "about the first event, and no more"
    assert [len(box.dead()) for box in boxes] == [2, 2], "the event, and the other's failure"


def test_a_receiver_that_is_gone_suspends_its_sink_until_it_is_resumed(
    bus: Bus, hooks: Receiver, outbox: Outbox
) -> None:
    hooks.usual = status(410)
    with serving(bus, sink(hooks)):
        publish(bus, "1")
        wait_for(outbox.suspension, what="the suspension")
        publish(bus, "2")
        wait_for(lambda: told(bus, "suspended"), what="the event")
        hooks.usual = status(204)
        asked = len(hooks.got)
        assert outbox.resume()
        wait_for(lambda: settled(bus, outbox), what="all events")

    assert set(hooks.ids()[asked:]) == {"1", "2"}
    assert len(told(bus, "suspended")) == 1
    assert told(bus, "suspended")[0].data == {"sink": "s", "cause": "HTTP 410"}
    assert outbox.dead() == {}


def test_another_url_resumes_a_sink(bus: Bus, hooks: Receiver, outbox: Outbox) -> None:
    outbox.suspend("http://127.0.0.1:1/", "HTTP 410")
    with serving(bus, sink(hooks)):
        publish(bus, "1")
        wait_for(lambda: settled(bus, outbox), what="the event")

    assert hooks.ids() == ["1"]
    assert outbox.suspension() is None
    assert len(told(bus, "resumed")) == 1


def test_several_couriers_share_a_sink(bus: Bus, hooks: Receiver, outbox: Outbox) -> None:
    with serving(bus, sink(hooks)), serving(bus, sink(hooks)), serving(bus, sink(hooks)):
        publish(bus, *map(str, range(100)))
        wait_for(lambda: settled(bus, outbox), what="all events")

    assert sorted(hooks.ids(), key=int) == [str(number) for number in range(100)]


def test_an_outbox_that_is_full_leaves_events_in_the_stream(
    bus: Bus, hooks: Receiver, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "FULL", 10)
    hooks.usual = hooks.hang
    with serving(bus, sink(hooks, timeout=60)):
        publish(bus, *map(str, range(10)))
        wait_for(lambda: outbox.waiting() == 10, what="a full outbox")
        publish(bus, *map(str, range(10, 50)))
        wait_for(lambda: len(hooks.got) == courier.SLOTS, what="requests")
        assert outbox.waiting() == 10
        hooks.usual = status(204)
        hooks.released.set()
        wait_for(lambda: len(set(hooks.ids())) == 50, what="all events")


def test_redis_gone_for_a_while_loses_nothing(
    bus: Bus, hooks: Receiver, outbox: Outbox, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hooks.answers = [hooks.hang]
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        settings = bus.settings.model_copy(update={"redis": url})
        with Bus(settings, patience=0.1) as behind, serving(behind, sink(hooks, timeout=20)):
            publish(bus, "1")
            wait_for(lambda: hooks.got, what="a request under way")
            plug.pull()
            publish(bus, *map(str, range(2, 12)))
            wait_for(lambda: "sink s waits" in caplog.text, what="the outage")
            hooks.released.set()
            plug.put_back()
            wait_for(lambda: settled(bus, outbox), what="all events")

    assert set(hooks.ids()) == {str(number) for number in range(1, 12)}
    assert caplog.text.count("sink s waits") == 1
    assert "sink s goes on" in caplog.text


def test_nothing_is_asked_of_a_proxy(
    bus: Bus, hooks: Receiver, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(bus, sink(hooks)):
        publish(bus, "1")
        wait_for(lambda: settled(bus, outbox), what="the event")

    assert hooks.ids() == ["1"]


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    bus: Bus, hooks: Receiver, outbox: Outbox, private_registry: Any
) -> None:
    secure = Sink(name="s", url=f"https://{private_registry.address}/", types=["test.*"])
    with serving(bus, secure):
        publish(bus, "1")
        wait_for(lambda: outbox.waiting() and parcel(bus, outbox)["attempts"], what="an attempt")

    assert "certificate verify failed" in parcel(bus, outbox)["cause"]
