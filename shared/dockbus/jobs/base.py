"""What all job kinds share: strict, frozen specs and results, and what a kind has to declare."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticSerializationError

LABEL_MANAGED = "dockbus.managed"
"""On everything dockbus made, with the value `true`."""
LABEL_JOB = "dockbus.job"
"""On every container a job made: the job's ID."""
LABEL_BUS = "dockbus.bus"
"""On a run job's container: the name of the bus that the job is on."""
LABEL_ORDER = "dockbus.order"
"""On a run job's container: what tells this order from an earlier one with the same ID."""
LABEL_ENGINE = "dockbus.engine-name"
"""On a run job's container: what its Engine was called on the bus when the job made it."""
LABEL_REMOVE = "dockbus.remove"
"""On a run job's container: whether it is to go when the job has succeeded, `true` or `false`; `never` is not even when
it has failed."""
LABEL_KEEP = "dockbus.keep"
"""A container or image with the value `true` is never removed by a cleanup job."""

SecretName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", examples=["registry-password"])
]
"""The name of a secret that the worker has. A job names secrets, it never holds one."""


class Queue(StrEnum):
    """The queues, and so the sorts of worker: one for each large kind, and one for all that act on a container."""

    PULL = "pull"
    BUILD = "build"
    RUN = "run"
    SCAN = "scan"
    CLEANUP = "cleanup"
    CONTAINER = "container"


class Kind(StrEnum):
    """The kinds of job: five large ones, and five small ones that act on a container."""

    PULL = "pull"
    BUILD = "build"
    RUN = "run"
    SCAN = "scan"
    CLEANUP = "cleanup"
    RESTART = "restart"
    STOP = "stop"
    START = "start"
    REMOVE = "remove"
    EXEC = "exec"

    @property
    def queue(self) -> Queue:
        """The queue that jobs of this kind are put on."""
        return Queue(self.value) if self.value in list(Queue) else Queue.CONTAINER


class SpecModel(BaseModel):
    """An order. Unknown fields and values of another type are errors, never guessed at."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="after")
    def _unicode(self) -> Self:
        # What Python makes of a command line's bytes that are no UTF-8; JSON, and so the bus, cannot carry it.
        try:
            self.model_dump_json()
        except PydanticSerializationError:
            raise ValueError("it holds text that is not Unicode") from None
        return self

    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of this spec's JSON: equal specs, equal digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class ResultModel(BaseModel):
    """What a job that succeeded leaves behind."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
