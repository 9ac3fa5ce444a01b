"""Which services are scaled and how: a YAML file, read strictly into frozen models. Pure but for reading the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from dockbus import strict_yaml
from dockbus.errors import DockbusError
from dockbus.jobs import Queue
from dockbus.strict_yaml import Model
from dockbus.units import Seconds

Label = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$")]


class ScaleError(DockbusError):
    """A scaling file is wrong, so nothing is scaled.

    Correct the named lines; `dockbus scale --dry-run` reads the file of DOCKBUS_SCALE_PATH and changes nothing.
    """


class Service(Model):
    """One service of a Compose project or of a Swarm's stack, all of whose containers are workers of one queue."""

    project: Label
    """The Compose project, or the stack."""
    service: Label
    """The service in it."""
    queue: Annotated[Queue, Field(strict=False)]
    """Whose jobs they carry out: the word after `dockbus worker`."""
    min: int = Field(default=1, ge=1, le=1000)
    """Fewest workers. There is always one: a further container is made after its pattern."""
    max: int = Field(ge=1, le=1000)
    """Most workers."""
    load: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """Jobs, queued and started, that are aimed at for each slot. Above 1 some always wait; below 1 there is room to spare."""
    slots: int = Field(default=4, ge=1, le=256)
    """Slots of one worker, as long as none has said how many it has."""
    oldest: Seconds = Field(default=60.0, gt=0)
    """When a job has waited longer than this, there is to be one worker more, whatever the load."""
    scale_out_window: Seconds = Field(default=0.0, ge=0, le=3600)
    """How long more workers must have been wanted without a break before one is added."""
    scale_in_window: Seconds = Field(default=300.0, ge=0, le=3600)
    """How long fewer workers must have been wanted without a break before one is taken away."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min: {self.min} is more than max, which is {self.max}")
        return self

    @property
    def name(self) -> str:
        """What it is called in events, metrics and the log."""
        return f"{self.project}/{self.service}"


class _File(Model):
    """A whole file."""

    services: list[Service] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [service.name for service in self.services]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"services: {twice} is there twice")
        return self


def load_services(file: Path) -> list[Service]:
    """The services of a file.

    Raises:
        ScaleError: the file is wrong; every mistake is named with its line.
    """
    node, data = strict_yaml.read(file, ScaleError)
    if not isinstance(data, dict):
        raise ScaleError(
            f"{file}:1: it must begin with `services:` and a list of services below that"
        )
    try:
        return _File.model_validate(data).services
    except ValidationError as error:
        wrong = [
            f"{file}:{strict_yaml.line_of(node, item)}: "
            f"{'.'.join(map(str, item['loc']))}{': ' if item['loc'] else ''}{strict_yaml.explain(item, _File)}"
            for item in error.errors()
        ]
        raise ScaleError("; ".join(wrong)) from None
