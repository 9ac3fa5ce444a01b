"""What a container has used, read from control groups of both versions and from the Engine's samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockbus_workers import cgroups
from dockbus_workers.cgroups import Files
from dockbus_workers.running.usage import Network, Sample, read_group, read_stats

ID = "5a" * 32


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    files.close()


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    write(tmp_path / "cpuacct/docker" / ID, cpuacct__usage="1500000000\n", cgroup__procs="")
    write(tmp_path / "memory/docker" / ID, memory__max_usage_in_bytes="1048576\n")
    write(
        tmp_path / "blkio/docker" / ID,
        blkio__throttle__io_service_bytes_recursive=(
            "8:0 Read 4096\n8:0 Write 100\n8:0 Sync 4196\n8:16 Read 4\nTotal 4200\n"
        ),
    )
    return tmp_path


@pytest.mark.parametrize("place", [f"docker/{ID}", f"system.slice/docker-{ID}.scope"])
def test_version_2_is_read_wherever_the_engine_puts_it(
    tmp_path: Path, place: str, files: Files
) -> None:
    write(
        tmp_path / place,
        cgroup__procs="",
        cpu__stat="usage_usec 1500000\nuser_usec 1000000\n",
        memory__peak="1048576\n",
        memory__current="1000\n",
        io__stat="8:0 rbytes=4096 wbytes=100 rios=1\n8:16 rbytes=4 wbytes=0\n",
    )
    group = cgroups.find(ID, None, tmp_path)

    assert group is not None
    assert read_group(group, files, None) == Sample(
        cpu_seconds=1.5, memory_peak=2**20, read_bytes=4100, write_bytes=100
    )


def test_an_older_version_2_has_no_peak_so_the_most_that_was_seen_counts(
    tmp_path: Path, files: Files
) -> None:
    place = tmp_path / "docker" / ID
    write(place, cgroup__procs="", cpu__stat="usage_usec 5\n", memory__current="3000\n")
    group = cgroups.find(ID, None, tmp_path)
    assert group is not None
    first = read_group(group, files, None)
    (place / "memory.current").write_text("2000\n")

    assert first.then(read_group(group, files, None)).memory_peak == 3000


def test_version_1_is_read(v1: Path, files: Files) -> None:
    group = cgroups.find(ID, None, v1)

    assert group is not None
    assert read_group(group, files, Network()) == Sample(
        cpu_seconds=1.5, memory_peak=2**20, read_bytes=4100, write_bytes=100
    )


def test_what_has_ended_takes_nothing_back(v1: Path, files: Files) -> None:
    group = cgroups.find(ID, None, v1)
    assert group is not None
    last = read_group(group, files, None)
    for file in v1.rglob("*.*"):
        file.unlink()
    files.close()  # one of a control group that is gone fails although it is open; these would not

    gone = read_group(group, files, None)

    assert gone == Sample()
    assert last.then(gone) == last == gone.then(last)


def test_a_file_that_cannot_be_read_any_more_is_opened_anew(tmp_path: Path, files: Files) -> None:
    path = tmp_path / "cpuacct.usage"
    path.mkdir()  # opens, as one of a group that is gone has been opened, and fails when it is read
    with pytest.raises(OSError, match="directory"):
        files.text(str(path))
    path.rmdir()
    path.write_text("1\n")

    assert files.text(str(path)) == "1\n"


STATS: dict[str, Any] = {
    "read": "2026-01-01T00:00:00Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
    "memory_stats": {"usage": 1000, "max_usage": 2000},
    "networks": {
        "eth0": {"rx_bytes": 1, "tx_bytes": 2},
        "eth1": {"rx_bytes": 10, "tx_bytes": 20},
    },
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"op": "Read", "value": 3},
            {"op": "write", "value": 4},
            {"op": "Total", "value": 7},
        ]
    },
}


def test_the_engines_samples_are_read() -> None:
    assert read_stats(STATS, network=True) == Sample(
        cpu_seconds=1.5, memory_peak=2000, rx_bytes=11, tx_bytes=22, read_bytes=3, write_bytes=4
    )
    assert read_stats(STATS, network=False).rx_bytes is None


def test_the_last_sample_of_one_that_has_ended_is_no_sample() -> None:
    assert read_stats({"read": "0001-01-01T00:00:00Z"}, network=True) == Sample()
