"""What can be built here: which builder there is and what it is able to do. Asked, not concluded from versions.

A build that needs more fails before it begins, and is told what is missing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dockbus import programs
from dockbus.errors import DockbusError
from dockbus.jobs import Build
from dockbus.jobs.build import LocalCache
from dockbus_workers.building.dockerfile import Instruction, buildkit_only
from dockbus_workers.context import JobContext

_PATIENCE = 30
_IMAGE_STORE = (
    "the Engine keeps its images without containerd; turn on its image store "
    '(`"features": {"containerd-snapshotter": true}` in its daemon.json)'
)


class CapabilityMissing(DockbusError):
    """The build needs something that this Engine or its worker cannot do, so nothing was built.

    Do as the detail says, do without it, or send the job to another Engine (`engine`).
    """

    def __init__(self, capability: str, why: str = "") -> None:
        super().__init__(f"{capability}: {why}")
        self.capability = capability


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What builds here, and what it can do."""

    builder: Literal["buildkit", "classic"]
    program: str = ""
    """Where docker-buildx is, for BuildKit."""
    why: str = ""
    """Why it is not BuildKit."""
    image_store: bool = False
    """Whether containerd keeps the Engine's images."""

    @property
    def nameless_is_lost(self) -> bool:
        """Whether an image is only kept if the builder gives it a name."""
        return self.builder == "buildkit" and self.image_store


def find(ctx: JobContext, environment: Mapping[str, str]) -> Abilities:
    """What can be built on this Engine, by the setting DOCKBUS_BUILD_BUILDER and by asking; takes a tenth of a second.

    Raises:
        CapabilityMissing: only BuildKit will do, and there is none.
        EngineUnavailable: the Engine does not answer.
    """
    settings = ctx.settings.build
    if settings.builder == "classic":
        return Abilities(builder="classic", why="DOCKBUS_BUILD_BUILDER is `classic`")
    image_store = ctx.engine.builds.has_image_store()
    program = programs.find_plugin(settings.buildx)
    if program is None:
        why = f"the worker has no program {settings.buildx}; install it, or set DOCKBUS_BUILD_BUILDX to its path"
    elif why := _asked(program, environment):
        why = f"the Engine's BuildKit does not answer: {why}"
    else:
        return Abilities(builder="buildkit", program=program, image_store=image_store)
    if settings.builder == "buildkit":
        raise CapabilityMissing("BuildKit", why)
    return Abilities(builder="classic", why=why)


def _asked(program: str, environment: Mapping[str, str]) -> str:
    """Ask BuildKit whether it is there; why not, or nothing."""
    try:
        done = subprocess.run(
            [program, "inspect"],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode or not re.search(r"Status:\s+running", done.stdout):
        return " ".join((done.stderr or done.stdout).split())[-300:] or "it gave no reason"
    return ""


def demand(
    spec: Build, instructions: Sequence[Instruction], abilities: Abilities, cache_dir: str
) -> None:
    """Make sure that the build asks for nothing that cannot be done.

    Raises:
        CapabilityMissing: it does.
    """
    for capability, why in _missing(spec, instructions, abilities, cache_dir):
        raise CapabilityMissing(capability, why)


def _missing(
    spec: Build, instructions: Sequence[Instruction], abilities: Abilities, cache_dir: str
) -> Iterator[tuple[str, str]]:
    caches = [*spec.cache_from, *spec.cache_to]
    if any(isinstance(cache, LocalCache) for cache in caches) and not cache_dir:
        yield "local build caches", "the worker has no folder for them; set DOCKBUS_BUILD_CACHE_DIR"
    if abilities.builder == "classic":
        needs = {
            "build secrets": bool(spec.secrets),
            "several platforms": len(spec.platforms) > 1,
            "cache export": bool(spec.cache_to or spec.inline_cache),
            "local build caches": any(isinstance(cache, LocalCache) for cache in caches),
            "provenance": spec.provenance,
            "SBOM": spec.sbom,
        }
        for capability, needed in needs.items():
            if needed:
                yield capability, f"that needs BuildKit, and {abilities.why}"
        if item := buildkit_only(instructions):
            yield f"line {item.line} ({item.name})", f"that needs BuildKit, and {abilities.why}"
    elif not abilities.image_store:
        needs = {
            "several platforms": len(spec.platforms) > 1,
            "cache export": bool(spec.cache_to),
            "provenance": spec.provenance,
            "SBOM": spec.sbom,
        }
        for capability, needed in needs.items():
            if needed:
                yield capability, _IMAGE_STORE
