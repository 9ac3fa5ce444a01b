"""Run: carry out one container, to its end or until it is up."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dockbus.artefacts import Artefact
from dockbus.jobs.base import Kind, ResultModel, SecretName
from dockbus.jobs.gate import Gate
from dockbus.jobs.running.container import ContainerSpec
from dockbus.jobs.running.files import FileOrText
from dockbus.jobs.running.mounts import SECRETS
from dockbus.jobs.running.parts import ContainerPath, Variable
from dockbus.units import Seconds


class Run(ContainerSpec):
    """Carry out one container: a task to its end, or a service until it is up."""

    kind: Literal[Kind.RUN] = Kind.RUN
    mode: Literal["task", "service"] = "task"
    """A `task` is carried to its end. A `service` is started, and stays when the job has succeeded."""
    wait_healthy: Seconds | None = Field(default=None, gt=0, le=24 * 3600)
    """Seconds a service has to become healthy, or else the job fails. Default: it need only start."""
    pull: Literal["if-not-present", "always", "newer", "never"] = "if-not-present"
    """When to ask the registry for the image; `newer` asks for its digest, and pulls if that is another."""
    credentials: SecretName | None = None
    """Secret with the credentials of the image's registry. Default: those that the worker has for it."""
    require_scan: Gate | None = None
    """The image must have passed a scan by this gate: one that the bus remembers, or else one made then and there."""
    env_from: dict[Variable, SecretName] = {}
    """Variables whose values are secrets of the worker. Whoever may inspect containers can read them: prefer `secrets`."""
    secrets: list[SecretName] = Field(default=[], max_length=64)
    """Secrets of the worker to put into files `/run/secrets/NAME`, in memory."""
    files: dict[ContainerPath, FileOrText] = Field(default={}, max_length=256)
    """Files to put into the container before its start: path, and text or an uploaded blob."""
    collect: list[ContainerPath] = Field(default=[], max_length=32)
    """Paths of the container to keep as artefacts when a task has ended; of a folder a tar is kept."""
    remove: bool = True
    """Remove the container when it has ended; that of a service stays once it is up."""

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.mode == "task":
            if self.restart != "no":
                raise ValueError(
                    "restart: a task is carried to its end once; that is for a service"
                )
            if self.wait_healthy is not None:
                raise ValueError("wait_healthy: that is for a service")
        elif self.collect:
            raise ValueError("collect: a service does not end, so there is nothing to collect")
        if twice := set(self.env) & set(self.env_from):
            raise ValueError(f"env_from: {min(twice)} is in env, too")
        return self

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        if len(set(self.secrets)) < len(self.secrets):
            raise ValueError("secrets: one is there twice")
        if self.secrets and self.restart != "no":
            raise ValueError("secrets: they are gone when the Engine starts a service again")
        if self.secrets and any(mount.target == SECRETS for mount in self.volumes):
            raise ValueError(f"volumes: the secrets are at {SECRETS}")
        in_memory = [SECRETS, *(mount.target for mount in self.volumes if mount.type == "tmpfs")]
        for path in self.files:
            if any(f"{path}/".startswith(f"{folder}/") for folder in in_memory):
                raise ValueError(f"files: {path} would be below a mount that is in memory")
        return self


class Usage(ResultModel):
    """What a container has used from its start to its end; None is not known."""

    source: Literal["cgroup", "engine", "none"]
    """Where the numbers come from: its control group, looked at many times a second, or the Engine, about once."""
    cpu_seconds: float | None = None
    """CPU time of all its processes."""
    memory_peak: int | None = None
    """Most bytes of memory it had, file cache included."""
    rx_bytes: int | None = None
    """Bytes received on its networks."""
    tx_bytes: int | None = None
    """Bytes sent there."""
    read_bytes: int | None = None
    """Bytes read from disks."""
    write_bytes: int | None = None
    """Bytes written to disks."""


class PublishedPort(ResultModel):
    """A port of a container, and where the Engine's machine answers for it."""

    container: int
    protocol: str
    address: str
    host: int


class RunResult(ResultModel):
    """How the container ended, or that it is up."""

    kind: Literal[Kind.RUN] = Kind.RUN
    exit_code: int | None
    """What the program of a task returned; 137 is a kill. None for a service."""
    oom_killed: bool
    """The kernel killed a process of the container for want of memory."""
    duration: float
    """Seconds from start to end; of a service, until it was up."""
    container_id: str
    """The container's full ID."""
    image_id: str
    """The ID of the image it was made from."""
    usage: Usage | None = None
    """What a task has used."""
    health: Literal["healthy", "unhealthy", "starting"] | None = None
    """What the last probe of a service found; None where there is no probe."""
    ports: list[PublishedPort] = []
    """Where the ports of a service are."""
    artefacts: list[Artefact] = []
    """What was collected."""
    not_enforced: list[str] = []
    """Options of the spec that this Engine takes and does not enforce."""
