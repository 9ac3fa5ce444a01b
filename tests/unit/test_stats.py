"""From samples to stats: the numbers of `docker stats`, and nothing where nothing is known."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from dockbus.settings import MetricsSettings
from dockbus.stats import ContainerStats, HealthStatus, Stats, Wanted, health_status
from dockbus_workers.metrics.samples import Facts, Sample, parse_stats
from dockbus_workers.metrics.usage import Usage, stats_of
from measuring import INSPECTED, sample, stats, traffic

MACHINE = 8 << 30


def measured(before: Sample | None, now: Sample) -> ContainerStats:
    return stats_of("local", before, now, MACHINE)


def engine_said(second: int, total: int, system: int, usage: int, **detail: int) -> dict[str, Any]:
    """What an Engine with two CPUs answers, cut down to what is near to what is read."""
    return {
        "read": f"2026-11-22T08:00:{second:02}.25Z",
        "cpu_stats": {
            "cpu_usage": {"total_usage": total},
            "system_cpu_usage": system,
            "online_cpus": 2,
        },
        "memory_stats": {"usage": usage, "limit": 64 << 20, "stats": detail},
        "pids_stats": {"current": 3},
    }


def as_docker_does(first: dict[str, Any], second: dict[str, Any]) -> float:
    """The percentage of the docker command: by the ticks of all CPUs."""
    before, now = first["cpu_stats"], second["cpu_stats"]
    used: float = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    ticks: float = now["system_cpu_usage"] - before["system_cpu_usage"]
    return 100 * used / ticks * int(now["online_cpus"])


def recorded(said: dict[str, Any]) -> Sample:
    use = parse_stats(said)
    assert use
    return Sample.of(Facts.parse(INSPECTED), "/docker/x", use)


@pytest.mark.parametrize("used", [0, 97_312_000, 1_000_000_000, 1_998_000_000])
def test_cpu_is_what_the_docker_command_shows(used: int) -> None:
    first = engine_said(10, 5_000_000_000, 80_000_000_000, 1 << 20)
    second = engine_said(11, 5_000_000_000 + used, 82_000_000_000, 1 << 20)

    found = measured(recorded(first), recorded(second)).cpu_percent

    assert found == pytest.approx(as_docker_does(first, second), abs=0.1)
    assert found == pytest.approx(used / 1e7)


def test_cpu_of_one_sample_is_not_known() -> None:
    assert measured(None, sample(cpu=3600.0)).cpu_percent is None


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (sample(cpu=5.0), sample(cpu=6.0)),
        (sample(5, cpu=5.0), sample(4, cpu=6.0)),
        (sample(cpu=5.0), sample(2, cpu=4.0)),
        (sample(cpu=5.0), sample(2, cpu=6.0, started="2026-01-02T03:04:06Z")),
        (sample(), sample(2, cpu=6.0)),
        (sample(cpu=5.0), sample(2)),
    ],
    ids=[
        "no time between",
        "wrong order",
        "counts back",
        "restarted",
        "not told first",
        "not told",
    ],
)
def test_cpu_is_not_made_up(before: Sample, now: Sample) -> None:
    assert measured(before, now).cpu_percent is None


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ({"total_inactive_file": 300_000, "inactive_file": 1, "total_cache": 400_000}, 700_000),
        ({"inactive_file": 300_000, "file": 400_000}, 700_000),
        ({"inactive_file": 2_000_000}, 0),
        ({}, 1_000_000),
    ],
    ids=["version 1", "version 2", "more cache than use", "not told"],
)
def test_memory_is_without_idle_file_cache(detail: dict[str, int], expected: int) -> None:
    said = engine_said(10, 0, 0, 1_000_000, **detail)

    assert measured(None, recorded(said)).memory_bytes == expected


def test_memory_is_a_part_of_the_limit() -> None:
    found = measured(None, sample(memory=20 << 20, memory_working_set=16 << 20))

    assert found.memory_limit_bytes == 64 << 20
    assert found.memory_percent == 25.0
    assert not found.memory_unlimited


def test_without_a_limit_it_is_a_part_of_the_machines() -> None:
    found = measured(None, sample(limit=0, memory_working_set=2 << 30))

    assert (found.memory_limit_bytes, found.memory_unlimited) == (MACHINE, True)
    assert found.memory_percent == 25.0


@pytest.mark.parametrize("machine", [None, 0])
def test_nothing_is_divided_by_no_memory(machine: int | None) -> None:
    found = stats_of("local", None, sample(limit=0, memory_working_set=5), machine)

    assert (found.memory_bytes, found.memory_percent) == (5, None)


def test_traffic_and_blocks_are_summed() -> None:
    found = measured(
        None,
        sample(
            traffic=traffic(eth0=(10, 1), eth1=(20, 2)), moved={"8:0": (3, 4), "8:16": (30, 40)}
        ),
    )

    assert (found.network_rx_bytes, found.network_tx_bytes) == (30, 3)
    assert (found.block_read_bytes, found.block_write_bytes) == (33, 44)


def test_no_network_is_no_traffic() -> None:
    found = measured(None, sample())

    assert (found.network_rx_bytes, found.network_tx_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("healthy", HealthStatus.HEALTHY),
        ("unhealthy", HealthStatus.UNHEALTHY),
        ("starting", HealthStatus.STARTING),
        ("", HealthStatus.UNKNOWN),
        ("none", HealthStatus.UNKNOWN),
    ],
)
def test_health_is_one_of_four(word: str, expected: HealthStatus) -> None:
    assert health_status(word) is expected


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        (80.0, 90.0, False),
        (80.1, 0.0, True),
        (0.0, 90.1, True),
        (80.1, 90.1, True),
        (None, None, False),
        (None, 90.1, True),
    ],
)
def test_only_what_is_above_a_limit_is_over_it(
    cpu: float | None, memory: float | None, expected: bool
) -> None:
    assert stats(cpu=cpu, memory=memory).check_limits() is expected


def test_limits_can_be_others() -> None:
    assert stats(cpu=50.1).check_limits(cpu=50.0)
    assert not stats(cpu=150.0).check_limits(cpu=200.0)
    assert stats(memory=30.5).check_limits(memory=30.0)


def test_looks_are_half_a_minute_apart_where_nothing_is_said() -> None:
    assert MetricsSettings().interval == 30
    assert inspect.signature(Stats.watch).parameters["interval"].default == 30


def test_a_container_that_has_gone_does_not_stay() -> None:
    usage = Usage("local")
    usage.measure([sample(cpu=1.0)], MACHINE)

    assert usage.measure([], MACHINE) == []
    (found,) = usage.measure([sample(10, cpu=2.0)], MACHINE)
    assert found.cpu_percent is None  # of the first look nothing is left


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), True),
        (Wanted("local"), True),
        (Wanted("edge"), False),
        (Wanted(name="w?b"), True),
        (Wanted(name=["db", "web"]), True),
        (Wanted(name="shop"), False),
        (Wanted(name="776562000000"), True),
        (Wanted(name="77656200000"), False),
        (Wanted(labels={"team": "blue"}), True),
        (Wanted(labels={"team": ""}), True),
        (Wanted(labels={"team": "red"}), False),
        (Wanted(labels={"tier": ""}), False),
    ],
)
def test_containers_are_chosen_by_what_they_are(wanted: Wanted, expected: bool) -> None:
    assert wanted.match(stats(labels={"team": "blue"})) is expected
