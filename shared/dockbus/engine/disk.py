"""What an Engine takes of its disk, how full that is, and the one thing that has to be pruned: the build cache.

How full a disk is, no Engine says. It is asked of the machine, so the worker has to be on the same one and see the
Engine's folder; anything else would be a guess, and is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from dockbus.engine.errors import translated
from dockbus.engine.streams import Stream
from dockbus.engine.views import Raw, VolumeView, parse_time
from dockbus.errors import DockbusError

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from dockbus.engine.client import Engine

PATIENCE = 1800.0
"""Seconds that an Engine may need to add up what everything takes, or to remove build cache."""
Part = Literal["container", "image", "volume", "build-cache"]


class DiskUnknown(DockbusError):
    """The worker cannot tell how full the Engine's disk is.

    Run a cleanup worker on the Engine's own machine, with the Engine's folder mounted at the same path if it is in a
    container (read-only will do), or leave `when_disk_over` out.
    """


@dataclass(frozen=True)
class FileSystem:
    """The file system that holds the Engine's data."""

    used: int
    """Bytes."""
    size: int
    """Bytes that there are for everybody: without what is set aside for root."""

    @property
    def percent(self) -> float:
        """How full it is."""
        return 100 * self.used / self.size if self.size else 100.0

    def without(self, freed: int) -> Self:
        """The same with so many bytes less."""
        return type(self)(max(0, self.used - freed), self.size)


@dataclass(frozen=True, kw_only=True)
class CacheRecord:
    """One piece of the build cache."""

    id: str
    size: int
    in_use: bool
    used: datetime | None
    """When a build used it last, or made it."""

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From one record of `GET /system/df`."""
        return cls(
            id=raw["ID"],
            # What it shares with images stays with them.
            size=0 if raw.get("Shared") else max(0, raw.get("Size", 0)),
            in_use=bool(raw.get("InUse")),
            used=parse_time(raw.get("LastUsedAt")) or parse_time(raw.get("CreatedAt")),
        )


@dataclass(frozen=True, kw_only=True)
class DiskUsage:
    """What the Engine takes, part by part."""

    layers: int
    """Bytes of all layers of images, each counted once."""
    containers: int
    """Bytes of all containers' own layers."""
    unique: dict[str, int]
    """Bytes that only that image has, by its ID."""
    volumes: tuple[VolumeView, ...]
    build_cache: tuple[CacheRecord, ...]

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return (
            self.layers
            + self.containers
            + sum(volume.size for volume in self.volumes)
            + sum(record.size for record in self.build_cache)
        )

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From `GET /system/df`, in which what was not asked for is missing or null."""
        images: list[Raw] = raw.get("Images") or []
        containers: list[Raw] = raw.get("Containers") or []
        return cls(
            layers=max(0, raw.get("LayersSize") or 0),
            containers=sum(container.get("SizeRw") or 0 for container in containers),
            unique={
                image["Id"]: max(0, image.get("Size", 0) - max(0, image.get("SharedSize", 0)))
                for image in images
            },
            volumes=tuple(map(VolumeView.parse, raw.get("Volumes") or ())),
            build_cache=tuple(map(CacheRecord.parse, raw.get("BuildCache") or ())),
        )


@dataclass(frozen=True)
class Pruned:
    """What was removed of the build cache."""

    records: int
    size: int


class Disk:
    """The disk of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def usage(self, parts: Collection[Part]) -> Stream[DiskUsage]:
        """Let the Engine add up what it takes; iterate for the one answer, which may need minutes.

        Args:
            parts: what to look at; Engines before 23.0 look at everything.

        Raises:
            EngineFault: it does that for somebody else at this moment.
        """
        params = {"type": sorted(parts)}
        return self._engine.open("GET", "/system/df", _read_usage, params=params, idle=PATIENCE)

    def file_system(self) -> FileSystem:
        """How full the file system is that holds the Engine's data.

        Raises:
            DiskUnknown: the Engine is not on this machine, as far as can be seen from here.
        """
        if not self._engine.host.startswith("unix://"):
            raise DiskUnknown(f"the Engine at {self._engine.host} may be on another machine")
        with translated():
            root = Path(self._engine.api.info()["DockerRootDir"])
        try:
            found = os.statvfs(root)
        except OSError as error:
            raise DiskUnknown(f"its folder {root}: {error.strerror}") from None
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return FileSystem(used, used + found.f_bavail * found.f_frsize)

    def prune_build_cache(self, *, unused_for: float, keep: int) -> Stream[Pruned]:
        """Remove build cache that no build uses; iterate for the one answer.

        Args:
            unused_for: only what has not been used for so many seconds.
            keep: bytes to leave, what was used last.
        """
        params: dict[str, Any] = {"all": "1"}
        if keep:
            params["keep-storage"] = keep
        if unused_for:
            params["filters"] = json.dumps({"until": [f"{unused_for:.3f}s"]})
        return self._engine.open("POST", "/build/prune", _read_pruned, params=params, idle=PATIENCE)


def _read_usage(response: HTTPResponse) -> Iterator[DiskUsage]:
    yield DiskUsage.parse(json.loads(response.read()))


def _read_pruned(response: HTTPResponse) -> Iterator[Pruned]:
    raw: Raw = json.loads(response.read())
    yield Pruned(len(raw.get("CachesDeleted") or ()), raw.get("SpaceReclaimed") or 0)
