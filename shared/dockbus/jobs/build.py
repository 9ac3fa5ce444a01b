"""Build: make an image from a Dockerfile and its context, by BuildKit or by the Engine's classic builder."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dockbus.artefacts import Artefact
from dockbus.jobs.base import Kind, ResultModel, SecretName, SpecModel
from dockbus.jobs.building.caches import Cache, LocalCache, RegistryCache
from dockbus.jobs.building.findings import ImageReport, LintFinding
from dockbus.jobs.building.sources import Context, Repository, Upload
from dockbus.references import ImageName
from dockbus.units import Bytes


def _network(name: str) -> str:
    if name == "host":
        raise ValueError("'host' is the machine's own network, which a job may not have")
    return name


class Build(SpecModel):
    """Make an image from a Dockerfile and its context."""

    kind: Literal[Kind.BUILD] = Kind.BUILD
    context: Context
    """Everything that the build may copy: a folder as the worker sees it (absolute, or relative to its build root),
    an upload (`{"blob": "sha256:…"}`), or a Git repository (`{"git": "https://…"}`)."""
    tags: Annotated[list[ImageName], Field(min_length=1, max_length=32)]
    """Names for the new image. It gets them when it is complete, and has passed the limits below."""
    dockerfile: str = Field(default="Dockerfile", min_length=1)
    """Path of the Dockerfile within the context."""
    args: dict[str, str] = {}
    """Values for the Dockerfile's `ARG`s. They stay readable in the image's history: for secrets there is `secrets`."""
    secrets: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], SecretName] = {}
    """Secrets of the worker by the ID that a `RUN --mount=type=secret,id=…` asks for. They leave no trace in the image."""
    target: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.-]*$")
    """Stage to build. Default: the last one."""
    labels: dict[str, str] = {}
    """Labels for the image, beside dockbus' own."""
    platforms: list[Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$")]] = []
    """Platforms to build for, such as `linux/arm64`. Default: the Engine's own."""
    network: Annotated[Literal["default", "none", "host"], AfterValidator(_network)] = "default"
    """Network of `RUN` instructions: `default`, or `none`. `host` is refused."""
    pull: bool = False
    """Look for newer base images at their registries."""
    no_cache: bool = False
    """Run every instruction anew."""
    cache_from: list[Cache] = []
    """Caches to read: `{"registry": "name"}` or `{"local": "name"}`."""
    cache_to: list[Cache] = []
    """Caches to write, all stages included."""
    inline_cache: bool = False
    """Put into the image what lets another build read it as a cache."""
    provenance: bool = False
    """Attest how the image was made (SLSA provenance)."""
    sbom: bool = False
    """Attest what is in the image; the Engine fetches a scanner image for that."""
    push: bool | list[ImageName] = False
    """Push the image under all its tags, or under these of them."""
    credentials: SecretName | None = None
    """Secret with the login for the registries pushed to. Default: what the worker has for them."""
    lint: Literal["off", "warn", "error"] = "warn"
    """What becomes of findings in the Dockerfile: `warn` tells them, `error` fails the job on an error or a warning
    before anything is built."""
    report: bool = False
    """Report where the image's bytes are; in full as the artefact `image-report.json`."""
    min_efficiency: float | None = Field(default=None, ge=0, le=1)
    """Least efficiency that the image may have (see the report); with less the job fails, and the tags stay as they were."""
    max_wasted: Bytes | None = Field(default=None, ge=0)
    """Most bytes that the image may waste, in bytes or as `50m`; with more the job fails, and the tags stay as they were."""

    @model_validator(mode="after")
    def _pushes_its_own_tags(self) -> Self:
        strange = [name for name in self.pushed if name not in self.tags]
        if strange:
            raise ValueError(f"push: {', '.join(strange)} is none of its tags")
        return self

    @property
    def pushed(self) -> list[str]:
        """The tags to push."""
        if isinstance(self.push, list):
            return self.push
        return self.tags if self.push else []

    @property
    def wants_report(self) -> bool:
        """Whether the image is to be looked into."""
        return self.report or self.min_efficiency is not None or self.max_wasted is not None


class BuildResult(ResultModel):
    """The image that was built."""

    kind: Literal[Kind.BUILD] = Kind.BUILD
    image_id: str
    """The image's ID on the Engine, `sha256:…`."""
    tags: list[str]
    """The names it was given."""
    digests: list[str] = []
    """For each tag that was pushed, the name with the registry's digest, `name@sha256:…`."""
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
    builder: Literal["buildkit", "classic"] = "classic"
    """What built it."""
    context_size: int = 0
    """Bytes of the context's files, those left out by `.dockerignore` not counted."""
    warnings: list[str] = []
    """What the build said that somebody should know, such as arguments that the Dockerfile does not take."""
    findings: list[LintFinding] = []
    """What is to be said of the Dockerfile, in the order of its lines."""
    report: ImageReport | None = None
    """Where the image's bytes are, where that was asked for; of long lists the first ten."""
    artefacts: list[Artefact] = []
    """`image-report.json`, where a report was asked for."""


__all__ = ["Build", "BuildResult", "LocalCache", "RegistryCache", "Repository", "Upload"]
