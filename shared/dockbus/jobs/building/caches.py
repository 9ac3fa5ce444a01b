"""Build caches outside the Engine: in a registry, or in a folder of the worker."""

from __future__ import annotations

from pydantic import Field

from dockbus.jobs.base import SpecModel
from dockbus.references import ImageName


class RegistryCache(SpecModel):
    """A cache that a registry keeps."""

    registry: ImageName
    """Its name there. To read from, the name of an image that was built with `inline_cache` will do."""


class LocalCache(SpecModel):
    """A cache that the worker keeps, in its folder for caches (DOCKBUS_BUILD_CACHE_DIR)."""

    local: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", examples=["shop"])
    """What it is called."""


Cache = RegistryCache | LocalCache
