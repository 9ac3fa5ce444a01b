"""What there is on an Engine, as far as a cleanup job needs to know: one look, before anything is decided.

Only what costs the Engine little is asked for without need. Adding up disk usage is not that: it is done where images,
volumes or build cache are to go.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dockbus.engine import (
    CacheRecord,
    Container,
    DiskUsage,
    FileSystem,
    Image,
    NetworkView,
    VolumeView,
    has_labels,
)
from dockbus.engine.disk import Part
from dockbus.jobs import Cleanup
from dockbus_workers.context import JobContext


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What there is."""

    containers: tuple[Container, ...] = ()
    """All of them; those that may be meant with the times of their end."""
    images: tuple[Image, ...] = ()
    """All that are no mere step of another one's build, with their layers."""
    parents: Mapping[str, str] = field(default_factory=dict[str, str])
    """What an image was built on, by ID, as far as the Engine remembers it."""
    unique: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes that only that image has, by ID."""
    used: Mapping[str, float] = field(default_factory=dict[str, float])
    """When an image was used last, by ID, in seconds since 1970."""
    networks: tuple[NetworkView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    build_cache: tuple[CacheRecord, ...] = ()
    disk: FileSystem | None = None
    """The Engine's disk, where the spec goes by that."""
    total: int | None = None
    """Bytes of all that the Engine has, where that is measured."""


def take(spec: Cleanup, ctx: JobContext) -> Inventory:
    """Look around on the Engine.

    Raises:
        DiskUnknown: the spec goes by the disk, and that cannot be seen from here.
        EngineError: the Engine does not answer.
    """
    disk = ctx.engine.disk.file_system() if spec.when_disk_over else None
    containers = _containers(spec, ctx)
    usage = measure(spec, ctx) if spec.measure or _parts(spec) else None
    images, parents, used = _images(containers, ctx) if spec.images != "no" else ((), {}, {})
    return Inventory(
        containers=containers,
        images=images,
        parents=parents,
        unique=usage.unique if usage else {},
        used=used,
        networks=tuple(ctx.engine.networks.all()) if spec.networks else (),
        volumes=usage.volumes if usage else (),
        build_cache=usage.build_cache if usage else (),
        disk=disk,
        total=usage.total if usage and spec.measure else None,
    )


def measure(spec: Cleanup, ctx: JobContext) -> DiskUsage:
    """Let the Engine add up what it takes."""
    parts: set[Part] = _parts(spec)
    if spec.measure:
        parts = {"container", "image", "volume", "build-cache"}
    # It does that for one at a time only, and refuses others meanwhile.
    with ctx.permit("disk usage", waiting="waiting for the Engine to add up its disk usage"):
        (usage,) = ctx.pump(lambda: ctx.engine.disk.usage(parts))
    return usage


def _parts(spec: Cleanup) -> set[Part]:
    wanted: dict[Part, bool] = {
        "image": spec.images != "no",
        "volume": spec.volumes != "no",
        "build-cache": spec.build_cache is not None,
    }
    return {part for part, is_wanted in wanted.items() if is_wanted}


def _containers(spec: Cleanup, ctx: JobContext) -> tuple[Container, ...]:
    """All containers; those that may be meant are asked for one by one.

    When a container's death is announced, the Engine's list still says for a moment that it runs.
    """
    found: list[Container] = []
    for listed in ctx.engine.containers.all(size=spec.containers):
        if not (spec.containers and has_labels(listed.labels, spec.labels)):
            found.append(listed)
            continue
        ctx.check()
        if container := ctx.engine.containers.find(listed.id):
            found.append(replace(container, size_rw=listed.size_rw))
    return tuple(found)


def _images(
    containers: tuple[Container, ...], ctx: JobContext
) -> tuple[tuple[Image, ...], dict[str, str], dict[str, float]]:
    """All images, what they were built on, and when they were used last.

    What is seen for the first time, and what a container runs of, counts as used now.
    """
    known, now = ctx.images_used(), time.time()
    parents = ctx.engine.images.parents()
    found: list[Image] = []
    for listed in ctx.engine.images.all():
        ctx.check()
        if image := ctx.engine.images.find(listed.id):
            found.append(image)
    there = {image.id for image in found}
    running = {container.image_id for container in containers if not container.is_stopped}
    for image_id in there:
        if image_id in running or image_id not in known:
            ctx.image_used(image_id)
            known[image_id] = now
    ctx.images_forgotten(*(known.keys() - there))
    return tuple(found), parents, known
