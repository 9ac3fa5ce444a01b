"""Pull: bring an image from its registry to the Engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dockbus.jobs.base import Kind, ResultModel, SpecModel
from dockbus.references import ImageName


class Pull(SpecModel):
    """Bring an image from its registry to the Engine."""

    kind: Literal[Kind.PULL] = Kind.PULL
    image: ImageName
    """What to pull; the tag is `latest` where none is given."""
    platform: str | None = Field(
        default=None, pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$", examples=["linux/arm64"]
    )
    """Platform to pull, such as `linux/arm64`. Default: the Engine's own."""


class PullResult(ResultModel):
    """The image that the Engine now has."""

    kind: Literal[Kind.PULL] = Kind.PULL
    image: str
    """The reference that was pulled."""
    image_id: str
    """The image's ID on the Engine, `sha256:…`."""
    digest: str | None
    """The registry's digest of it, `sha256:…`."""
    size: int
    """Its size on disk, in bytes."""
    platform: str
    """Its platform, such as `linux/amd64`."""
    fetched: int
    """Bytes of layers that had to be downloaded."""
