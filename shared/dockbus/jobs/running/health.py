"""How the Engine finds out whether a container is well."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from dockbus.jobs.running.parts import Part, Word
from dockbus.units import Seconds

Span = Annotated[Seconds, Field(ge=0.001, le=24 * 3600)]


def _test(value: object) -> object:
    """The probe as the Engine wants it: `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`."""
    if isinstance(value, str):
        return ["NONE"] if value.lower() == "none" else ["CMD-SHELL", value]
    if isinstance(value, list) and value and value[0] not in ("NONE", "CMD", "CMD-SHELL"):
        return ["CMD", *value]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


class Healthcheck(Part):
    """A probe that the Engine runs in the container; what is left out is as the image says, or Docker's default."""

    test: (
        Annotated[
            list[Word],
            Field(min_length=1),
            BeforeValidator(_test, json_schema_input_type=list[str] | str),
        ]
        | None
    ) = None
    """Program and arguments, or text for the image's shell; `none` switches the image's own off. Exit code 0 is well."""
    interval: Span | None = None
    """Seconds between two probes; Docker's default is 30."""
    timeout: Span | None = None
    """Seconds after which a probe has failed; Docker's default is 30."""
    retries: int | None = Field(default=None, ge=1, le=1000)
    """Failures in a row after which it is unhealthy; Docker's default is 3."""
    start_period: Span | None = None
    """Seconds from the start in which failures do not count; Docker's default is 0."""
