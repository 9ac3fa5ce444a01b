"""One container's resource use at one moment, as the Engine or its control group tells it; pure, no I/O and no clock.

What is not told stays None or empty: a made-up zero would be a counter reset or a false alarm. Memory follows cAdvisor
and the docker command: the working set is what the kernel cannot simply drop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from dockbus.engine import Raw
from dockbus.engine.views import parse_time

TRAFFIC = {
    "receive_bytes": "rx_bytes",
    "receive_packets": "rx_packets",
    "receive_errors": "rx_errors",
    "receive_packets_dropped": "rx_dropped",
    "transmit_bytes": "tx_bytes",
    "transmit_packets": "tx_packets",
    "transmit_errors": "tx_errors",
    "transmit_packets_dropped": "tx_dropped",
}
"""What is counted of each network interface, and the Engine's word for it."""
PERIOD = 100_000
"""Microseconds of the kernel's accounting period for CPU, where none is asked for."""
SHARES = 1024
"""A container's weight for CPU, where none is asked for."""

Network = Literal["own", "shared", "host"]
"""Whose interfaces a container sees: its own, another container's, the machine's."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What `inspect` tells of a container, and what changes with an event only. Limits: 0 is none, memory is in bytes."""

    id: str
    name: str
    image: str
    """As it was asked for; a listing shows a bare ID once the tag has moved on."""
    labels: Mapping[str, str]
    state: str
    health: str
    """`healthy`, `unhealthy` or `starting`; empty where nothing probes it."""
    pid: int
    """Of its first process, on the Engine's machine; 0 while it does not run."""
    created: float | None
    started: float | None
    network: Network
    cgroup_parent: str
    cpu_quota: int
    """Microseconds of CPU time in each period."""
    cpu_period: int
    cpu_shares: int
    memory_limit: int
    memory_reservation: int
    memory_swap_limit: int
    """Memory and swap together."""
    pids_limit: int

    @classmethod
    def parse(cls, inspected: Raw) -> Self:
        """From `GET /containers/ID/json`."""
        host: Raw = inspected["HostConfig"]
        config: Raw = inspected["Config"]
        state: Raw = inspected["State"]
        health: Raw = state.get("Health") or {}
        cpus: int = host.get("NanoCpus") or 0
        period: int = host.get("CpuPeriod") or PERIOD
        return cls(
            id=inspected["Id"],
            name=inspected["Name"].lstrip("/"),
            image=config["Image"],
            labels=config.get("Labels") or {},
            state=state["Status"],
            health=health.get("Status", "").replace("none", ""),
            pid=state.get("Pid") or 0,
            created=_unix(inspected.get("Created")),
            started=_unix(state.get("StartedAt")),
            network=_network(host.get("NetworkMode") or ""),
            cgroup_parent=host.get("CgroupParent") or "",
            cpu_quota=cpus * period // 10**9 or _limit(host, "CpuQuota"),
            cpu_period=period,
            cpu_shares=host.get("CpuShares") or SHARES,
            memory_limit=_limit(host, "Memory"),
            memory_reservation=_limit(host, "MemoryReservation"),
            memory_swap_limit=_limit(host, "MemorySwap"),
            pids_limit=_limit(host, "PidsLimit"),
        )

    @property
    def runs(self) -> bool:
        """Whether there is something to measure."""
        return self.state in ("running", "paused")


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a container uses: CPU in seconds since its start, memory in bytes, traffic since its interface was made."""

    seen: float
    """When that was so, in Unix time."""
    cpu: float | None = None
    cpu_user: float | None = None
    cpu_system: float | None = None
    cpu_periods: int | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled: float | None = None
    """Seconds."""
    memory: int | None = None
    """File cache included."""
    memory_working_set: int | None = None
    memory_rss: int | None = None
    memory_cache: int | None = None
    memory_mapped: int | None = None
    memory_swap: int | None = None
    memory_peak: int | None = None
    memory_failures: int | None = None
    """How often it came to its limit; in version 2 of control groups, how often it was out of memory there."""
    page_faults: int | None = None
    major_page_faults: int | None = None
    traffic: Mapping[str, Mapping[str, int]] = field(
        default_factory=lambda: {word: {} for word in TRAFFIC}
    )
    """For each word of `TRAFFIC`, the count of each interface."""
    moved: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Bytes read and written, by device, such as `8:0`."""
    pids: int | None = None
    """Processes and threads."""
    pressure: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds in which something of it, or all of it, had to wait: `cpu_waiting`, `memory_stalled`, …"""


class Detail(dict[str, int]):
    """`memory.stat`. Version 1 has each number twice: bare for the group itself, and `total_…`, its children with it."""

    def __init__(self, stat: Mapping[str, int]) -> None:
        super().__init__(stat)
        self._is_v1 = "total_inactive_file" in stat

    def get(self, v1: str, v2: str) -> int | None:  # type: ignore[override]
        """A number by its name in either version, or None."""
        return super().get(f"total_{v1}" if self._is_v1 else v2)

    def working_set(self, usage: int | None) -> int | None:
        """What is left of the usage without the file cache that was not touched lately."""
        if usage is None:
            return None
        return max(0, usage - (self.get("inactive_file", "inactive_file") or 0))


@dataclass(frozen=True, kw_only=True)
class Sample(Use):
    """One container's use, and whose it is. Limits: 0 is none."""

    id: str
    name: str
    image: str
    labels: Mapping[str, str]
    group: str
    """The path of its control group, by which cAdvisor tells containers."""
    health: str
    created: float | None
    started: float | None
    cpu_quota: int
    cpu_period: int
    cpu_shares: int
    memory_limit: int
    memory_reservation: int
    memory_swap_limit: int
    pids_limit: int

    @classmethod
    def of(cls, facts: Facts, group: str, use: Use) -> Self:
        """Both in one."""
        return cls(
            **vars(use),
            id=facts.id,
            name=facts.name,
            image=facts.image,
            labels=facts.labels,
            group=group,
            health=facts.health,
            created=facts.created,
            started=facts.started,
            cpu_quota=facts.cpu_quota,
            cpu_period=facts.cpu_period,
            cpu_shares=facts.cpu_shares,
            memory_limit=facts.memory_limit,
            memory_reservation=facts.memory_reservation,
            memory_swap_limit=facts.memory_swap_limit,
            pids_limit=facts.pids_limit,
        )


def parse_stats(stats: Raw, network: Network = "own") -> Use | None:
    """From `GET /containers/ID/stats`; None for the all-zero answer that a stopped container gives."""
    seen = _unix(stats.get("read"))
    if seen is None:
        return None
    processor: Raw = stats.get("cpu_stats") or {}
    cpu: Raw = processor.get("cpu_usage") or {}
    throttling: Raw = processor.get("throttling_data") or {}
    memory: Raw = stats.get("memory_stats") or {}
    detail = Detail(memory.get("stats") or {})
    usage: int | None = memory.get("usage")
    moved: Raw = stats.get("blkio_stats") or {}
    processes: Raw = stats.get("pids_stats") or {}
    interfaces: Mapping[str, Raw] = (network == "own" and stats.get("networks")) or {}
    return Use(
        seen=seen,
        cpu=_seconds(cpu.get("total_usage")),
        cpu_user=_seconds(cpu.get("usage_in_usermode")),
        cpu_system=_seconds(cpu.get("usage_in_kernelmode")),
        cpu_periods=throttling.get("periods"),
        cpu_throttled_periods=throttling.get("throttled_periods"),
        cpu_throttled=_seconds(throttling.get("throttled_time")),
        memory=usage,
        memory_working_set=detail.working_set(usage),
        memory_rss=detail.get("rss", "anon"),
        memory_cache=detail.get("cache", "file"),
        memory_mapped=detail.get("mapped_file", "file_mapped"),
        memory_peak=memory.get("max_usage"),
        memory_failures=memory.get("failcnt", 0) if memory else None,
        page_faults=detail.get("pgfault", "pgfault"),
        major_page_faults=detail.get("pgmajfault", "pgmajfault"),
        traffic={
            word: {name: counts[key] for name, counts in interfaces.items() if key in counts}
            for word, key in TRAFFIC.items()
        },
        moved=_moved(moved.get("io_service_bytes_recursive") or []),
        pids=processes.get("current"),
    )


def _limit(host: Raw, key: str) -> int:
    return max(0, host.get(key) or 0)  # some say -1 for none, some null


def _network(mode: str) -> Network:
    if mode == "host":
        return "host"
    return "shared" if mode.startswith("container:") else "own"


def _unix(stamp: str | None) -> float | None:
    moment = parse_time(stamp)
    return moment.timestamp() if moment else None


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _moved(entries: list[Any]) -> Mapping[str, tuple[int, int]]:
    sums: dict[str, tuple[int, int]] = {}
    for entry in entries:
        device, verb = f"{entry['major']}:{entry['minor']}", entry["op"].lower()
        read, written = sums.get(device, (0, 0))
        if verb in (
            "read",
            "write",
        ):  # version 1 adds a total, and the same bytes as sync and async
            found = (entry["value"], 0) if verb == "read" else (0, entry["value"])
            sums[device] = (read + found[0], written + found[1])
    return sums
