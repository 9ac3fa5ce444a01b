"""Cleanup: remove what lies about on an Engine and nobody needs, by what it is, its age, labels and use.

Whatever the spec says, these stay: what a container uses, what a job that has not ended names or is at work on,
images that another image is built on, and what carries the label `dockbus.keep=true`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dockbus.jobs.base import Kind, ResultModel, SpecModel
from dockbus.units import Bytes, Seconds

SHOWN = 100
"""Most things in a result that were skipped; beyond that they are only counted."""
Leftover = Literal["container", "image", "network", "volume", "build cache"]


def _parse_percent(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())
    if not match:
        raise ValueError(f"{value!r} is not a share of a disk; write it as '85%'")
    return float(match[1])


def _parse_images(value: object) -> object:
    return {True: "dangling", False: "no"}[value] if isinstance(value, bool) else value


Percent = Annotated[
    float,
    BeforeValidator(_parse_percent, json_schema_input_type=float | str),
    Field(gt=0, lt=100, examples=["85%"]),
]
"""A share of a disk, as `85%` or 85."""


class BuildCache(SpecModel):
    """What of the build cache goes. Cache that a build uses stays."""

    unused_for: Seconds = Field(default=0.0, ge=0)
    """Only what no build has used for this long."""
    keep_bytes: Bytes = Field(default=0, ge=0)
    """Leave this much of it, what was used last."""


class Cleanup(SpecModel):
    """Remove what nobody needs: containers, images, networks, volumes and build cache, in this order."""

    kind: Literal[Kind.CLEANUP] = Kind.CLEANUP
    containers: bool = True
    """Remove containers that do not run."""
    states: Annotated[list[Literal["exited", "created", "dead"]], Field(min_length=1)] = [
        "exited",
        "created",
        "dead",
    ]
    """Which of them: those that have ended, were never started, or could not be removed."""
    images: Annotated[
        Literal["no", "dangling", "unused"],
        BeforeValidator(
            _parse_images, json_schema_input_type=Literal["no", "dangling", "unused"] | bool
        ),
    ] = "no"
    """Remove images that no container has: those without a name (`dangling`, or `true`), or all (`unused`)."""
    keep_last: int = Field(default=0, ge=0)
    """Leave so many images of each repository, those that were made last."""
    unused_for: Seconds = Field(default=0.0, ge=0)
    """Only images that no job and no container has used for this long, as far as dockbus has seen; it begins to count
    when a cleanup sees an image for the first time."""
    networks: bool = False
    """Remove networks that no container is on, stopped ones included. The Engine's own and dockbus' own stay."""
    volumes: Literal["no", "anonymous", "named", "all"] = "no"
    """Remove volumes that no container has, stopped ones included. For `named` and `all`, `labels` or `volume_names` has to
    say which."""
    volume_names: list[Annotated[str, Field(min_length=1)]] = []
    """Which of the named volumes: names, or patterns such as `ci-*`. Default: any."""
    build_cache: BuildCache | None = None
    """Remove build cache; `{}` for all of it."""
    labels: dict[str, str] = {}
    """Only what carries all of these; an empty value matches any value of that label."""
    keep: list[Annotated[str, Field(min_length=1)]] = []
    """Names that stay: patterns such as `postgres:*`, for an image its names with or without the tag."""
    older_than: Seconds = Field(default=0.0, ge=0)
    """Only what ended (containers), or was made (containers never started, images, networks, volumes) at least this long ago."""
    when_disk_over: Percent | None = None
    """Do nothing unless the disk of the Engine is fuller than this, such as `85%`."""
    until_disk_under: Percent | None = None
    """Stop as soon as it is no fuller than this; what was used longest ago goes first. Default: `when_disk_over`."""
    max: int = Field(default=1000, ge=1, le=10_000)
    """Most things to remove."""
    measure: bool = False
    """Ask the Engine what everything takes before and after, for `reclaimed`. On large disks that takes it a while."""
    dry_run: bool = False
    """Say what would be removed; remove nothing."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not (
            self.containers
            or self.images != "no"
            or self.networks
            or self.volumes != "no"
            or self.build_cache
        ):
            raise ValueError(
                "neither containers nor images is set, nor networks, volumes or build_cache: there is nothing to clean up"
            )
        if self.build_cache and self.labels:
            raise ValueError(
                "build_cache: it has no labels; clean it up with a job of its own, without labels"
            )
        if self.volumes in ("named", "all") and not (self.labels or self.volume_names):
            raise ValueError("volumes: which named ones? Say it with volume_names or labels")
        if self.volume_names and self.volumes not in ("named", "all"):
            raise ValueError("volume_names: that is for volumes 'named' or 'all'")
        if self.images == "no" and (self.keep_last or self.unused_for):
            raise ValueError("keep_last and unused_for are for images, and images is 'no'")
        if self.until_disk_under and not self.when_disk_over:
            raise ValueError("until_disk_under needs when_disk_over")
        if (self.until_disk_under or 0) > (self.when_disk_over or 0):
            raise ValueError("until_disk_under is more than when_disk_over")
        return self

    @property
    def low_mark(self) -> float | None:
        """The share of the disk at which to stop, in percent; None where the disk does not matter."""
        return self.until_disk_under or self.when_disk_over


class Reason(StrEnum):
    """Why something was not removed."""

    IN_USE = "in use"
    LABEL = "kept by label"
    NAME = "kept by name"
    YOUNG = "too young"
    USED = "used lately"
    LAST = "among the last"
    BASE = "base of another"
    NEEDED = "needed by a job"
    BUSY = "being pulled or built"
    LIMIT = "over the limit"
    ROOM = "room enough"
    CHANGED = "changed meanwhile"
    GONE = "gone meanwhile"
    REFUSED = "refused"


class CleanupItem(ResultModel):
    """One thing that was looked at, and what became of it."""

    type: Leftover
    id: str
    """Its ID on the Engine, a volume's name; empty for the build cache."""
    name: str
    """A container's, network's or volume's name; an image's first name, or its short ID; what of the build cache."""
    size: int
    """Bytes on disk that only it uses: a container's own layer, an image's layers that no other image has."""
    outcome: Literal["removed", "would be removed", "skipped"]
    reason: Reason | None = None
    """Why it was skipped."""
    detail: str | None = None
    """More on that: which container, job or image, how young, the Engine's words."""


class CleanupResult(ResultModel):
    """What was removed, or in a dry run would be."""

    kind: Literal[Kind.CLEANUP] = Kind.CLEANUP
    dry_run: bool
    items: list[CleanupItem]
    """All that was removed, and of what was skipped the first hundred."""
    skipped: dict[Reason, int] = {}
    """How many things were skipped, by reason; all of them."""
    reclaimed: int
    """Bytes that became free. With `measure`, what the Engine's disk usage has gone down by; without, the sum of the removed
    items' sizes, in which layers that several of the removed images shared do not count."""
    disk_before: float | None = None
    """How full the disk of the Engine was at first, in percent; where the spec goes by that."""
    disk_after: float | None = None
    """How full it was at last; in a dry run an estimate."""
