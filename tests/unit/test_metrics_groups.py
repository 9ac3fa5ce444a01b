"""A container's use from the files of its control group, of both versions, wherever the Engine's driver puts them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from dockbus_workers import cgroups
from dockbus_workers.cgroups import Files
from dockbus_workers.metrics.groups import Watched, path_of
from dockbus_workers.metrics.samples import Facts

ID = "5a" * 32
PID = 4711
NET = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:      99       9    0    0    0     0          0         0       99       9    0    0    0     0       0          0
  eth0:     736       8    1    2    0     0          0         0      100       5    3    4    0     0       0          0
  sit0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
"""
V1 = {
    "cpuacct/cpuacct.usage": "1500000000\n",
    "cpuacct/cpuacct.stat": "user 110\nsystem 40\n",
    "cpu/cpu.stat": "nr_periods 7\nnr_throttled 3\nthrottled_time 2500000000\n",
    "memory/memory.usage_in_bytes": "1048576\n",
    "memory/memory.max_usage_in_bytes": "2097152\n",
    "memory/memory.failcnt": "4\n",
    "memory/memory.stat": (
        "cache 1\nrss 2\npgfault 3\ntotal_cache 4096\ntotal_rss 8192\ntotal_mapped_file 512\n"
        "total_inactive_file 1024\ntotal_swap 77\ntotal_pgfault 1000\ntotal_pgmajfault 5\n"
    ),
    "pids/pids.current": "6\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": (
        "8:0 Read 4096\n8:0 Write 100\n8:0 Sync 4196\n8:16 Read 4\nTotal 4200\n"
    ),
}
V2 = {
    "cgroup.procs": f"{PID}\n",
    "cpu.stat": (
        "usage_usec 1500000\nuser_usec 1100000\nsystem_usec 400000\n"
        "nr_periods 7\nnr_throttled 3\nthrottled_usec 2500000\n"
    ),
    "memory.current": "1048576\n",
    "memory.peak": "2097152\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 4\noom_kill 2\n",
    "memory.stat": "anon 8192\nfile 4096\nfile_mapped 512\ninactive_file 1024\npgfault 1000\npgmajfault 5\n",
    "memory.swap.current": "77\n",
    "pids.current": "6\n",
    "io.stat": "8:0 rbytes=4096 wbytes=100 rios=1 wios=1\n8:16 rbytes=4 wbytes=0 rios=1\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}


def facts(**host: Any) -> Facts:
    return Facts.parse(
        {
            "Id": ID,
            "Name": "/web",
            "State": {"Status": "running", "Pid": PID},
            "Config": {"Image": "shop/web:3"},
            "HostConfig": host,
        }
    )


@pytest.fixture
def files() -> Generator[Files]:
    files = Files()
    yield files
    files.close()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_v1(root: Path, path: str) -> None:
    for name, text in V1.items():
        controller, _, file = name.partition("/")
        write(root / controller / path, {file: text})


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """The processes of the Engine's machine, with the container's first one."""
    told = f"4:memory:/docker/{ID}\n0::/docker/{ID}\n"
    write(tmp_path / "proc" / str(PID), {"cgroup": told, "net/dev": NET})
    return tmp_path / "proc"


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_say_the_same(tmp_path: Path, proc: Path, files: Files, version: int) -> None:
    if version == 1:
        write_v1(tmp_path, f"docker/{ID}")
    else:
        write(tmp_path / "docker" / ID, V2)

    watched = Watched.find(facts(), tmp_path, proc, files)

    assert watched is not None
    assert (watched.group.version, watched.group.path) == (version, f"/docker/{ID}")
    use = watched.read()
    assert (use.cpu, use.cpu_user, use.cpu_system) == (1.5, 1.1, 0.4)
    assert (use.cpu_periods, use.cpu_throttled_periods, use.cpu_throttled) == (7, 3, 2.5)
    assert (use.memory, use.memory_working_set) == (1048576, 1048576 - 1024)
    assert (use.memory_rss, use.memory_cache, use.memory_mapped) == (8192, 4096, 512)
    assert (use.memory_swap, use.memory_peak, use.memory_failures) == (77, 2097152, 4)
    assert (use.page_faults, use.major_page_faults, use.pids) == (1000, 5, 6)
    assert use.moved == {"8:0": (4096, 100), "8:16": (4, 0)}
    assert {word: counts["eth0"] for word, counts in use.traffic.items()} == {
        "receive_bytes": 736,
        "receive_packets": 8,
        "receive_errors": 1,
        "receive_packets_dropped": 2,
        "transmit_bytes": 100,
        "transmit_packets": 5,
        "transmit_errors": 3,
        "transmit_packets_dropped": 4,
    }
    assert all(counts.keys() == {"eth0"} for counts in use.traffic.values()), "tunnels are no one's"


def test_version_2_tells_what_had_to_wait(tmp_path: Path, proc: Path, files: Files) -> None:
    write(tmp_path / "docker" / ID, V2)
    watched = Watched.find(facts(), tmp_path, proc, files)

    assert watched is not None
    assert watched.read().pressure == {
        "cpu_waiting": 0.25,
        "cpu_stalled": 0.001,
        "memory_waiting": 0.0,
    }


def test_an_older_kernel_leaves_some_of_it_out(tmp_path: Path, proc: Path, files: Files) -> None:
    old = {"cgroup.procs", "cpu.stat", "memory.current", "memory.stat", "pids.current"}
    write(tmp_path / "docker" / ID, {name: text for name, text in V2.items() if name in old})
    watched = Watched.find(facts(), tmp_path, proc, files)

    assert watched is not None
    use = watched.read()
    assert (use.memory_peak, use.memory_swap, use.memory_failures) == (None, None, None)
    assert (use.moved, use.pressure) == ({}, {})


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        (f"docker/{ID}", ""),
        (f"system.slice/docker-{ID}.scope", ""),
        (f"mine/{ID}", "/mine"),
        (f"mine.slice/docker-{ID}.scope", "mine.slice"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_group_is_found_wherever_the_engine_puts_it(
    tmp_path: Path, path: str, parent: str, version: int
) -> None:
    if version == 1:
        write_v1(tmp_path, path)
    else:
        write(tmp_path / path, V2)

    group = cgroups.find(ID, parent, tmp_path)

    assert group is not None
    assert (group.path, group.version) == (f"/{path}", version)
    assert group.path == path_of(facts(CgroupParent=parent), "systemd" if "scope" in path else "")


def test_a_group_below_another_parent_is_found_there_only(tmp_path: Path) -> None:
    write(tmp_path / "mine" / ID, V2)

    assert cgroups.find(ID, "/mine", tmp_path)
    assert cgroups.find(ID, None, tmp_path) is None


@pytest.mark.parametrize("begin", ["", "/../.."])
def test_a_group_in_an_unusual_place_is_told_by_its_process(tmp_path: Path, begin: str) -> None:
    path = f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"
    write(tmp_path / path.lstrip("/"), V2)

    group = cgroups.find(ID, "", tmp_path, f"0::{begin}{path}\n")

    assert group is not None
    assert group.path == path


def test_another_process_with_the_same_number_is_not_taken_for_it(
    tmp_path: Path, files: Files
) -> None:
    write(tmp_path / "docker" / ID, V2)
    write(tmp_path / "proc" / str(PID), {"cgroup": "0::/init.scope\n", "net/dev": NET})

    assert Watched.find(facts(), tmp_path, tmp_path / "proc", files) is None
    alone = Watched.find(facts(NetworkMode="host"), tmp_path, tmp_path / "proc", files)
    assert alone is not None, "without a network of its own no process is needed"
    assert not any(alone.read().traffic.values())


@pytest.mark.parametrize("missing", ["memory.stat", "cpu.stat", "pids.current"])
def test_what_cannot_be_read_whole_is_not_read(
    tmp_path: Path, proc: Path, files: Files, missing: str
) -> None:
    write(tmp_path / "docker" / ID, V2)
    (tmp_path / "docker" / ID / missing).unlink()

    assert Watched.find(facts(), tmp_path, proc, files) is None


def test_where_there_are_no_control_groups_there_is_nothing(
    tmp_path: Path, proc: Path, files: Files
) -> None:
    assert Watched.find(facts(), tmp_path / "nowhere", proc, files) is None


def test_what_has_ended_is_an_error_and_no_zero(
    tmp_path: Path, proc: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_most", 0)  # a plain file that is open can be read to the last
    write(tmp_path / "docker" / ID, V2)
    watched = Watched.find(facts(NetworkMode="none"), tmp_path, proc, files)
    assert watched is not None
    (tmp_path / "docker" / ID / "memory.current").unlink()

    with pytest.raises(FileNotFoundError):
        watched.read()


def test_files_are_opened_once_and_let_go_with_their_container(
    tmp_path: Path, proc: Path, files: Files
) -> None:
    def open_now() -> int:
        return sum(
            str(link.readlink()).startswith(str(tmp_path / "docker"))
            for link in list(Path("/proc/self/fd").iterdir())
            if link.is_symlink()
        )

    write(tmp_path / "docker" / ID, V2)
    watched = Watched.find(facts(), tmp_path, proc, files)
    assert watched is not None
    opened = open_now()
    (tmp_path / "docker" / ID / "pids.current").write_text("9\n")

    assert watched.read().pids == 9
    assert open_now() == opened >= 9
    watched.forget()
    assert open_now() == 0
    assert watched.read().pids == 9


def test_no_more_files_are_kept_open_than_this_process_can_spare(
    tmp_path: Path, proc: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_most", 3)
    write(tmp_path / "docker" / ID, V2)

    watched = Watched.find(facts(), tmp_path, proc, files)

    assert watched is not None
    assert watched.read().memory == 1048576
    assert len(files._open) == 3
