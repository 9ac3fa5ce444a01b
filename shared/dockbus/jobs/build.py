"""Build: make an image from a Dockerfile and its context folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dockbus.jobs.base import Kind, ResultModel, SpecModel
from dockbus.references import ImageName


class Build(SpecModel):
    """Make an image from a Dockerfile and its context folder."""

    kind: Literal[Kind.BUILD] = Kind.BUILD
    context: str = Field(min_length=1, examples=["examples/hello"])
    """Folder with everything the build may copy, as the worker sees it: absolute, or relative to its build root."""
    tags: Annotated[list[ImageName], Field(min_length=1, max_length=32)]
    """Names for the new image."""
    dockerfile: str = Field(default="Dockerfile", min_length=1)
    """Path of the Dockerfile within the context."""
    args: dict[str, str] = {}
    """Values for the Dockerfile's `ARG`s. They stay readable in the image's history: never put a secret here."""
    target: str | None = None
    """Stage to build. Default: the last one."""
    labels: dict[str, str] = {}
    """Labels for the image, beside dockbus' own."""
    pull: bool = False
    """Look for newer base images at their registries."""
    no_cache: bool = False
    """Run every instruction anew."""


class BuildResult(ResultModel):
    """The image that was built."""

    kind: Literal[Kind.BUILD] = Kind.BUILD
    image_id: str
    """The image's ID on the Engine, `sha256:…`."""
    tags: list[str]
    """The names it was given."""
    size: int
    """Its size on disk, in bytes."""
    layers: int
    """How many layers it has."""
    steps: int
    """Instructions in the build."""
    cached: int
    """Instructions that the cache answered."""
    duration: float
    """Seconds the build took."""
