"""Run: carry out one container to its end, with its logs, limits and exit code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dockbus.jobs.base import Kind, ResultModel, SpecModel
from dockbus.references import ImageOrId
from dockbus.units import Bytes, Seconds


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return _word(name)


def _word(text: str) -> str:
    if "\0" in text:
        raise ValueError("a program cannot be given a NUL character")
    return text


def _network(name: str) -> str:
    if name == "host":
        raise ValueError("'host' is the machine's own network, which a job may not have")
    return name


_Word = Annotated[str, AfterValidator(_word)]


class Run(SpecModel):
    """Carry out one container to its end."""

    kind: Literal[Kind.RUN] = Kind.RUN
    image: ImageOrId
    """Image to run."""
    command: list[_Word] | None = None
    """Program and arguments. Default: the image's own."""
    entrypoint: list[_Word] | None = None
    """Replaces the image's entry point."""
    env: dict[Annotated[str, AfterValidator(_variable)], _Word] = {}
    """Environment variables. They can be read by whoever may inspect containers: no place for secrets."""
    working_dir: str | None = None
    """Folder the program starts in."""
    user: str | None = None
    """User, or `uid:gid`, the program runs as. Default: the image's own."""
    network: Annotated[str, AfterValidator(_network)] = Field(
        default="bridge", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"
    )
    """Network to join: `bridge`, `none`, or the name of one that exists."""
    memory: Bytes | None = Field(default=None, ge=6 * 1024**2, le=2**63 - 1)
    """Most memory the container may use (swap included), in bytes or as `512m`."""
    cpus: float | None = Field(default=None, ge=0.01, le=1024)
    """Most CPUs it may use, such as 1.5."""
    pids: int = Field(default=1024, ge=1)
    """Most processes and threads it may have."""
    labels: dict[str, str] = {}
    """Labels for the container, beside dockbus' own."""
    pull: Literal["if-not-present", "always", "never"] = "if-not-present"
    """When to ask the registry for the image."""
    stop_timeout: Seconds = Field(default=10.0, ge=0, le=3600)
    """Seconds between the stop signal and the kill when the job is canceled or runs out of time."""
    remove: bool = True
    """Remove the container when it has ended."""


class RunResult(ResultModel):
    """How the container ended."""

    kind: Literal[Kind.RUN] = Kind.RUN
    exit_code: int
    """What the program returned; 137 is a kill."""
    oom_killed: bool
    """The kernel killed a process of the container for want of memory."""
    duration: float
    """Seconds from start to end."""
    container_id: str
    """The container's full ID."""
    image_id: str
    """The ID of the image it was made from."""
