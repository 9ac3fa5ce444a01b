"""A container's use from the Engine's answers, as Engines of both kinds give them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dockbus_workers.metrics.samples import TRAFFIC, Facts, Sample, parse_stats

ID = "6c67b8c7c627a0eefcf438233ca46d3d74982210a5e5bbc3f2f955a2b0dfa67d"
ZERO_TIME = "0001-01-01T00:00:00Z"
INSPECTED: dict[str, Any] = {
    "Id": ID,
    "Name": "/web",
    "Created": "2026-11-21T22:39:42.25Z",
    "State": {"Status": "running", "Pid": 4711, "StartedAt": "2026-11-21T22:39:42.5Z"},
    "Config": {"Image": "shop/web:3", "Labels": {"com.docker.compose.project": "shop"}},
    "HostConfig": {"Memory": 67108864, "NetworkMode": "bridge"},
}
# As Engine 20.10 answers on cgroup v1, and 26.1 on v2, cut down to what is near to what is read.
V1: dict[str, Any] = {
    "read": "2026-11-21T22:39:43.472448402Z",
    "preread": ZERO_TIME,
    "blkio_stats": {"io_service_bytes_recursive": None},
    "cpu_stats": {
        "cpu_usage": {
            "total_usage": 1055167648,
            "percpu_usage": [15730637, 1039437011],
            "usage_in_kernelmode": 10000000,
            "usage_in_usermode": 1040000000,
        },
        "system_cpu_usage": 4165370000000,
        "online_cpus": 2,
        "throttling_data": {"periods": 7, "throttled_periods": 3, "throttled_time": 1500000000},
    },
    "pids_stats": {"current": 5, "limit": 1024},
    "precpu_stats": {"cpu_usage": {"total_usage": 0}},
    "memory_stats": {
        "usage": 2379776,
        "max_usage": 4075520,
        "failcnt": 9,
        "stats": {
            "pgfault": 1,
            "total_pgfault": 1083,
            "total_pgmajfault": 2,
            "total_mapped_file": 8000,
            "cache": 4096,
            "inactive_file": 8192,
            "rss": 12288,
            "total_cache": 1904640,
            "total_inactive_file": 1888256,
            "total_rss": 65536,
        },
        "limit": 67108864,
    },
    "networks": {
        "eth0": {
            "rx_bytes": 486,
            "rx_packets": 5,
            "rx_errors": 1,
            "rx_dropped": 2,
            "tx_bytes": 736,
            "tx_packets": 7,
            "tx_errors": 3,
            "tx_dropped": 4,
        }
    },
}
V2: dict[str, Any] = V1 | {
    "blkio_stats": {
        "io_service_bytes_recursive": [{"major": 8, "minor": 0, "op": "read", "value": 4096}]
    },
    "cpu_stats": {
        "cpu_usage": {
            "total_usage": 52341000,
            "usage_in_kernelmode": 21000000,
            "usage_in_usermode": 31341000,
        },
        "online_cpus": 2,
    },
    "memory_stats": {
        "usage": 9957376,
        "stats": {"anon": 1900544, "file": 7372800, "inactive_file": 6291456, "active_file": 0},
        "limit": 8326148096,
    },
}


def facts(*, state: dict[str, Any] | None = None, **host: Any) -> Facts:
    inspected = copy.deepcopy(INSPECTED)
    inspected["State"] |= state or {}
    inspected["HostConfig"] |= host
    return Facts.parse(inspected)


def parse(stats: dict[str, Any], **host: Any) -> Sample:
    known = facts(**host)
    use = parse_stats(stats, known.network)
    assert use is not None
    return Sample.of(known, f"/docker/{ID}", use)


def test_cgroup_v1_counts_a_container_with_its_children() -> None:
    sample = parse(V1)

    assert sample.cpu == pytest.approx(1.055167648)
    assert (sample.cpu_user, sample.cpu_system) == (1.04, 0.01)
    assert sample.memory == 2379776
    assert sample.memory_working_set == 2379776 - 1888256
    assert (sample.memory_rss, sample.memory_cache) == (65536, 1904640)


def test_cgroup_v2() -> None:
    sample = parse(V2)

    assert sample.cpu == pytest.approx(0.052341)
    assert sample.memory_working_set == 9957376 - 6291456
    assert (sample.memory_rss, sample.memory_cache) == (1900544, 7372800)


def test_a_sample_tells_which_container_it_is_of() -> None:
    sample = parse(V1)

    assert (sample.id, sample.name) == (ID, "web"), "newer Engines leave both out of the answer"
    assert sample.image == "shop/web:3", "the listing's bare ID tells a reader nothing"
    assert sample.labels == {"com.docker.compose.project": "shop"}
    assert sample.started is not None
    assert sample.seen - sample.started == pytest.approx(0.972448)


def test_the_limit_is_what_was_asked_for_not_the_memory_of_the_host() -> None:
    assert parse(V2, Memory=0).memory_limit == 0
    assert parse(V2).memory_limit == 67108864


def test_every_count_of_an_interface_is_read_from_its_own_field() -> None:
    counts = parse(V1).traffic

    assert set(counts) == set(TRAFFIC)
    assert {word: value["eth0"] for word, value in counts.items()} == {
        "receive_bytes": 486,
        "receive_packets": 5,
        "receive_errors": 1,
        "receive_packets_dropped": 2,
        "transmit_bytes": 736,
        "transmit_packets": 7,
        "transmit_errors": 3,
        "transmit_packets_dropped": 4,
    }


def test_traffic_in_another_containers_network_is_not_counted_twice() -> None:
    assert not any(parse(V1, NetworkMode=f"container:{ID}").traffic.values())


@pytest.mark.parametrize("networks", [{}, {"networks": None}, {"networks": {}}])
def test_on_the_hosts_network_there_is_no_traffic_rather_than_none_of_it(
    networks: dict[str, Any],
) -> None:
    stats = {key: value for key, value in V1.items() if key != "networks"} | networks

    assert not any(parse(stats, NetworkMode="host").traffic.values())


def test_the_zero_frame_of_a_stopped_container_is_no_sample() -> None:
    zero = {
        "read": ZERO_TIME,
        "blkio_stats": {"io_service_bytes_recursive": None},
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {},
    }

    assert parse_stats(zero) is None


@pytest.mark.parametrize("memory", [{}, None, {"stats": {}}])
def test_memory_that_is_not_told_is_not_zero(memory: dict[str, Any] | None) -> None:
    sample = parse(V1 | {"memory_stats": memory})

    assert (sample.memory, sample.memory_working_set) == (None, None)
    assert (sample.memory_rss, sample.memory_cache) == (None, None)


def test_the_working_set_is_never_negative() -> None:
    memory = {"usage": 4096, "stats": {"inactive_file": 8192}}

    assert parse(V1 | {"memory_stats": memory}).memory_working_set == 0


def test_a_container_that_was_never_started_has_no_start() -> None:
    assert facts(state={"StartedAt": ZERO_TIME}).started is None


def test_limits_are_those_that_were_asked_for() -> None:
    limited = facts(
        NanoCpus=1_500_000_000,
        CpuShares=512,
        MemorySwap=-1,
        MemoryReservation=4096,
        PidsLimit=None,
    )
    given = facts(CpuQuota=20_000, CpuPeriod=50_000, PidsLimit=-1)

    assert (limited.cpu_quota, limited.cpu_period, limited.cpu_shares) == (150_000, 100_000, 512)
    assert (limited.memory_swap_limit, limited.memory_reservation) == (0, 4096)
    assert (given.cpu_quota, given.cpu_period, given.cpu_shares) == (20_000, 50_000, 1024)
    assert (limited.pids_limit, given.pids_limit, facts(PidsLimit=64).pids_limit) == (0, 0, 64)


def test_all_else_that_the_engine_tells_is_read() -> None:
    sample = parse(V1)

    assert (sample.cpu_periods, sample.cpu_throttled_periods, sample.cpu_throttled) == (7, 3, 1.5)
    assert (sample.memory_peak, sample.memory_failures, sample.memory_mapped) == (4075520, 9, 8000)
    assert (sample.page_faults, sample.major_page_faults, sample.pids) == (1083, 2, 5)
    assert sample.memory_swap is None, "the Engine does not say"


@pytest.mark.parametrize("entries", [None, []])
def test_a_kernel_that_counts_no_block_io_gives_no_zeros(entries: list[Any] | None) -> None:
    for blkio in ({}, {"io_service_bytes_recursive": entries}, None):
        assert parse(V1 | {"blkio_stats": blkio}).moved == {}


def test_block_io_is_counted_once_for_each_device() -> None:
    def entry(minor: int, op: str, value: int) -> dict[str, Any]:
        return {"major": 8, "minor": minor, "op": op, "value": value}

    v1 = [entry(0, "Read", 10), entry(0, "Write", 4), entry(0, "Sync", 14), entry(0, "Total", 14)]
    v2 = [entry(0, "read", 10), entry(0, "write", 4), entry(16, "read", 1), entry(16, "write", 0)]

    assert parse(V1 | {"blkio_stats": {"io_service_bytes_recursive": v1}}).moved == {"8:0": (10, 4)}
    assert parse(V2 | {"blkio_stats": {"io_service_bytes_recursive": v2}}).moved == {
        "8:0": (10, 4),
        "8:16": (1, 0),
    }


@pytest.mark.parametrize(
    ("state", "runs"),
    [("running", True), ("paused", True), ("exited", False), ("restarting", False)],
)
def test_only_what_has_processes_is_measured(state: str, runs: bool) -> None:
    assert facts(state={"Status": state}).runs is runs


def test_a_container_without_a_healthcheck_has_no_health() -> None:
    assert facts().health == facts(state={"Health": {"Status": "none"}}).health == ""
    assert facts(state={"Health": {"Status": "unhealthy"}}).health == "unhealthy"
