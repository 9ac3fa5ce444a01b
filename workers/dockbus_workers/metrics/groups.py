"""A container's resource use from the files of its control group, in a twentieth of a millisecond and without the Engine.

The numbers are the Engine's own, for it reads the same files; swap, pressure and the peak of version 2 it does not tell.
A worker that sees some of the files and not all it needs for a container asks the Engine for that one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockbus_workers import cgroups
from dockbus_workers.cgroups import COUNTS, Files, Group
from dockbus_workers.metrics.samples import Detail, Facts, Use

TICKS = 100
"""Of the clock that `cpuacct.stat` counts in, each second: the kernel's for all user programs."""
WORDS = [f"{direction}_{what}" for direction in ("receive", "transmit") for what in COUNTS]
"""The columns of `cgroups.traffic`."""

Text = Callable[[str, str], str]
"""What a file says, by controller and name."""


def path_of(facts: Facts, driver: str) -> str:
    """The path of a container's control group, as the Engine's driver makes it."""
    parent = facts.cgroup_parent.strip("/")
    if driver == "systemd":
        return f"/{parent or 'system.slice'}/docker-{facts.id}.scope"
    return f"/{parent or 'docker'}/{facts.id}"


@dataclass(frozen=True)
class Watched:
    """A container whose use this worker reads itself."""

    group: Group
    pid: int
    """Its first process, for which this was found."""
    network: str
    """The file that counts its traffic; empty where it has no network of its own."""
    files: Files
    """Where those of its group are kept open. That of the network is not: it would hold the whole network."""

    @classmethod
    def find(cls, facts: Facts, root: Path, proc: Path, files: Files) -> Watched | None:
        """It, if all that is needed for this container can be read."""
        told = ""
        with suppress(OSError):
            told = cgroups.text(f"{proc}/{facts.pid}/cgroup")
        group = cgroups.find(facts.id, facts.cgroup_parent, root, told)
        if group is None:
            return None
        own = facts.network == "own"
        if own and facts.id not in told:  # the process with this number is another one
            return None
        found = cls(group, facts.pid, f"{proc}/{facts.pid}/net/dev" if own else "", files)
        try:
            found.read()
        except (OSError, ValueError, KeyError):
            found.forget()
            return None
        return found

    def forget(self) -> None:
        """Keep none of its files open."""
        self.files.forget(self.group)

    def read(self) -> Use:
        """What it uses now.

        Raises:
            OSError: it has ended.
        """
        # The network first: while the group is still there, so is its process, and its number is nobody else's.
        counts = cgroups.traffic(cgroups.text(self.network) if self.network else "")
        traffic: Mapping[str, Mapping[str, int]] = {
            word: {name: each[column] for name, each in counts.items()}
            for column, word in enumerate(WORDS)
        }
        numbers = _v2(self._text) if self.group.version == 2 else _v1(self._text)
        return Use(seen=time.time(), traffic=traffic, **numbers)

    def _text(self, controller: str, file: str) -> str:
        return self.group.text(controller, file, self.files)


def _v1(text: Text) -> dict[str, Any]:
    acted = cgroups.numbers(text("cpuacct", "cpuacct.stat"))
    throttled = cgroups.numbers(text("cpu", "cpu.stat"))
    detail = Detail(cgroups.numbers(text("memory", "memory.stat")))
    usage = int(text("memory", "memory.usage_in_bytes"))
    return {
        "cpu": int(text("cpuacct", "cpuacct.usage")) / 1e9,
        "cpu_user": acted["user"] / TICKS,
        "cpu_system": acted["system"] / TICKS,
        "cpu_periods": throttled["nr_periods"],
        "cpu_throttled_periods": throttled["nr_throttled"],
        "cpu_throttled": throttled["throttled_time"] / 1e9,
        "memory": usage,
        "memory_swap": detail.get("swap", "swap"),
        "memory_peak": int(text("memory", "memory.max_usage_in_bytes")),
        "memory_failures": int(text("memory", "memory.failcnt")),
        "moved": cgroups.moved_v1(
            _perhaps(text, "blkio", "blkio.throttle.io_service_bytes_recursive")
        ),
        "pids": int(text("pids", "pids.current")),
        **_memory(detail, usage),
    }


def _v2(text: Text) -> dict[str, Any]:
    cpu = cgroups.numbers(text("cpu", "cpu.stat"))
    detail = Detail(cgroups.numbers(text("memory", "memory.stat")))
    usage = int(text("memory", "memory.current"))
    return {
        "cpu": cpu["usage_usec"] / 1e6,
        "cpu_user": cpu["user_usec"] / 1e6,
        "cpu_system": cpu["system_usec"] / 1e6,
        "cpu_periods": cpu.get("nr_periods"),
        "cpu_throttled_periods": cpu.get("nr_throttled"),
        "cpu_throttled": cpu["throttled_usec"] / 1e6 if "throttled_usec" in cpu else None,
        "memory": usage,
        "memory_swap": _number(_perhaps(text, "memory", "memory.swap.current")),
        "memory_peak": _number(_perhaps(text, "memory", "memory.peak")),
        "memory_failures": cgroups.numbers(_perhaps(text, "memory", "memory.events")).get("oom"),
        "moved": cgroups.moved_v2(_perhaps(text, "blkio", "io.stat")),
        "pids": int(text("pids", "pids.current")),
        "pressure": _pressure(text),
        **_memory(detail, usage),
    }


def _memory(detail: Detail, usage: int) -> dict[str, int | None]:
    return {
        "memory_working_set": detail.working_set(usage),
        "memory_rss": detail.get("rss", "anon"),
        "memory_cache": detail.get("cache", "file"),
        "memory_mapped": detail.get("mapped_file", "file_mapped"),
        "page_faults": detail.get("pgfault", "pgfault"),
        "major_page_faults": detail.get("pgmajfault", "pgmajfault"),
    }


def _pressure(text: Text) -> Mapping[str, float]:
    """Of lines such as `some avg10=0.00 … total=123`, the last word, in microseconds."""
    found: dict[str, float] = {}
    for controller, what in (("cpu", "cpu"), ("memory", "memory"), ("blkio", "io")):
        for line in _perhaps(text, controller, f"{what}.pressure").splitlines():
            kind, _, rest = line.partition(" ")
            word = "stalled" if kind == "full" else "waiting"
            found[f"{what}_{word}"] = int(rest.rpartition("total=")[2]) / 1e6
    return found


def _perhaps(text: Text, controller: str, file: str) -> str:
    """A file that not every kernel has."""
    with suppress(OSError):
        return text(controller, file)
    return ""


def _number(said: str) -> int | None:
    return int(said) if said else None
