"""What is to be built, with everything found and read; and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dockbus.dockerignore import DockerIgnore
from dockbus.engine import Login
from dockbus.jobs import Build


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A build that a builder can begin."""

    spec: Build
    context: Path
    """The folder, on this machine."""
    ignore: DockerIgnore
    scratch: Path
    """Where the builder may keep files until its end."""
    labels: Mapping[str, str]
    name: str = ""
    """The name that the image has to have until it gets its own; empty where the Engine keeps images without one."""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """What the Dockerfile's `RUN --mount=type=secret` get, by their IDs."""
    logins: Mapping[str, Login] = field(default_factory=dict[str, Login])
    """For the registries that the build reads from or writes to, by host."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that has none of its names yet."""

    image_id: str
    steps: int
    cached: int
