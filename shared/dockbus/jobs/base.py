"""What all job kinds share: strict, frozen specs and results, and what a kind has to declare."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

LABEL_MANAGED = "dockbus.managed"
"""On everything dockbus made, with the value `true`."""
LABEL_JOB = "dockbus.job"
"""On every container a job made: the job's ID."""
LABEL_SPEC = "dockbus.spec-hash"
"""On a run job's container: the hash of the spec it was made for."""
LABEL_KEEP = "dockbus.keep"
"""A container or image with the value `true` is never removed by a cleanup job."""


class Kind(StrEnum):
    """The five kinds of job; also the name of the queue each is put on."""

    PULL = "pull"
    BUILD = "build"
    RUN = "run"
    SCAN = "scan"
    CLEANUP = "cleanup"


class SpecModel(BaseModel):
    """An order. Unknown fields and values of another type are errors, never guessed at."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of this spec's JSON: equal specs, equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class ResultModel(BaseModel):
    """What a job that succeeded leaves behind."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
