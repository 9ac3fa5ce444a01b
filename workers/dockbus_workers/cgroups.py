"""Where a container's control group is on this machine, and what its files say; versions 1 and 2, any driver.

A worker that sees the control groups of its Engine's machine need not ask the Engine. Paths are guessed as the Engine's
two drivers make them, or told by `/proc`; only a folder that bears the container's own ID is ever taken for it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")
CONTROLLERS = ("cpuacct", "cpu", "memory", "blkio", "pids")
"""Those whose files are read, as version 1 calls their folders."""
TUNNELS = frozenset(
    [
        "lo",
        "tunl0",
        "sit0",
        "ip6tnl0",
        "ip_vti0",
        "ip6_vti0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip6gre0",
        "tap0",
    ]
)
"""Interfaces that the kernel puts into every network; the Engine counts none of them."""
SIZE = 16384
"""Bytes of a file that are read, of which the longest has some thousand."""
COUNTS = ("bytes", "packets", "errors", "packets_dropped")
"""The first columns of `/proc/PID/net/dev`, in either direction."""

Moved = Mapping[str, tuple[int, int]]
"""Bytes read and written, by device, such as `8:0`."""
Traffic = Mapping[str, tuple[int, ...]]
"""By interface: what it has received, then what it has sent, each as `COUNTS`."""


@dataclass(frozen=True)
class Group:
    """A control group."""

    path: str
    """As the kernel calls it, such as `/docker/ID`."""
    version: int
    folders: Mapping[str, str]
    """Its folder for each of `CONTROLLERS`; in version 2 always the same one."""

    def text(self, controller: str, file: str, files: Files | None = None) -> str:
        """What one of its files says; with `files`, which keep it open.

        Raises:
            OSError: there is no such file, or no such group any more.
        """
        path = f"{self.folders[controller]}/{file}"
        return files.text(path) if files else text(path)


class Files:
    """Small files that are read again and again: each is opened once, as long as that leaves this process half of what it may have.

    To open a file of a control group takes five times as long as to read it. One whose group is gone says so when it is read.
    """

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = soft // 2 if soft != resource.RLIM_INFINITY else 10**6
        self._open: dict[str, int] = {}

    def text(self, path: str) -> str:
        """What one says now.

        Raises:
            OSError: it is not there, or not any more.
        """
        file = self._open.get(path)
        if file is None:
            if len(self._open) >= self._most:
                return text(path)
            file = self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, SIZE, 0).decode()
        except (
            OSError
        ):  # its group is gone; another of its name may come, as when a container is started again
            os.close(self._open.pop(path))
            raise

    def forget(self, group: Group) -> None:
        """Close those of this group."""
        folders = set(group.folders.values())
        for path in [one for one in self._open if one.rpartition("/")[0] in folders]:
            os.close(self._open.pop(path))

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1])


def find(container: str, parent: str | None, root: Path = ROOT, told: str = "") -> Group | None:
    """A container's control group, or None where it is not seen.

    Args:
        container: its whole ID.
        parent: `CgroupParent` of its `HostConfig`; may be empty or None.
        root: where control groups are mounted.
        told: what `/proc/PID/cgroup` says of its first process, if that is known.
    """
    for path in _paths(container, parent, told):
        # Looked for again and again until it is there: `pathlib` would take ten times as long.
        if os.path.exists(f"{root}{path}/cgroup.procs"):  # noqa: PTH110
            return Group(path, 2, dict.fromkeys(CONTROLLERS, f"{root}{path}"))
        if os.path.exists(f"{root}/cpuacct{path}"):  # noqa: PTH110
            return Group(path, 1, {name: f"{root}/{name}{path}" for name in CONTROLLERS})
    return None


def _paths(container: str, parent: str | None, told: str) -> Iterator[str]:
    for base in [f"/{parent.strip('/')}"] if parent else ["/docker", "/system.slice"]:
        yield f"{base}/{container}"
        yield f"{base}/docker-{container}.scope"
    for line in told.splitlines():
        path = line.split(":", 2)[-1]
        if container in path:  # else it is another process, of another machine perhaps
            yield "/" + path.lstrip("/.")  # `/../..` is where our own namespace begins


def text(path: str) -> str:
    """A small file in one read: a kernel's file is told as of one moment so.

    Raises:
        OSError: it is not there, or not to be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, SIZE).decode()
    finally:
        os.close(file)


def numbers(said: str) -> dict[str, int]:
    """Lines of a name and a number, such as `memory.stat`."""
    words = said.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def moved_v1(said: str) -> Moved:
    """What `blkio.throttle.io_service_bytes_recursive` says; the total of each device is left out."""
    sums: dict[str, tuple[int, int]] = {}
    for line in said.splitlines():
        device, _, rest = line.partition(" ")
        verb, _, count = rest.partition(" ")
        read, written = sums.get(device, (0, 0))
        if verb == "Read":
            sums[device] = (read + int(count), written)
        elif verb == "Write":
            sums[device] = (read, written + int(count))
    return sums


def moved_v2(said: str) -> Moved:
    """What `io.stat` says."""
    sums: dict[str, tuple[int, int]] = {}
    for line in said.splitlines():
        device, *pairs = line.split()
        counts = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if "rbytes" in counts:
            sums[device] = (int(counts["rbytes"]), int(counts.get("wbytes", 0)))
    return sums


def traffic(said: str) -> Traffic:
    """What `/proc/PID/net/dev` says of the interfaces that a container was given."""
    found: dict[str, tuple[int, ...]] = {}
    for line in said.splitlines()[2:]:
        name, _, columns = line.partition(":")
        if (name := name.strip()) not in TUNNELS:
            words = columns.split()
            found[name] = tuple(map(int, [*words[0:4], *words[8:12]]))
    return found
