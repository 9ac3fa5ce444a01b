"""Pull: bring an image from its registry to the Engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dockbus.jobs.base import Kind, ResultModel, SecretName, SpecModel
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
    policy: Literal["always", "if-not-present", "newer"] = "always"
    """When to pull: `if-not-present` if the Engine lacks it; `newer` asks the registry for its digest, and pulls if the
    Engine has another."""
    credentials: SecretName | None = None
    """Secret with the registry's credentials. Default: what the worker has for that registry."""


class PullResult(ResultModel):
    """The image that the Engine now has."""

    kind: Literal[Kind.PULL] = Kind.PULL
    image: str
    """The reference that was asked for."""
    image_id: str
    """The image's ID on the Engine, `sha256:…`."""
    digest: str | None
    """The registry's digest of it, `sha256:…`; null where the Engine has it from no registry."""
    size: int
    """Its size on disk, in bytes."""
    layers: int
    """How many layers it has."""
    platform: str
    """Its platform, such as `linux/amd64`."""
    pulled: bool
    """Whether this job pulled it. If not, the Engine had it, or `shared` holds."""
    shared: bool
    """Whether another job brought it while this one waited."""
    fetched: int
    """Bytes of layers that this job had to download."""
