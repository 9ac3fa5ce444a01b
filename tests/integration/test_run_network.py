"""The network of a control group's first process, on the machine's own control groups."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from secrets import token_hex

import pytest

from dockbus_workers.cgroups import CONTROLLERS, ROOT, Group
from dockbus_workers.running.usage import EVERY, Network
from waiting import wait_for

APART = ("unshare", "--net")
"""In front of a program: on a network of its own."""


@pytest.fixture
def group() -> Generator[Group]:
    """A control group without a process."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        (pytest.fail if os.environ.get("CI") or os.environ.get("DOCKBUS_CI") else pytest.skip)(
            "control groups and networks can be made as root only, with util-linux"
        )
    version, above = (1, ROOT / "cpuacct") if (ROOT / "cpuacct").exists() else (2, ROOT)
    folder = above / f"dockbus-test-{token_hex(4)}"
    folder.mkdir()
    yield Group(f"/{folder.name}", version, dict.fromkeys(CONTROLLERS, str(folder)))
    wait_for(lambda: not members(folder), what="its processes to be gone")
    folder.rmdir()


@contextlib.contextmanager
def process(group: Group, *words: str) -> Generator[None]:
    """A process in the group, to the end of the block."""
    running = subprocess.Popen([*words, "sleep", "1000"])
    try:
        (Path(group.folders["cpuacct"]) / "cgroup.procs").write_text(str(running.pid))
        yield
    finally:
        running.kill()
        running.wait()


def members(folder: Path) -> str:
    return (folder / "cgroup.procs").read_text()


def looked(network: Network, group: Group) -> Callable[[], object]:
    """A look at the network that says whether there was one; often enough for version 1 to keep what it told first."""
    return lambda: network.traffic(group) is not None


def test_a_process_that_comes_later_is_found(group: Group) -> None:
    network = Network()
    assert network.traffic(group) is None

    with process(group, *APART):
        wait_for(looked(network, group), 10 * EVERY + 5, "its network")


def test_its_successor_on_another_network_is_found(group: Group) -> None:
    network = Network()
    with process(group, *APART):
        wait_for(looked(network, group), what="the first one's network")
    wait_for(lambda: network.traffic(group) is None, what="no network")

    with process(group, *APART):
        wait_for(looked(network, group), what="the second one's network")


def test_a_process_on_our_own_network_has_none_of_its_own(group: Group) -> None:
    network = Network()
    with process(group):
        assert members(Path(group.folders["cpuacct"]))
        assert network.traffic(group) is None
