"""What a container may use of the machine. All sizes in bytes.

By default a container is bounded: 1 GiB of memory, without swap, and 1024 processes. 0 or null lifts a bound.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dockbus.errors import near_miss
from dockbus.jobs.base import SpecModel
from dockbus.jobs.running.parts import Part, written
from dockbus.units import Bytes

_ULIMITS: list[str] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
]
_WRITTEN = re.compile(r"([a-z]+)=(-1|\d+)(?::(-1|\d+))?")


def _ulimit_name(name: str) -> str:
    if name not in _ULIMITS:
        raise ValueError(f"there is no limit {name!r}{near_miss(name, _ULIMITS)}")
    return name


class Ulimit(Part):
    """A limit that the kernel sets each process, such as `nofile`; -1 is none."""

    name: Annotated[str, AfterValidator(_ulimit_name)]
    """Such as `nofile` (open files), `nproc`, `core`, `memlock`, `stack`."""
    soft: int = Field(ge=-1, le=2**63 - 1)
    """What holds; a process may raise it up to `hard`."""
    hard: int = Field(ge=-1, le=2**63 - 1)
    """The most it may be."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.hard != -1 and (self.soft == -1 or self.soft > self.hard):
            raise ValueError(f"{self.name}: soft is more than hard")
        return self


def parse_ulimit(text: str) -> dict[str, object]:
    """The fields of a limit written as `nofile=1024:2048`, or `nofile=1024` for both."""
    match = _WRITTEN.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a limit; write NAME=SOFT:HARD, such as nofile=1024:2048")
    return {"name": match[1], "soft": int(match[2]), "hard": int(match[3] or match[2])}


def _unlimited(value: int | None) -> int | None:
    return value or None


def _at_least(least: int) -> AfterValidator:
    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise ValueError(f"it is less than {least}, the least that an Engine takes")
        return value

    return AfterValidator(check)


class Limits(SpecModel):
    """What the container may use."""

    memory: Annotated[
        Bytes | None,
        Field(ge=0, le=2**63 - 1),
        AfterValidator(_unlimited),
        _at_least(6 * 1024**2),
    ] = 1024**3
    """Most memory it may use, in bytes or as `512m`; 0 is no limit. At that the kernel kills one of its processes."""
    memory_swap: Bytes | None = Field(default=None, ge=0, le=2**63 - 1)
    """Most memory and swap together. Default: as `memory`, so that there is no swap."""
    memory_reservation: Bytes | None = Field(default=None, ge=6 * 1024**2, le=2**63 - 1)
    """Memory that the kernel tries to bring it back to when the machine is short of it."""
    cpus: float | None = Field(default=None, ge=0.01, le=1024)
    """Most CPUs it may use, such as 1.5."""
    cpu_quota: int | None = Field(default=None, ge=1000, le=2**53)
    """Instead of `cpus`: microseconds of CPU it may use in each period."""
    cpu_period: int | None = Field(default=None, ge=1000, le=1_000_000)
    """Instead of `cpus`: microseconds of a period; the kernel's default is 100,000."""
    cpu_shares: int | None = Field(default=None, ge=2, le=262_144)
    """Its weight where CPUs are scarce; that of others is 1024."""
    cpuset: str | None = Field(default=None, pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$", max_length=200)
    """CPUs it may run on, such as `0-2,4`."""
    pids: Annotated[int | None, Field(ge=0, le=2**31 - 1), AfterValidator(_unlimited)] = 1024
    """Most processes and threads it may have; 0 is no limit."""
    ulimits: list[Annotated[Ulimit, written(parse_ulimit)]] = Field(default=[], max_length=32)
    """Limits of each process, such as `nofile=1024:2048`."""
    shm_size: Bytes | None = Field(default=None, ge=1, le=2**63 - 1)
    """Size of `/dev/shm`; the Engine's default is 64 MiB."""

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.cpus is not None and (self.cpu_quota is not None or self.cpu_period is not None):
            raise ValueError("cpus says the same as cpu_quota and cpu_period: give either")
        if self.memory_swap is not None:
            if self.memory is None:
                raise ValueError("memory_swap needs memory, of which it is the total with swap")
            if self.memory_swap < self.memory:
                raise ValueError("memory_swap is the total of memory and swap: less than memory")
        if self.memory_reservation and self.memory and self.memory_reservation > self.memory:
            raise ValueError("memory_reservation is more than memory")
        names = [limit.name for limit in self.ulimits]
        if len(set(names)) < len(names):
            raise ValueError("ulimits: a limit is there twice")
        return self
