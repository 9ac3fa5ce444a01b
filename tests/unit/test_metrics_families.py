"""The catalogue, the limit on series, and tables that are written faster than Prometheus' client writes them."""

# pyright: reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dockbus.families import Family
from dockbus.table import Table, Thing
from dockbus_workers.metrics.collector import tables
from dockbus_workers.metrics.families import CONTAINER, FAMILIES
from dockbus_workers.metrics.samples import TRAFFIC, Sample


def sample(number: int = 1, **fields: Any) -> Sample:
    base = Sample(
        seen=2000.5,
        cpu=1.5,
        memory=4096,
        traffic={word: {"eth0": 7} for word in TRAFFIC},
        moved={"8:0": (10, 20)},
        id=f"{number:064x}",
        name=f"web-{number}",
        image="shop/web:3",
        labels={"team.name": "blue"},
        group=f"/docker/{number:064x}",
        health="",
        created=1000.0 + number,
        started=1000.0,
        cpu_quota=0,
        cpu_period=100_000,
        cpu_shares=1024,
        memory_limit=0,
        memory_reservation=0,
        memory_swap_limit=0,
        pids_limit=0,
    )
    return dataclasses.replace(base, **fields)


def series(*samples: Sample, most: int = 10_000) -> dict[str, list[dict[str, str]]]:
    """Labels of the series of each family."""
    found, _ = tables(samples, "local", labels=["team.name"], series=most)
    return {each.name: [one.labels for one in each.samples] for each in found}


def value(name: str, one: Sample) -> float | None:
    found, _ = tables([one], "local", labels=[], series=1000)
    values = [row.value for table in found for row in table.samples if row.name == name]
    return values[0] if values else None


def test_each_family_has_one_sentence_and_a_name_of_its_own() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"[A-Z].*[^.]\.", family.meaning), family.name
        assert "engine" in family.labels, family.name
        assert (family.type == "counter") == family.name.endswith("_total"), family.name
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_each_series_tells_its_container() -> None:
    labels = series(sample())["container_memory_usage_bytes"][0]

    assert labels == {
        "engine": "local",
        "id": f"/docker/{1:064x}",
        "name": "web-1",
        "image": "shop/web:3",
        "container_label_team_name": "blue",
    }
    without = series(sample(labels={}))["container_memory_usage_bytes"][0]
    assert without == labels | {"container_label_team_name": ""}, "all series have the same labels"


def test_labels_of_families_are_those_of_their_series() -> None:
    found, _ = tables([sample(cpu_quota=1, cpu_periods=1)], "local", labels=[], series=1000)

    for each, table in zip(CONTAINER, found, strict=True):
        for one in table.samples:
            assert set(one.labels) == set(each.family.labels), each.family.name


def test_what_is_not_known_has_no_series() -> None:
    found = series(sample(cpu=None, traffic={word: {} for word in TRAFFIC}, moved={}))

    assert not found["container_cpu_usage_seconds"]
    assert not found["container_network_receive_bytes"]
    assert not found["container_fs_reads_bytes"]
    assert not found["container_memory_swap"]
    assert len(found["container_memory_usage_bytes"]) == 1


def test_throttling_is_counted_for_those_with_a_quota() -> None:
    counted: dict[str, Any] = {"cpu_periods": 7, "cpu_throttled_periods": 3, "cpu_throttled": 1.5}

    free, limited = sample(**counted), sample(**counted, cpu_quota=50_000)

    assert value("container_cpu_cfs_periods_total", free) is None
    assert value("container_spec_cpu_quota", free) is None
    assert value("container_cpu_cfs_throttled_seconds_total", limited) == 1.5
    assert value("container_spec_cpu_quota", limited) == 50_000


@pytest.mark.parametrize(
    ("health", "expected"), [("healthy", 1), ("unhealthy", 0), ("starting", 0), ("", -1)]
)
def test_health_is_a_number(health: str, expected: int) -> None:
    assert value("container_health_state", sample(health=health)) == expected


def test_block_io_is_told_by_device_and_by_operation() -> None:
    found = series(sample())

    assert found["container_fs_reads_bytes"][0]["device"] == "8:0"
    usage = found["container_blkio_device_usage"]
    assert [(one["major"], one["minor"], one["operation"]) for one in usage] == [
        ("8", "0", "Read"),
        ("8", "0", "Write"),
    ]


def test_the_newest_containers_are_left_out_where_there_are_too_many_series() -> None:
    each = sum(map(len, series(sample()).values()))
    crowd = [sample(number) for number in (3, 1, 4, 2)]

    found, left_out = tables(crowd, "local", labels=[], series=each * 3 - 1)

    names = {one.labels["name"] for table in found for one in table.samples}
    assert (names, left_out) == ({"web-1", "web-2"}, 2)
    assert sum(map(len, found)) <= each * 3 - 1
    assert tables(crowd, "local", labels=[], series=each * 4)[1] == 0


class _Given:
    def __init__(self, metrics: list[Table]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Table]:
        return self._metrics


def test_a_table_writes_what_prometheus_own_client_would() -> None:
    odd = 'a "b" \\ c\nd'
    found = [
        Table(Family("things_total", "counter", odd, ()), ["kind"]),
        Table(Family("level", "gauge", "How much."), []),
        Table(Family("nothing", "gauge", "There is none."), []),
    ]
    for thing in (Thing({"name": odd, "id": "1"}), Thing({"name": "ü", "id": ""})):
        found[0].add(thing, (odd,), 1.5)
        found[0].add(thing, ("b",), 12345678901234)
        found[1].add(thing, (), -0.25)
    registry = CollectorRegistry()
    registry.register(_Given(found))
    text = b"".join(table.text(openmetrics=False) for table in found).decode()
    openmetrics = b"".join(table.text(openmetrics=True) for table in found).decode() + "# EOF\n"

    parse: Any = parse_openmetrics
    generate: Any = generate_openmetrics
    assert list(parse_text(text)) == list(parse_text(generate_latest(registry).decode()))
    assert list(parse(openmetrics)) == list(parse(generate(registry).decode()))
    assert text.count("things_total{") == 4
