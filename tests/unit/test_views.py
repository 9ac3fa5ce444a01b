"""Engine answers as values of ours, also where Engines leave fields out or write null."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dockbus.engine import Container, EngineEvent, EngineInfo, Image, PullProgress
from dockbus.engine.views import parse_time

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T12:00:00Z", NOON),
        ("2026-11-21T12:00:00.000000000Z", NOON),
        ("2026-11-21T12:00:00.123456789Z", NOON.replace(microsecond=123456)),
        ("2026-11-21T12:00:00.5Z", NOON.replace(microsecond=500000)),
        ("2026-11-21T14:00:00+02:00", NOON),
        ("2026-11-21T14:00:00.25+02:00", NOON.replace(microsecond=250000)),
        ("2026-11-21T07:00:00.25-05:00", NOON.replace(microsecond=250000)),
        ("2026-11-21T07:00:00-05:00", NOON),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_a_timestamp_is_read_in_all_the_forms_engines_write(
    text: str | None, moment: datetime | None
) -> None:
    assert parse_time(text) == moment


def test_a_timestamp_that_is_none_raises() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        parse_time("yesterday")


def test_a_listed_and_an_inspected_image_are_the_same_thing() -> None:
    listed: dict[str, Any] = {
        "Id": "sha256:a",
        "RepoTags": ["x:1", "<none>:<none>"],
        "RepoDigests": ["<none>@<none>", "x@sha256:b"],
        "Created": int(NOON.timestamp()),
        "Size": 5,
        "Labels": {"a": "b"},
    }
    inspected: dict[str, Any] = {
        **listed,
        "Created": "2026-11-21T12:00:00Z",
        "Labels": None,
        "Config": {"Labels": {"a": "b"}},
        "Os": "linux",
        "Architecture": "arm",
        "Variant": "v7",
        "RootFS": {"Layers": ["1", "2"]},
    }

    short, long = Image.parse(listed), Image.parse(inspected)

    assert (short.tags, short.digests) == (("x:1",), ("x@sha256:b",))
    assert (short.created, short.labels) == (long.created, long.labels) == (NOON, {"a": "b"})
    assert (long.platform, long.layers) == ("linux/arm/v7", 2)
    assert (short.platform, short.layers) == ("", 0)


def test_a_dangling_image_has_neither_names_nor_labels() -> None:
    image = Image.parse({"Id": "sha256:a", "RepoTags": None, "RepoDigests": None, "Config": None})

    assert (image.tags, image.digests, image.labels, image.created) == ((), (), {}, None)


def test_a_container_that_never_ran_has_no_times() -> None:
    zero = "0001-01-01T00:00:00Z"
    container = Container.parse(
        {
            "Id": "c",
            "Name": "/one",
            "Image": "sha256:a",
            "Created": "2026-11-21T12:00:00.5Z",
            "Config": {"Image": "x:1", "Labels": None},
            "State": {
                "Status": "created",
                "ExitCode": 0,
                "OOMKilled": False,
                "StartedAt": zero,
                "FinishedAt": zero,
            },
        }
    )

    assert (container.name, container.labels, container.size_rw) == ("one", {}, 0)
    assert (container.started, container.finished) == (None, None)
    assert container.is_stopped


@pytest.mark.parametrize(
    ("state", "stopped"),
    [
        ("created", True),
        ("exited", True),
        ("dead", True),
        ("running", False),
        ("paused", False),
        ("restarting", False),
        ("removing", False),
    ],
)
def test_a_container_has_stopped_when_nothing_of_it_runs_or_will(state: str, stopped: bool) -> None:
    listed = {"Id": "c", "Image": "x", "ImageID": "i", "State": state, "Created": 0, "Names": None}

    assert Container.parse_listed(listed).is_stopped is stopped


def test_progress_of_the_whole_image_belongs_to_no_layer() -> None:
    words = {"status": "Pulling from library/x", "id": "latest"}
    layer = {
        "status": "Downloading",
        "id": "abc",
        "progressDetail": {"current": 3, "total": 9},
        "progress": "[=>  ]",
    }

    assert PullProgress.parse(words).layer == ""
    assert PullProgress.parse({"status": "Digest: sha256:a"}).layer == ""
    assert PullProgress.parse(layer) == PullProgress(
        layer="abc", status="Downloading", current=3, total=9
    )
    assert PullProgress.parse({**layer, "progressDetail": {}}).total == 0


def test_an_event_needs_no_attributes() -> None:
    event = EngineEvent.parse(
        {"Type": "image", "Action": "pull", "timeNano": 5, "Actor": {"ID": "x", "Attributes": None}}
    )

    assert (event.actor, event.attributes) == ("x", {})


def test_an_engine_may_say_little_about_itself() -> None:
    info = EngineInfo.parse({"ID": "A:B"}, {"Version": "20.10.24", "ApiVersion": "1.41"})

    assert (info.id, info.version, info.cgroup_version) == ("A:B", "20.10.24", "1")
