"""What is said of a Dockerfile and of the image that came out of it."""

from __future__ import annotations

from enum import StrEnum

from dockbus.jobs.base import ResultModel


class Level(StrEnum):
    """How bad a finding is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    STYLE = "style"


class LintFinding(ResultModel):
    """One thing that a Dockerfile should do otherwise."""

    code: str
    """The rule: hadolint's (`DL3007`), or one of dockbus' own (`DB001`)."""
    level: Level
    """How bad it is."""
    line: int
    """Where in the Dockerfile."""
    message: str
    """What is wrong, or what to do."""


class Waste(ResultModel):
    """Bytes that an instruction made useless: they stay in the image, below what replaced or deleted them."""

    instruction: str
    """The instruction that replaced or deleted them."""
    size: int
    """Bytes."""
    files: int
    """How many files."""
    path: str
    """The folder, or the file, that holds all of them."""
    hint: str
    """What to do about it."""


class Removable(ResultModel):
    """Bytes that an image hardly needs, by what they are."""

    what: str
    """Such as `apt lists`."""
    size: int
    """Bytes."""
    files: int
    """How many files."""
    hint: str
    """How to do without them."""


class LayerSize(ResultModel):
    """What one instruction put into the image."""

    instruction: str
    """The instruction, as the image's history has it; empty where that says nothing."""
    size: int
    """Bytes of files."""
    files: int
    """How many files."""


class ImageReport(ResultModel):
    """Where an image's bytes are, and which of them it need not have."""

    size: int
    """Bytes of all files in all layers."""
    efficiency: float
    """From 0 to 1: the bytes that would do if each path were written once, divided by those that are there."""
    wasted: int
    """Bytes that a later layer replaced or deleted."""
    layers: list[LayerSize]
    """Each layer, the lowest first."""
    wastes: list[Waste]
    """What was wasted, the largest first."""
    removable: list[Removable]
    """What is in the final image and is seldom needed there, the largest first."""
