"""Cleanup: remove stopped containers and dangling images, by label and age."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dockbus.jobs.base import Kind, ResultModel, SpecModel
from dockbus.units import Seconds


class Cleanup(SpecModel):
    """Remove stopped containers and dangling images.

    Containers of jobs that have not ended, and anything labelled `dockbus.keep=true`, always stay.
    """

    kind: Literal[Kind.CLEANUP] = Kind.CLEANUP
    containers: bool = True
    """Remove containers that have stopped."""
    images: bool = False
    """Remove images that have no name and that no container uses."""
    labels: dict[str, str] = {}
    """Only what carries all of these; an empty value matches any value of that label."""
    older_than: Seconds = Field(default=0.0, ge=0)
    """Only what stopped (containers) or was made (images) at least this many seconds ago."""
    dry_run: bool = False
    """Say what would be removed; remove nothing."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.containers or self.images):
            raise ValueError(
                "neither containers nor images is set, so there is nothing to clean up"
            )
        return self


class CleanupItem(ResultModel):
    """One thing that was removed, or would be."""

    type: Literal["container", "image"]
    id: str
    name: str
    """A container's name; an image's last known tag, or its short ID."""
    size: int
    """Bytes on disk that only it used: a container's own layer, an image's own size."""
    error: str | None = None
    """Why it could not be removed."""


class CleanupResult(ResultModel):
    """What was removed, or in a dry run would be."""

    kind: Literal[Kind.CLEANUP] = Kind.CLEANUP
    dry_run: bool
    items: list[CleanupItem]
    reclaimed: int
    """Sum of the removed items' sizes in bytes; shared layers may be counted twice."""
