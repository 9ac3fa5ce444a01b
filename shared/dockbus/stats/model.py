"""What one container uses, and one measurement of all containers of an Engine. Pure.

The numbers are those of `docker stats`: CPU in percent of one core, memory without idle file cache. What is not known is
None, never a made-up zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict

_ID = re.compile(r"[0-9a-f]{12,64}")


class HealthStatus(StrEnum):
    """What a container's own healthcheck says."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    STARTING = "starting"
    UNKNOWN = "unknown"
    """Nothing probes it."""


def health_status(word: str) -> HealthStatus:
    """The Engine's word, or none, as one of the four."""
    known: set[str] = set(HealthStatus)
    return HealthStatus(word) if word in known else HealthStatus.UNKNOWN


class _Measured(BaseModel):
    # What a later version adds must not keep this one from reading.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ContainerStats(_Measured):
    """What one running container uses."""

    engine: str
    """The Engine's name."""
    id: str
    name: str
    image: str
    labels: dict[str, str] = {}
    time: datetime
    """When this was so."""
    started: datetime | None = None
    """When this life of it began."""
    cpu_percent: float | None = None
    """CPU time since the measurement before, in percent of one core; None where there was none before."""
    memory_bytes: int | None = None
    """Memory in use without idle file cache."""
    memory_limit_bytes: int | None = None
    """Most memory it may use; without a limit, all that the Engine's machine has."""
    memory_percent: float | None = None
    """Percent of that in use."""
    memory_unlimited: bool = False
    """Whether it has no limit of its own."""
    network_rx_bytes: int = 0
    """Received since its start, by all of its interfaces; 0 without a network of its own."""
    network_tx_bytes: int = 0
    """Sent, likewise."""
    block_read_bytes: int = 0
    """Read from block devices since its start; 0 also where the kernel does not count it."""
    block_write_bytes: int = 0
    """Written to them, likewise."""
    pids: int | None = None
    """Its processes and threads."""
    health: HealthStatus = HealthStatus.UNKNOWN

    def check_limits(self, cpu: float = 80.0, memory: float = 90.0) -> bool:
        """Whether it is over either: more than `cpu` percent of one core, or than `memory` percent of what it may use.

        At or under a limit it is not over it, nor is it by what is not known.
        """
        return (self.cpu_percent or 0.0) > cpu or (self.memory_percent or 0.0) > memory


class EngineStats(_Measured):
    """One measurement of all running containers of one Engine."""

    engine: str
    sequence: int
    """Another one than that of the measurement before."""
    time: datetime
    up: bool = True
    """Whether the Engine has answered."""
    containers: list[ContainerStats] = []
    """Those that gave an answer in time, by name."""


@dataclass(frozen=True)
class Wanted:
    """Which containers are asked for; nothing given means all."""

    engine: str | None = None
    """On the Engine with this name."""
    name: str | Sequence[str] = ()
    """With such a name (globs, one of which must match), or with an ID that begins so (twelve digits at least)."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """With all of these labels; an empty value matches any."""

    def match(self, one: ContainerStats) -> bool:
        """Whether this container is."""
        names = (self.name,) if isinstance(self.name, str) else self.name
        return (
            self.engine in (None, one.engine)
            and (not names or any(_is_called(one, name) for name in names))
            and all(
                key in one.labels and value in ("", one.labels[key])
                for key, value in self.labels.items()
            )
        )


def _is_called(one: ContainerStats, name: str) -> bool:
    return fnmatchcase(one.name, name) or bool(_ID.fullmatch(name) and one.id.startswith(name))
