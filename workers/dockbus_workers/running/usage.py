"""What a container uses, measured from before its start to its end, however short it lives.

The Engine takes a second for its first sample. Where this worker sees the control groups of the Engine's machine, it reads
them itself, in one thread for all containers of the process; else it listens to the Engine. What happens between the last
look and the end is not counted.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from dockbus.engine import Engine, EngineError, Raw, Stream
from dockbus.jobs import Run
from dockbus.jobs.run import Usage
from dockbus_workers import cgroups
from dockbus_workers.cgroups import Files, Group, Traffic

EVERY = 0.05
"""Seconds between two looks at a container that is young; later a tenth of its age, for what is not seen of its end counts less and less."""
LONGEST = 1.0
"""And no more than this."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The counters of one container at one moment; None is not known."""

    cpu_seconds: float | None = None
    memory_peak: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None

    def then(self, later: Sample) -> Sample:
        """Both in one: counters only grow, and what is not known any more was known."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in vars(later).items():
            if value is not None:
                known[name] = max(value, known.get(name, value))
        return Sample(**known)

    def usage(self, source: Any) -> Usage:  # noqa: ANN401  a literal of `Usage`
        """It as the result has it."""
        return Usage(source=source, **vars(self))


# -- control groups ---------------------------------------------------------------------------


def read_group(group: Group, files: Files, network: Network | None) -> Sample:
    """The counters of a control group, of version 1 or 2, as far as they are still there; `files` keep its files open.

    With `network`, those of its interfaces, too.
    """

    def said(controller: str, file: str) -> str | None:
        with suppress(OSError):  # else it has ended
            return group.text(controller, file, files)
        return None

    if group.version == 2:
        stat = cgroups.numbers(said("cpu", "cpu.stat") or "")
        seconds = stat["usage_usec"] / 1e6 if "usage_usec" in stat else None
        peak = said("memory", "memory.peak") or said("memory", "memory.current")
        disk = said("blkio", "io.stat")
        moved = None if disk is None else cgroups.moved_v2(disk)
    else:
        usage = said("cpuacct", "cpuacct.usage")
        seconds = int(usage) / 1e9 if usage else None
        peak = said("memory", "memory.max_usage_in_bytes")
        disk = said("blkio", "blkio.throttle.io_service_bytes_recursive")
        moved = None if disk is None else cgroups.moved_v1(disk)
    traffic = network.traffic(group) if network else None
    return Sample(
        cpu_seconds=seconds,
        memory_peak=int(peak) if peak else None,
        rx_bytes=_sum(traffic, 0),
        tx_bytes=_sum(traffic, 4),
        read_bytes=_sum(moved, 0),
        write_bytes=_sum(moved, 1),
    )


def _sum(counts: Mapping[str, tuple[int, ...]] | None, column: int) -> int | None:
    return None if counts is None else sum(each[column] for each in counts.values())


class Network:
    """The network of a control group's first process, if that is not our own."""

    def __init__(self) -> None:
        self._known: tuple[str, str] | None = None

    def traffic(self, group: Group) -> Traffic | None:
        """What its interfaces have carried; None where that is not known, or not any more."""
        known, self._known = self._known, None
        with suppress(OSError):  # there is no process yet, or none any more
            if not known or _namespace(known[0]) != known[1]:
                # Opened each time: version 1 goes on telling the first list to whoever reads it again within a second.
                first, _, _ = group.text("cpuacct", "cgroup.procs").partition("\n")
                known = (first, _namespace(first))
            # While the runtime prepares a container, what is in its control group is still on the machine's network.
            if known[1] != _namespace("self"):
                self._known = known
                return cgroups.traffic(cgroups.text(f"/proc/{known[0]}/net/dev"))
        return None


def _namespace(process: str) -> str:
    return os.readlink(f"/proc/{process}/ns/net")  # noqa: PTH115  many times a second


class Watch:
    """One container's control group, looked at again and again."""

    def __init__(self, container: str, *, network: bool, parent: str | None) -> None:
        self._container = container
        self._network = Network() if network else None
        self._parent = parent
        self._group: Group | None = None
        self._files = Files()
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._due = 0.0
        self.sample = Sample()

    @property
    def is_seen(self) -> bool:
        """Whether its control group has ever been there to look at."""
        return self._group is not None

    def look(self) -> None:
        """Look, if it is time to."""
        with self._lock:
            now = time.monotonic()
            if now < self._due:
                return
            self._due = now + min(max(EVERY, (now - self._since) / 10), LONGEST)
            # Read while it was being made or removed, or not ours to read.
            with suppress(ValueError, KeyError, OSError):
                self._group = self._group or cgroups.find(self._container, self._parent)
                if self._group:
                    seen = read_group(self._group, self._files, self._network)
                    self.sample = self.sample.then(seen)

    def close(self) -> None:
        """Look no more, and keep none of its files open."""
        with self._lock:
            self._due = math.inf
            self._files.close()


class Sampler:
    """The one thread of a process that looks at all its containers; there is none while there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        """Look at this one from now on."""
        with self._lock:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
                self._thread.start()

    def remove(self, watch: Watch) -> None:
        """Look at it no more."""
        with self._lock:
            self._watches.discard(watch)
        watch.close()

    def _run(self) -> None:
        while True:
            with self._lock:
                watches = list(self._watches)
                if not watches:
                    self._thread = None
                    return
            for watch in watches:
                watch.look()
            time.sleep(EVERY)


_SAMPLER = Sampler()


# -- the Engine -------------------------------------------------------------------------------


def read_stats(stats: Raw, *, network: bool) -> Sample:
    """The counters in one answer of `GET /containers/ID/stats`; those of one that has ended are all zero, and so unknown."""
    if str(stats.get("read", "")).startswith("0001-"):
        return Sample()
    memory: Raw = stats.get("memory_stats") or {}
    moved: Raw = stats.get("blkio_stats") or {}
    disks: list[Raw] = moved.get("io_service_bytes_recursive") or []
    interfaces: Mapping[str, Raw] = stats.get("networks") or {}
    processor: Raw = stats.get("cpu_stats") or {}
    spent: Raw = processor.get("cpu_usage") or {}
    cpu: int | None = spent.get("total_usage")
    return Sample(
        cpu_seconds=cpu / 1e9 if cpu else None,
        memory_peak=memory.get("max_usage") or memory.get("usage"),
        rx_bytes=sum(each["rx_bytes"] for each in interfaces.values()) if network else None,
        tx_bytes=sum(each["tx_bytes"] for each in interfaces.values()) if network else None,
        read_bytes=sum(each["value"] for each in disks if each["op"].lower() == "read"),
        write_bytes=sum(each["value"] for each in disks if each["op"].lower() == "write"),
    )


class Meter:
    """Measures one container for the block; told when it has been started."""

    def __init__(self, container: str, spec: Run, engine: Engine) -> None:
        first = spec.networks[0].name
        self._container: str = container
        self._engine = engine
        self._network = first != "host" and not first.startswith("container:")
        self._parent = spec.cgroup_parent
        self._watch = self._watch_for(container)
        self._told = Sample()
        self._stream: Stream[Raw] | None = None

    def __enter__(self) -> Self:
        _SAMPLER.add(self._watch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _SAMPLER.remove(self._watch)
        if self._stream:
            self._stream.close()

    def started(self, container: str) -> None:
        """Measure this one, if another had to be made in its place; ask the Engine where its control group is not seen."""
        if container != self._container:
            _SAMPLER.remove(self._watch)
            self._container, self._watch = container, self._watch_for(container)
            _SAMPLER.add(self._watch)
        self._watch.look()
        if self._watch.is_seen:
            return
        _SAMPLER.remove(self._watch)
        with suppress(EngineError):
            self._stream = self._engine.containers.use(self._container)
            threading.Thread(
                target=self._listen, args=(self._stream,), name="stats", daemon=True
            ).start()

    def _watch_for(self, container: str) -> Watch:
        return Watch(container, network=self._network, parent=self._parent)

    def _listen(self, stream: Stream[Raw]) -> None:
        with suppress(EngineError):  # a container without numbers is no failure
            for stats in stream:
                self._told = self._told.then(read_stats(stats, network=self._network))

    @property
    def usage(self) -> Usage:
        """What it has used until now."""
        if self._watch.is_seen:
            return self._watch.sample.usage("cgroup")
        return self._told.usage("engine" if self._told.cpu_seconds is not None else "none")
