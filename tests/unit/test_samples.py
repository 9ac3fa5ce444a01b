from __future__ import annotations

import copy
from typing import Any

import pytest

from dockbus.engine import Container
from dockbus_workers.metrics.samples import TRAFFIC, Facts, Sample

ID = "6c67b8c7c627a0eefcf438233ca46d3d74982210a5e5bbc3f2f955a2b0dfa67d"
ZERO_TIME = "0001-01-01T00:00:00Z"
CONTAINER = Container(
    id=ID,
    name="web",
    image="sha256:fba1281c5c93",
    image_id="sha256:fba1281c5c93",
    state="running",
    labels={"com.docker.compose.project": "shop"},
)
INSPECTED: dict[str, Any] = {
    "Id": ID,
    "State": {"StartedAt": "2026-11-21T22:39:42.5Z"},
    "Config": {"Image": "shop/web:3"},
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
    },
    "precpu_stats": {"cpu_usage": {"total_usage": 0}},
    "memory_stats": {
        "usage": 2379776,
        "max_usage": 4075520,
        "stats": {
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
    "blkio_stats": {"io_service_bytes_recursive": [{"major": 8, "op": "read", "value": 4096}]},
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


def parse(
    stats: dict[str, Any],
    *,
    network: str = "bridge",
    started: str = INSPECTED["State"]["StartedAt"],
) -> Sample:
    inspected = copy.deepcopy(INSPECTED)
    inspected["HostConfig"]["NetworkMode"] = network
    inspected["State"]["StartedAt"] = started
    sample = Sample.parse(CONTAINER, Facts.parse(inspected), stats)
    assert sample is not None
    return sample


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

    assert (sample.id, sample.name) == (ID, "web")
    assert sample.image == "shop/web:3", "the listing's bare ID tells a reader nothing"
    assert sample.labels == {"com.docker.compose.project": "shop"}
    assert sample.started is not None
    assert sample.seen - sample.started == pytest.approx(0.972448)


def test_the_limit_is_what_was_asked_for_not_the_memory_of_the_host() -> None:
    unlimited = copy.deepcopy(INSPECTED)
    unlimited["HostConfig"]["Memory"] = 0

    sample = Sample.parse(CONTAINER, Facts.parse(unlimited), V2)

    assert sample is not None
    assert sample.memory_limit == 0
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
    assert not any(parse(V1, network=f"container:{ID}").traffic.values())


@pytest.mark.parametrize("networks", [{}, {"networks": None}, {"networks": {}}])
def test_on_the_hosts_network_there_is_no_traffic_rather_than_none_of_it(
    networks: dict[str, Any],
) -> None:
    stats = {key: value for key, value in V1.items() if key != "networks"} | networks

    assert not any(parse(stats, network="host").traffic.values())


def test_the_zero_frame_of_a_stopped_container_is_no_sample() -> None:
    zero = {
        "read": ZERO_TIME,
        "blkio_stats": {"io_service_bytes_recursive": None},
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {},
    }

    assert Sample.parse(CONTAINER, Facts.parse(INSPECTED), zero) is None


@pytest.mark.parametrize("memory", [{}, None, {"stats": {}}])
def test_memory_that_is_not_told_is_not_zero(memory: dict[str, Any] | None) -> None:
    sample = parse(V1 | {"memory_stats": memory})

    assert (sample.memory, sample.memory_working_set) == (None, None)
    assert (sample.memory_rss, sample.memory_cache) == (None, None)


def test_the_working_set_is_never_negative() -> None:
    memory = {"usage": 4096, "stats": {"inactive_file": 8192}}

    assert parse(V1 | {"memory_stats": memory}).memory_working_set == 0


def test_a_container_that_was_never_started_has_no_start() -> None:
    assert parse(V1, started=ZERO_TIME).started is None
