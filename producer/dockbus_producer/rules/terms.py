"""How the job of a rule is to be carried out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dockbus.orders import LONGEST_DELAY, LONGEST_TIMEOUT
from dockbus.retries import RetryPolicy
from dockbus.strict_yaml import Model
from dockbus.units import Seconds


class Terms(Model):
    """How the job is to be carried out."""

    priority: Literal["normal", "high"] = "normal"
    """`high` goes before all that is queued when it is."""
    delay: Annotated[Seconds, Field(ge=0, le=LONGEST_DELAY)] = 0.0
    """How long it waits before it is queued."""
    timeout: Annotated[Seconds, Field(gt=0, le=LONGEST_TIMEOUT)] | None = None
    """How long one attempt may take; without it, the kind's own limit."""
    retry: RetryPolicy | None = None
    """How often it is tried again; without it, the kind's own policy."""
    exclusive: str | None = Field(default=None, min_length=1)
    """A thing that only one job at a time may work on; a template."""
