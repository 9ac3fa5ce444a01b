"""How often a job is tried and how long it rests in between."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict, Field

from dockbus.units import Seconds


class RetryPolicy(BaseModel):
    """What happens after an attempt failed for a reason that may pass, or its worker died.

    The pause before retry n is picked at random between 0 and `base · 2ⁿ⁻¹` seconds, `cap` at most ("full
    jitter": jobs that failed together do not come back together). After a worker's death there is none.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    max: int = Field(default=2, ge=0, le=100)
    """Further attempts after the first."""
    base: Seconds = Field(default=4.0, ge=0, le=3600)
    """Longest pause before the first retry, in seconds."""
    cap: Seconds = Field(default=300.0, ge=0, le=24 * 3600)
    """Longest pause of all, in seconds."""

    def pause(self, attempt: int) -> float:
        """Seconds to wait after that attempt (1 is the first) has failed."""
        longest = min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))
        return random.uniform(0.0, longest)  # noqa: S311  no secret
