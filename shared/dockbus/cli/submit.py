"""What the commands that put a job on the bus have in common: the order they send, and what they show of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from dockbus import tracing
from dockbus.cli.delivery import Delivery
from dockbus.errors import InvalidSpec
from dockbus.jobs import Spec, explain


def submits(make: Callable[..., Spec]) -> Callable[..., None]:
    """The command that sends the spec which `make` makes of its options, with the options of `Delivery` added."""

    @functools.wraps(make)
    def command(**given: Any) -> None:  # noqa: ANN401  each command has options of its own
        delivery = Delivery(**{field.name: given.pop(field.name) for field in fields(Delivery)})
        try:
            spec = make(**given)
        except ValidationError as error:
            raise InvalidSpec(explain(error)) from None
        tracing.start("cli")
        delivery.send(spec)

    both = [
        parameter
        for source in (make, Delivery)
        for parameter in inspect.signature(source, eval_str=True).parameters.values()
    ]
    command.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    return command
