"""Cleanup specs, and which images are built on which: what the world has to look like is built here by hand."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dockbus import Cleanup
from dockbus.engine.disk import DiskUsage, FileSystem
from dockbus.jobs import explain
from dockbus.jobs.cleanup import BuildCache


def refusal(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Cleanup.model_validate(fields)
    return explain(caught.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"containers": False}, "nothing to clean up"),
        ({"build_cache": {}, "labels": {"a": "b"}}, "build_cache: it has no labels"),
        ({"volumes": "named"}, "volumes: which named ones?"),
        ({"volumes": "all"}, "volumes: which named ones?"),
        ({"volumes": "anonymous", "volume_names": ["x"]}, "volume_names: that is for"),
        ({"volume_names": ["x"]}, "volume_names: that is for"),
        ({"keep_last": 1}, "keep_last and unused_for are for images"),
        ({"unused_for": "1h"}, "keep_last and unused_for are for images"),
        ({"until_disk_under": "80%"}, "until_disk_under needs when_disk_over"),
        ({"when_disk_over": "80%", "until_disk_under": "85%"}, "is more than when_disk_over"),
        ({"when_disk_over": "80"}, "'80' is not a share of a disk; write it as '85%'"),
        ({"when_disk_over": "100%"}, "less than 100"),
        ({"max": 0}, "max"),
        ({"states": ["running"]}, "states"),
        ({"states": []}, "states"),
        ({"images": "all"}, "'no', 'dangling' or 'unused'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(fields: dict[str, object], says: str) -> None:
    assert says in refusal(**fields)


def test_shares_of_a_disk_are_written_as_people_write_them() -> None:
    spec = Cleanup.model_validate({"when_disk_over": "85%", "until_disk_under": 79.5})

    assert (spec.when_disk_over, spec.low_mark) == (85.0, 79.5)
    assert Cleanup(when_disk_over=85.0).low_mark == 85.0
    assert Cleanup().low_mark is None


def test_images_may_be_said_by_true_and_false() -> None:
    assert Cleanup.model_validate({"images": True}) == Cleanup(images="dangling")
    assert Cleanup.model_validate({"images": False}) == Cleanup()


def test_sizes_and_times_of_the_build_cache_are_written_as_everywhere() -> None:
    spec = Cleanup.model_validate({"build_cache": {"unused_for": "2h", "keep_bytes": "1g"}})

    assert spec.build_cache == BuildCache(unused_for=7200.0, keep_bytes=1024**3)


def test_a_file_system_tells_how_full_it_is_and_would_be() -> None:
    disk = FileSystem(used=85, size=100)

    assert disk.percent == 85.0
    assert disk.without(10).percent == 75.0
    assert disk.without(1000).percent == 0.0
    assert FileSystem(0, 0).percent == 100.0  # nothing is known of it: no room


# What `GET /system/df` of 20.10 says with all parts, and of 26.1 with only some asked for.
DF_20 = {
    "LayersSize": 1000,
    "Images": [
        {"Id": "sha256:a", "Size": 800, "SharedSize": 600, "VirtualSize": 800, "Containers": 1},
        {"Id": "sha256:b", "Size": 700, "SharedSize": -1, "VirtualSize": 700, "Containers": 0},
    ],
    "Containers": [{"Id": "c", "SizeRw": 5}, {"Id": "d"}],
    "Volumes": [
        {
            "Name": "data",
            "CreatedAt": "2026-01-01T00:00:00Z",
            "Labels": None,
            "UsageData": {"RefCount": 1, "Size": 30},
        },
        {"Name": "f" * 64, "Labels": {"a": "b"}, "UsageData": {"RefCount": -1, "Size": -1}},
    ],
    "BuildCache": [
        {
            "ID": "x",
            "Size": 7,
            "InUse": False,
            "Shared": False,
            "CreatedAt": "2026-01-01T00:00:00Z",
            "LastUsedAt": None,
        },
        {
            "ID": "y",
            "Size": 100,
            "InUse": True,
            "Shared": True,
            "CreatedAt": "2026-01-01T00:00:00Z",
        },
    ],
    "BuilderSize": 107,
}
DF_26: dict[str, object] = {
    "LayersSize": 1000,
    "Images": [],
    "Containers": None,
    "Volumes": None,
    "BuildCache": None,
}


def test_disk_usage_is_read_from_engines_that_say_all_and_that_say_a_part() -> None:
    old, new = DiskUsage.parse(DF_20), DiskUsage.parse(DF_26)

    assert old.unique == {"sha256:a": 200, "sha256:b": 700}
    assert [(each.name[:4], each.anonymous, each.size) for each in old.volumes] == [
        ("data", False, 30),
        ("ffff", True, 0),
    ]
    assert [(each.size, each.in_use, each.used is None) for each in old.build_cache] == [
        (7, False, False),
        (0, True, False),
    ]
    assert old.total == 1000 + 5 + 30 + 7
    assert (new.total, new.volumes, new.build_cache) == (1000, (), ())
