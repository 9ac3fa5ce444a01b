"""Every metric of the metrics worker, and where its value comes from: of one container, and of the worker itself.

Names and labels of containers are cAdvisor's, so that dashboards made for it work. What neither the Engine nor a control
group tells (sectors, inodes, load) is not there, and no zero stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dockbus.families import Family, Type
from dockbus_workers.metrics.samples import TRAFFIC, Sample

IDENTITY = ("engine", "id", "name", "image")
"""The labels that tell a container, before those of `DOCKBUS_METRICS_LABELS`."""
Values = Mapping[tuple[str, ...], float | None]
"""Values by those of a family's own labels; None is not known, and no series."""


@dataclass(frozen=True)
class ContainerFamily:
    """A family that has series for each container."""

    family: Family
    labels: tuple[str, ...]
    """Those beyond what tells the container."""
    read: Callable[[Sample], Values]


def _each(
    name: str, meaning: str, labels: tuple[str, ...], read: Callable[[Sample], Values]
) -> ContainerFamily:
    kind: Type = "counter" if name.endswith("_total") else "gauge"
    return ContainerFamily(Family(name, kind, meaning, (*IDENTITY, *labels)), labels, read)


def _one(name: str, meaning: str, read: Callable[[Sample], float | None]) -> ContainerFamily:
    return _each(name, meaning, (), lambda sample: {(): read(sample)})


def _traffic(word: str) -> ContainerFamily:
    direction, _, what = word.partition("_")
    verb = "received" if direction == "receive" else "sent"
    meaning = f"Network {what.replace('_', ' ')} {verb}, for each interface of its own."
    return _each(
        f"container_network_{word}_total",
        meaning,
        ("interface",),
        lambda sample: {(name,): count for name, count in sample.traffic[word].items()},
    )


def _moved(verb: str, column: int) -> ContainerFamily:
    return _each(
        f"container_fs_{verb}s_bytes_total",
        f"Bytes {'read from' if verb == 'read' else 'written to'} each block device.",
        ("device",),
        lambda sample: {(device,): both[column] for device, both in sample.moved.items()},
    )


def _pressure(word: str) -> ContainerFamily:
    what, _, kind = word.partition("_")
    who = "all" if kind == "stalled" else "some"
    resource = {"cpu": "CPU", "memory": "memory", "io": "block I/O"}[what]
    return _one(
        f"container_pressure_{word}_seconds_total",
        f"Seconds in which {who} of its processes waited for {resource}; control groups of version 2 only.",
        lambda sample: sample.pressure.get(word),
    )


def _usage(sample: Sample) -> Values:
    return {
        (*device.partition(":")[::2], operation): count
        for device, both in sample.moved.items()
        for operation, count in zip(("Read", "Write"), both, strict=True)
    }


def _limited(read: Callable[[Sample], float | None]) -> Callable[[Sample], float | None]:
    """Only for those that have a quota: without one there is nothing to count."""
    return lambda sample: read(sample) if sample.cpu_quota else None


_HEALTH = {"healthy": 1, "": -1}

CONTAINER = (
    _one("container_last_seen", "When this was measured, in Unix time.", lambda s: s.seen),
    _one("container_start_time_seconds", "When it was started, in Unix time.", lambda s: s.started),
    _each(
        "container_cpu_usage_seconds_total",
        "CPU time since its start; a rate of 1 is one whole core.",
        ("cpu",),
        lambda s: {("total",): s.cpu},
    ),
    _one("container_cpu_user_seconds_total", "CPU time in user mode.", lambda s: s.cpu_user),
    _one("container_cpu_system_seconds_total", "CPU time in the kernel.", lambda s: s.cpu_system),
    _one(
        "container_cpu_cfs_periods_total",
        "Accounting periods of the kernel, where it has a CPU quota.",
        _limited(lambda s: s.cpu_periods),
    ),
    _one(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which it used up its CPU quota and had to wait.",
        _limited(lambda s: s.cpu_throttled_periods),
    ),
    _one(
        "container_cpu_cfs_throttled_seconds_total",
        "Seconds for which it had to wait for its next CPU quota.",
        _limited(lambda s: s.cpu_throttled),
    ),
    _one(
        "container_spec_cpu_quota",
        "Microseconds of CPU time that it may use in each period, where it has such a limit.",
        lambda s: s.cpu_quota or None,
    ),
    _one(
        "container_spec_cpu_period",
        "Microseconds of a period of its CPU quota.",
        lambda s: s.cpu_period,
    ),
    _one(
        "container_spec_cpu_shares",
        "Its weight where containers compete for CPU; 1024 is the usual one.",
        lambda s: s.cpu_shares,
    ),
    _one("container_memory_usage_bytes", "Memory in use, file cache included.", lambda s: s.memory),
    _one(
        "container_memory_working_set_bytes",
        "Memory in use without idle file cache: what counts towards being killed for memory.",
        lambda s: s.memory_working_set,
    ),
    _one("container_memory_rss", "Bytes of anonymous memory.", lambda s: s.memory_rss),
    _one("container_memory_cache", "Bytes of file cache.", lambda s: s.memory_cache),
    _one("container_memory_mapped_file", "Bytes of mapped files.", lambda s: s.memory_mapped),
    _one(
        "container_memory_swap",
        "Bytes in swap; only where control groups are read.",
        lambda s: s.memory_swap,
    ),
    _one(
        "container_memory_max_usage_bytes",
        "Most memory that it has ever used; of control groups of version 2 only where they are read.",
        lambda s: s.memory_peak,
    ),
    _one(
        "container_memory_failcnt",
        "How often its memory came to the limit; with control groups of version 2, how often it was out of memory there.",
        lambda s: s.memory_failures,
    ),
    _each(
        "container_memory_failures_total",
        "Page faults, and those of them that had to wait for a disk.",
        ("failure_type", "scope"),
        lambda s: {
            ("pgfault", "hierarchy"): s.page_faults,
            ("pgmajfault", "hierarchy"): s.major_page_faults,
        },
    ),
    _one(
        "container_spec_memory_limit_bytes",
        "Most memory it may use; 0 is no limit.",
        lambda s: s.memory_limit,
    ),
    _one(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that it is pressed back to where the machine has too little; 0 is none.",
        lambda s: s.memory_reservation,
    ),
    _one(
        "container_spec_memory_swap_limit_bytes",
        "Most memory and swap together that it may use; 0 is no limit.",
        lambda s: s.memory_swap_limit,
    ),
    *map(_traffic, TRAFFIC),
    _moved("read", 0),
    _moved("write", 1),
    _each(
        "container_blkio_device_usage_total",
        "Bytes moved from and to each block device, by operation: Read or Write.",
        ("major", "minor", "operation"),
        _usage,
    ),
    _one("container_threads", "Its processes and threads.", lambda s: s.pids),
    _one(
        "container_threads_max",
        "Most processes and threads that it may have; 0 is no limit.",
        lambda s: s.pids_limit,
    ),
    _one(
        "container_health_state",
        "What its healthcheck says: 1 healthy, 0 unhealthy or starting, -1 it has none.",
        lambda s: _HEALTH.get(s.health, 0),
    ),
    *(
        _pressure(f"{what}_{kind}")
        for what in ("cpu", "memory", "io")
        for kind in ("waiting", "stalled")
    ),
)
"""The families of containers."""

UP = Family("dockbus_engine_up", "gauge", "Whether the Engine answers.", ("engine",))
INFO = Family(
    "dockbus_engine_info",
    "gauge",
    "Always 1: which Engine answers, by its own ID and version.",
    ("engine", "engine_id", "version"),
)
DURATION = Family(
    "dockbus_sweep_duration_seconds",
    "gauge",
    "Seconds it took to look at all containers.",
    ("engine",),
)
CONTAINERS = Family(
    "dockbus_sweep_containers",
    "gauge",
    "Running containers by what came of looking at them: ok, gone (it ended meanwhile), late or failed; only the first have series.",
    ("engine", "result"),
)
SOURCE = Family(
    "dockbus_sweep_source",
    "gauge",
    "Always 1: where the numbers come from, cgroup (files), one-shot (the Engine) or wide-one-shot (an Engine before 25).",
    ("engine", "source"),
)
AGE = Family(
    "dockbus_inventory_age_seconds",
    "gauge",
    "Seconds since what is known of the containers was last compared with the Engine's own list.",
    ("engine",),
)
STATES = Family(
    "dockbus_inventory_containers",
    "gauge",
    "Containers of the Engine by state, those that do not run included.",
    ("engine", "state"),
)
CALLS = Family(
    "dockbus_engine_requests_total",
    "counter",
    "What this worker has asked the Engine, by outcome: ok, gone (no such container), late or failed.",
    ("engine", "outcome"),
)
SERIES = Family("dockbus_series", "gauge", "Series of containers in this scrape.", ("engine",))
LEFT_OUT = Family(
    "dockbus_containers_left_out",
    "gauge",
    "Containers, the newest ones, that have no series since there would be more than DOCKBUS_METRICS_SERIES.",
    ("engine",),
)
OWN = (UP, INFO, DURATION, CONTAINERS, SOURCE, AGE, STATES, CALLS, SERIES, LEFT_OUT)
"""The families of the worker itself."""

FAMILIES = (*OWN, *(each.family for each in CONTAINER))
"""All of them."""
