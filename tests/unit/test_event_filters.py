"""Which events are wanted and from where on; how an event looks in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dockbus import DockbusError, Event, NoSuchPlace
from dockbus.cli.events import shown
from dockbus.event_reader import EventFilter, Since, position_of
from dockbus.events import order
from dockbus.ids import StreamId

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MILLIS = round(NOON.timestamp() * 1000)
DIE = Event(
    source="/engines/edge", type="io.dockbus.docker.container.die", subject="c0ffee", time=NOON
)


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({}, True),
        ({"types": "io.dockbus.docker.container.*"}, True),
        ({"types": ["io.dockbus.job.*", "*.die"]}, True),
        ({"types": ["io.dockbus.job.*"]}, False),
        ({"types": "io.dockbus.docker.container"}, False),
        ({"types": "IO.*"}, False),
        ({"sources": "/engines/*"}, True),
        ({"sources": ["/engines/local", "/dockbus/*"]}, False),
        ({"subjects": "c0ff*"}, True),
        ({"subjects": ["deadbeef"]}, False),
        ({"types": "*.die", "sources": "/engines/local"}, False),
        ({"types": "*.die", "sources": "/engines/edge", "subjects": "?0ffee"}, True),
    ],
)
def test_all_respects_must_match_by_one_glob_each(wanted: dict[str, Any], match: bool) -> None:
    assert EventFilter(**wanted).match(DIE) is match


@pytest.mark.parametrize(
    ("since", "millis"),
    [
        (NOON, MILLIS),
        ("2026-11-22T12:00:00Z", MILLIS),
        ("2026-11-22T13:00:00.250+01:00", MILLIS + 250),
        ("10m", MILLIS - 600_000),
        ("1h30m", MILLIS - 5_400_000),
        (timedelta(seconds=0.5), MILLIS - 500),
    ],
)
def test_a_moment_is_the_place_right_before_its_millisecond(since: Since, millis: int) -> None:
    place = position_of(since, NOON)

    assert order(StreamId(f"{millis - 1}-99999")) < order(place) < order(StreamId(f"{millis}-0"))


@pytest.mark.parametrize(
    "text", ["0", "1700000000000", "1700000000000-0", "5-18446744073709551615"]
)
def test_a_position_is_itself(text: str) -> None:
    assert position_of(text) == text


def test_what_was_before_1970_is_before_all() -> None:
    assert position_of(datetime(1960, 1, 1, tzinfo=UTC)) == "0"
    assert position_of(timedelta(days=36500), NOON) == "0"


@pytest.mark.parametrize(
    "since",
    [
        "",
        "yesterday",
        "-5",
        "1-2-3",
        "10x",
        "12:00",
        "2026-13-01",
        "1e9d",
        "9" * 20,
        "٣",
        "999999999d",
        timedelta.max,
        " ",
    ],
)
def test_what_is_no_place_is_refused_with_advice(since: Since) -> None:
    with pytest.raises(NoSuchPlace, match="how long ago, such as 10m") as caught:
        position_of(since)
    assert isinstance(caught.value, DockbusError)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {
                "type": "io.dockbus.docker.container.die",
                "source": "/engines/edge",
                "subject": "f" * 64,
                "data": {
                    "engine": "edge",
                    "engineId": "X",
                    "id": "f" * 64,
                    "name": "web",
                    "image": "shop/web:1",
                    "action": "die",
                    "attributes": {"a": "b"},
                    "exitCode": 3,
                    "synthetic": True,
                    "container": {"id": "f"},
                },
            },
            "docker.container.die  web  engine=edge image=shop/web:1 exitCode=3 synthetic=true",
        ),
        (
            {"type": "io.dockbus.docker.image.pull", "subject": "sha256:" + "a" * 64},
            "docker.image.pull  aaaaaaaaaaaa",
        ),
        (
            {"type": "io.dockbus.job.failed", "subject": "j1", "data": {"kind": "run", "of": []}},
            "job.failed  j1  kind=run",
        ),
        (
            {"type": "shop.sold\x1b[2J", "data": {"n": 1}},
            "shop.sold\N{REPLACEMENT CHARACTER}[2J  n=1",
        ),
    ],
)
def test_an_event_is_one_line_with_what_matters(event: dict[str, Any], line: str) -> None:
    text = shown(Event.model_validate({"source": "/test", "time": NOON, **event}))

    assert text.plain == f"{NOON.astimezone():%Y-%m-%d %H:%M:%S}  {line}"
