"""One container's resource use at one moment, read from what the Engine says; pure, no I/O and no clock.

What the Engine does not say stays None or empty: a made-up zero would be a counter reset or a false
alarm. Memory follows cAdvisor and the docker CLI: the working set is what the kernel cannot simply drop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from dockbus.engine import Container, Raw
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


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What only `inspect` tells, and what rarely changes while a container lives."""

    image: str
    """As it was asked for; a listing shows a bare ID once the tag has moved on."""
    started: float | None
    memory_limit: int
    """0 is none."""
    owns_network: bool
    """False in another container's network, whose traffic must not be counted twice."""

    @classmethod
    def parse(cls, inspected: Raw) -> Self:
        """From `GET /containers/ID/json`."""
        host: Raw = inspected["HostConfig"]
        started = parse_time(inspected["State"].get("StartedAt"))
        return cls(
            image=inspected["Config"]["Image"],
            started=started.timestamp() if started else None,
            memory_limit=host.get("Memory") or 0,
            owns_network=not str(host.get("NetworkMode", "")).startswith("container:"),
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One container's use: CPU in seconds since its start, memory in bytes, traffic since its interface was made."""

    id: str
    name: str
    image: str
    labels: Mapping[str, str]
    seen: float
    started: float | None
    cpu: float | None
    cpu_user: float | None
    cpu_system: float | None
    memory: int | None
    memory_working_set: int | None
    memory_rss: int | None
    memory_cache: int | None
    memory_limit: int
    traffic: Mapping[str, Mapping[str, int]]
    """For each word of `TRAFFIC`, the count of each interface."""

    @classmethod
    def parse(cls, container: Container, facts: Facts, stats: Raw) -> Self | None:
        """From `GET /containers/ID/stats`; None for the all-zero answer that a stopped container gives."""
        seen = parse_time(stats.get("read"))
        if seen is None:
            return None
        processor: Raw = stats.get("cpu_stats") or {}
        cpu: Raw = processor.get("cpu_usage") or {}
        memory: Raw = stats.get("memory_stats") or {}
        detail: Raw = memory.get("stats") or {}
        usage: int | None = memory.get("usage")
        # cgroup v1 calls it `total_…`, the sum with its children; v1 also has the bare names, for itself alone.
        inactive: int = detail.get("total_inactive_file", detail.get("inactive_file", 0))
        networks: Mapping[str, Raw] = (facts.owns_network and stats.get("networks")) or {}
        return cls(
            id=container.id,
            name=container.name,
            image=facts.image,
            labels=container.labels,
            seen=seen.timestamp(),
            started=facts.started,
            cpu=_seconds(cpu.get("total_usage")),
            cpu_user=_seconds(cpu.get("usage_in_usermode")),
            cpu_system=_seconds(cpu.get("usage_in_kernelmode")),
            memory=usage,
            memory_working_set=None if usage is None else max(0, usage - inactive),
            memory_rss=detail.get("total_rss", detail.get("anon")),
            memory_cache=detail.get("total_cache", detail.get("file")),
            memory_limit=facts.memory_limit,
            traffic={
                word: {name: counts[key] for name, counts in networks.items() if key in counts}
                for word, key in TRAFFIC.items()
            },
        )


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9
