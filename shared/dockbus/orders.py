"""An order: a spec and how it is to be carried out. It is what a job's signature covers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dockbus.ids import JobId
from dockbus.jobs import KINDS, Ending, Spec
from dockbus.retries import RetryPolicy
from dockbus.settings import Name
from dockbus.units import Seconds

SCHEMA = 1
"""Which fields an order may have: raised with every release that adds one, so that older workers leave such an order to
newer ones. Orders of older schemas are understood as long as they hold."""
LONGEST_DELAY = 366 * 24 * 3600
LONGEST_TIMEOUT = 7 * 24 * 3600


def _ids(value: object) -> object:
    """Handles on jobs, or a list of them or of IDs, as a tuple of IDs."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(getattr(item, "id", item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value


class Terms(BaseModel):
    """How a job is to be carried out."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    key: str | None = Field(default=None, min_length=1, max_length=1000)
    """Idempotency key: while the first job with it is kept, the same key and spec return that job."""
    engine: Name | None = None
    """Name of the one Engine it must run on; None for any."""
    priority: Literal["normal", "high"] = "normal"
    """`high` goes before all that is queued when it is."""
    delay: Seconds = Field(default=0.0, ge=0, le=LONGEST_DELAY)
    """Seconds to wait before it is queued."""
    timeout: Seconds | None = Field(default=None, gt=0, le=LONGEST_TIMEOUT)
    """Seconds one attempt may take; None for the kind's own limit."""
    after: Annotated[
        tuple[Annotated[JobId, Field(pattern=r"^[A-Za-z0-9_-]+$")], ...], BeforeValidator(_ids)
    ] = Field(default=(), max_length=1000)
    """Jobs that must end before it is queued."""
    after_failure: Literal["fail", "skip", "run"] = "fail"
    """What becomes of it when one of those does not succeed: it fails, it is canceled, or it runs all the same."""
    exclusive: str | None = Field(default=None, min_length=1, max_length=200)
    """Name of a thing that only one job at a time may work on, such as `image:web`; from its first attempt to its
    end no other job with the same name is begun."""
    retry: RetryPolicy | None = None
    """None for the kind's own policy."""
    replay_of: JobId | None = None
    """The job that this one repeats."""


class Order(Terms):
    """What is to be done, and how."""

    spec: Spec

    @model_validator(mode="after")
    def _outlasts_the_grace(self) -> Self:
        if self.timeout and self.timeout <= self._grace:
            raise ValueError(
                f"timeout: the container has {self._grace:g} s to stop; an attempt has to last longer than that"
            )
        return self

    @property
    def limit(self) -> float:
        """Seconds one attempt may take."""
        return self.timeout or KINDS[self.spec.kind].timeout + self._grace

    @property
    def _grace(self) -> float:
        return (self.spec.timeout or 0.0) if isinstance(self.spec, Ending) else 0.0

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy that holds."""
        return self.retry or KINDS[self.spec.kind].retry
