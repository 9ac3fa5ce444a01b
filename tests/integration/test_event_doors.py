"""The event stream by its other doors, HTTP and the command line: filters, pages, moments, and what is gone."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from commandline import CommandLine
from dockbus import Bus, Event
from dockbus.events import STREAM
from dockbus_producer.api import events as event_api
from serving import served, told
from waiting import wait_for

EVENTS, HISTORY = "/v1/events", "/v1/events/history"


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def api(bus: Bus) -> Generator[httpx.Client]:
    with served(bus) as client:
        yield client


def publish(bus: Bus, count: int) -> None:
    for number in range(count):
        kind = "odd" if number % 2 else "even"
        bus.publish(Event(id=str(number), source=f"/{kind}", type=f"test.{kind}", subject="thing"))


def trimmed(bus: Bus) -> str:
    """Removes all but ten events; the position of the oldest that is left."""
    bus.redis.xtrim(STREAM, maxlen=10, approximate=False)
    return next(bus.events(since="0", follow=False)).position


def ids(page: Any) -> list[str]:
    return [stored["event"]["id"] for stored in page["events"]]


def test_a_stream_gives_only_what_is_asked_for(api: httpx.Client, bus: Bus) -> None:
    publish(bus, 10)
    wanted = {"since": "0", "type": ["no.such", "test.*"], "source": "/odd", "subject": "th*"}
    with api.stream("GET", EVENTS, params=wanted) as response:
        events = told(response)
        assert [next(events).data["id"] for _ in range(5)] == ["1", "3", "5", "7", "9"]
        bus.publish(Event(id="even", source="/even", type="test.new", subject="thing"))
        bus.publish(Event(id="odd", source="/odd", type="test.new", subject="thing"))
        assert next(events).data["id"] == "odd"


def test_a_stream_begins_so_long_ago(api: httpx.Client, bus: Bus) -> None:
    old = datetime.now(UTC) - timedelta(minutes=20)
    said = Event(id="old", source="/test", type="test.old").model_dump_json()
    bus.redis.xadd(STREAM, {"e": said}, id=f"{round(old.timestamp() * 1000)}-0")
    publish(bus, 1)
    for since, first in (("10m", "0"), ("1h", "old"), (old.isoformat(), "old")):
        with api.stream("GET", EVENTS, params={"since": since}) as response:
            assert next(told(response)).data["id"] == first


def test_a_stream_says_what_is_gone(api: httpx.Client, bus: Bus) -> None:
    publish(bus, 100)
    first = next(bus.events(since="0", follow=False)).position
    oldest = trimmed(bus)
    with api.stream("GET", EVENTS, headers={"Last-Event-ID": first}) as response:
        events = told(response)
        gone, event = next(events), next(events)
    assert (gone.event, gone.data) == ("gone", {"before": oldest})
    assert (event.id, event.data["id"]) == (oldest, "90")


def test_history_comes_in_pages(api: httpx.Client, bus: Bus) -> None:
    publish(bus, 25)
    got: list[str] = []
    page: Any = {"next": "0", "at_end": False}
    pages = 0
    while not page["at_end"]:
        wanted = {"since": page["next"], "limit": 5, "type": "*.even"}
        page = api.get(HISTORY, params=wanted).json()
        got += ids(page)
        pages += 1
    assert got == [str(number) for number in range(0, 25, 2)]
    assert pages == 3
    assert page["gone"] is None
    assert page["next"] == bus.event_stream.end()
    bus.publish(Event(id="new", source="/test", type="test.even"))
    assert ids(api.get(HISTORY, params={"since": page["next"]}).json()) == ["new"]


def test_a_page_ends_where_much_was_looked_through_and_little_found(
    api: httpx.Client, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_api, "LOOKS", 1)
    publish(bus, 600)
    wanted: Any = {"type": "test.none"}
    first = api.get(HISTORY, params=wanted).json()
    assert (first["events"], first["at_end"]) == ([], False)
    wanted = {"since": first["next"], "limit": 1000}
    assert ids(api.get(HISTORY, params=wanted).json()) == [str(n) for n in range(500, 600)]


def test_history_says_what_is_gone(api: httpx.Client, bus: Bus) -> None:
    publish(bus, 100)
    first = next(bus.events(since="0", follow=False)).position
    oldest = trimmed(bus)
    assert api.get(HISTORY, params={"since": first}).json()["gone"] == oldest
    assert api.get(HISTORY).json()["gone"] is None, "it was asked for all that are kept"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{EVENTS}?since=yesterday", "Give a position such as"),
        (f"{HISTORY}?since=1-2-3", "Give a position such as"),
        (f"{HISTORY}?since=1-{2**64}", "Give a position such as"),
        (f"{EVENTS}?{'type=a&' * 21}", "type: List should have at most 20 items"),
        (f"{HISTORY}?{'subject=a&' * 21}", "subject: List should have at most 20 items"),
        (f"{HISTORY}?limit=0", "limit: Input should be greater"),
        (f"{HISTORY}?limit=1001", "limit: Input should be less"),
    ],
)
def test_what_makes_no_sense_is_refused(api: httpx.Client, path: str, said: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_command_line_filters(dockbus: CommandLine, bus: Bus) -> None:
    publish(bus, 6)
    shown = dockbus.ok("events", "--type", "*.odd", "--type", "no.such", "--subject", "thing")
    assert [line.split("  ", 1)[1] for line in shown.splitlines()] == ["test.odd  thing"] * 3
    found = dockbus.ok("events", "--source", "/even", "--since", "10m", "--json").splitlines()
    assert [json.loads(line)["event"]["id"] for line in found] == ["0", "2", "4"]


def test_the_command_line_says_what_is_gone(dockbus: CommandLine, bus: Bus) -> None:
    publish(bus, 100)
    oldest = trimmed(bus)
    done = dockbus("events", "--since", "1h")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 10)
    assert done.stderr == (
        f"events before {oldest} are gone; they were removed before they were read\n"
    )
    assert dockbus("events").stderr == ""


def test_the_command_line_follows_what_is_wanted(dockbus: CommandLine, bus: Bus) -> None:
    clients: Any = bus.redis
    with dockbus.started("events", "-f", "--type", "test.odd") as follower:
        wait_for(lambda: clients.info("clients")["blocked_clients"], what="it to wait")
        publish(bus, 4)
        assert follower.stdout
        lines = [follower.stdout.readline().decode() for _ in range(2)]
    assert [line.split()[2] for line in lines] == ["test.odd", "test.odd"]
